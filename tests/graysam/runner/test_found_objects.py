"""What was found, object by object: confidences of the model, and the table next to the answers."""

import csv
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "inference"))
from bright_engine import BrightEngine

from graysam.api import Segmenter
from graysam.boxes import Box, VolumeBox
from graysam.cases import VolumeCase
from graysam.formats.reading_options import BoxSource, Reading
from graysam.runner.objects import FoundObject, objects_of, write_table
from graysam.runner.run import Runner, RunOptions

VOLUME = np.zeros((4, 16, 16), np.uint8)
VOLUME[1:3, 4:8, 4:8] = 200


class Unsure(BrightEngine):
    """Predicts an IoU of 0.9 for its first answer, 0.8 for the next, and so on."""

    def decode(self, embedding, inputs):
        logits, ious = super().decode(embedding, inputs)
        first = 0.9 - 0.1 * (sum(self.decoded) - len(ious))
        return logits, (first - 0.1 * np.arange(len(ious))).astype(np.float32)


def test_the_segmenter_tells_the_models_confidence_by_object_and_slice():
    segmenter = Segmenter(Unsure(), mirror="never")
    segmenter.segment_image(VOLUME[1], [[3, 3, 9, 9], [2, 2, 9, 9]])
    assert segmenter.confidences[0][0] == pytest.approx(0.9)
    assert segmenter.confidences[1][0] == pytest.approx(0.8)
    segmenter = Segmenter(Unsure(), mirror="never")
    segmenter.segment_volume(VOLUME, [[3, 3, 1, 9, 9, 2]])  # the middle slice 1 first, then slice 2
    assert segmenter.confidences == {0: {1: pytest.approx(0.9), 2: pytest.approx(0.8)}}


def test_an_object_has_the_mean_of_its_slices_and_the_table_its_worst_slice(tmp_path):
    case = VolumeCase("scan", None, VOLUME, (VolumeBox(Box(4, 4, 7, 7), 1, 2),), box_names=("liver",))
    labels = (VOLUME > 0).astype(np.uint8)
    (found,) = objects_of(case, labels, {0: {1: 0.9, 2: 0.5}}, count=True)
    assert found.confidence == pytest.approx(0.7)
    assert (found.voxels, found.name, found.box) == (32, "liver", (4, 4, 1, 7, 7, 2))
    assert found.to_dict()["slices"] == {"1": 0.9, "2": 0.5}
    write_table(tmp_path / "boxes.csv", {"scan": [found]})
    assert (tmp_path / "boxes.csv").read_text().splitlines()[1] == "scan,1,liver,4,4,1,7,7,2,32,0.7000,,0.5000,2"


def test_an_object_below_the_threshold_of_the_weights_is_flagged_in_report_table_and_caption(tmp_path):
    case = VolumeCase("scan", None, VOLUME, (VolumeBox(Box(4, 4, 7, 7), 1, 2),) * 3)
    labels = (VOLUME > 0).astype(np.uint8)
    told = {0: {1: 0.75, 2: 0.25}, 1: {1: 0.625}}  # means 0.5 and 0.625; nothing is told of the third
    found = objects_of(case, labels, told, count=True, flag_below=0.625)
    assert [each.flagged for each in found] == [True, False, None]
    assert [each.caption for each in found] == ["0.50 !", "0.62", ""]
    assert [each.to_dict()["flagged"] for each in found] == [True, False, None]
    write_table(tmp_path / "boxes.csv", {"scan": found})
    with (tmp_path / "boxes.csv").open() as stream:
        assert [row["flagged"] for row in csv.DictReader(stream)] == ["yes", "no", ""]
    assert objects_of(case, labels, told, count=True)[0].flagged is None  # weights without a threshold


def test_the_run_counts_flagged_objects_and_its_report_states_the_threshold(tmp_path):
    from graysam.formats.npz import write_case

    (tmp_path / "in").mkdir()
    write_case(tmp_path / "in" / "a.npz", image=VOLUME[1], boxes=[Box(3, 3, 9, 9), Box(2, 2, 9, 9)])
    runner = Runner(
        RunOptions(tmp_path / "in", tmp_path / "out"), lambda _: Segmenter(Unsure(), mirror="never", flag_below=0.85)
    )
    report = runner.run().to_dict()
    assert (report["flag_below"], report["flagged"]) == (0.85, 1)  # 0.9 and 0.8
    assert [each["flagged"] for each in report["cases"][0]["objects"]] == [False, True]


def test_lines_of_cases_that_are_not_run_again_stay(tmp_path):
    plain = FoundObject(1, "", (1.0, 2.0, 3.0, 4.0), 7, {})
    write_table(tmp_path / "boxes.csv", {"a": [plain], "b": [plain], "c": [plain]})
    write_table(tmp_path / "boxes.csv", {"b": [FoundObject(1, "new", (1, 2, 3, 4), None, {0: 0.25})]}, kept=["a"])
    assert (tmp_path / "boxes.csv").read_text().splitlines()[1:] == [
        "a,1,,1,2,,3,4,,7,,,,",
        "b,1,new,1,2,,3,4,,,0.2500,,0.2500,",
    ]


def test_a_run_on_pictures_writes_the_table_and_the_table_serves_as_boxes_again(tmp_path):
    image = pytest.importorskip("PIL.Image")
    (tmp_path / "in").mkdir()
    image.fromarray(VOLUME[1]).save(tmp_path / "in" / "skin.png")
    (tmp_path / "in" / "skin.boxes.csv").write_text("3,3,9,9\n")
    runner = Runner(RunOptions(tmp_path / "in", tmp_path / "out"), lambda _: Segmenter(Unsure(), mirror="never"))
    account = runner.run()
    assert runner.write_table() == tmp_path / "out" / "boxes.csv"
    with (tmp_path / "out" / "boxes.csv").open() as stream:
        (row,) = csv.DictReader(stream)
    assert (row["case"], row["x_min"], row["confidence"], row["voxels"]) == ("skin", "3", "0.9000", "16")
    assert account.to_dict()["cases"][0]["objects"][0]["confidence"] == pytest.approx(0.9)
    again = Reading(BoxSource(tmp_path / "out" / "boxes.csv"))
    runner = Runner(
        RunOptions(tmp_path / "in", tmp_path / "again", reading=again), lambda _: Segmenter(Unsure(), mirror="never")
    )
    assert runner.run().cases[0].boxes == 1


def test_the_challenges_cases_get_no_table(tmp_path):
    from graysam.formats.npz import write_case

    (tmp_path / "in").mkdir()
    write_case(tmp_path / "in" / "a.npz", image=VOLUME[1], boxes=[Box(3, 3, 9, 9)])
    runner = Runner(RunOptions(tmp_path / "in", tmp_path / "out"), lambda _: Segmenter(Unsure(), mirror="never"))
    account = runner.run()
    assert runner.write_table() is None
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.npz"]
    assert account.cases[0].objects[0].voxels is None


def test_the_overlay_shows_the_confidence_at_the_box():
    from graysam.runner.overlay import draw_volume

    case = VolumeCase("scan", None, np.zeros((1, 64, 64), np.uint8), (VolumeBox(Box(4, 4, 60, 60), 0, 0),))
    nothing = np.zeros(case.image.shape, np.uint8)
    plain, told = draw_volume(case, nothing), draw_volume(case, nothing, {1: "0.87"})
    rows, columns = np.nonzero((plain != told).any(axis=2))
    # The tile is drawn at twice the size: the box's lower left corner lies near x 8, y 121.
    assert (8 <= columns.min() <= 14, columns.max() < 60, rows.min() > 100, rows.max() < 124) == (True,) * 4
