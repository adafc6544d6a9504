from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from graysam.boxes import Box, VolumeBox
from graysam.engines.select import INT8_PAYS_FROM
from graysam.errors import CaseError, CheckpointError
from graysam.formats.npz import read_labels, write_case, write_labels
from graysam.inference.baselines import BaselineSegmenter
from graysam.runner.account import CaseAccount, RunAccount, write_report
from graysam.runner.parts import Part, choose_part
from graysam.runner.run import MANY_CALLS, Runner, RunOptions

GRAY = np.arange(6 * 8, dtype=np.uint8).reshape(6, 8)


class CountingSegmenter(BaselineSegmenter):
    """Fills boxes, counts the cases, and fails on images whose first pixel is 13."""

    def __init__(self) -> None:
        super().__init__("box")
        self.count = 0

    def segment_image(self, image, boxes, *, overlap="last"):
        self.count += 1
        if image.flat[0] == 13:
            raise ZeroDivisionError("thirteen")
        return super().segment_image(image, boxes, overlap=overlap)


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in "abc":
        write_case(folder / f"{name}.npz", image=GRAY, boxes=[Box(1, 1, 3, 3)])
    return folder


def run(inputs: Path, segmenter: CountingSegmenter | None = None, **options) -> RunAccount:
    segmenter = segmenter or CountingSegmenter()
    return Runner(RunOptions(inputs, inputs.parent / "out", **options), lambda _: segmenter).run()


# --- parts


def test_parts_share_the_cases_out_so_that_each_is_run_once():
    items = list("abcdefg")
    shares = [Part(index, 3).of(items) for index in range(3)]
    assert shares == [["a", "d", "g"], ["b", "e"], ["c", "f"]]
    assert Part().of(items) == items


SLURM = {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_MIN": "5", "SLURM_ARRAY_TASK_COUNT": "4"}
KUBERNETES = {"JOB_COMPLETION_INDEX": "2", "GRAYSAM_NUM_PARTS": "3"}


@pytest.mark.parametrize(
    ("num_parts", "part_id", "environment", "wanted"),
    [
        (None, None, {}, (0, 1)),
        (4, 2, {}, (2, 4)),
        (None, None, SLURM, (2, 4)),  # --array=5-8: the task 7 is the third
        (None, None, {**SLURM, "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_STEP": "2"}, (3, 4)),  # 1,3,5,7
        (None, None, {"SLURM_ARRAY_TASK_ID": "0", "GRAYSAM_NUM_PARTS": "9"}, (0, 9)),
        (None, None, KUBERNETES, (2, 3)),
        (10, None, KUBERNETES, (2, 10)),  # what is given wins, what is missing comes from the scheduler
        (None, 1, KUBERNETES, (1, 3)),
        (4, 0, SLURM, (0, 4)),
        (1, None, SLURM, (0, 1)),  # the whole folder, whatever the scheduler says
        (1, None, {"JOB_COMPLETION_INDEX": "2"}, (0, 1)),
    ],
)
def test_the_part_comes_from_the_options_or_the_scheduler(num_parts, part_id, environment, wanted):
    part = choose_part(num_parts, part_id, environment)
    assert (part.index, part.count) == wanted


@pytest.mark.parametrize(
    ("num_parts", "part_id", "environment", "reason"),
    [
        (4, None, {}, "but which part"),
        (None, 2, {}, "but of how many"),
        (4, 4, {}, "part 4 of 4"),
        (4, -1, {}, "part -1 of 4"),
        (0, 0, {}, "part 0 of 0"),
        (None, None, {"JOB_COMPLETION_INDEX": "0"}, "GRAYSAM_NUM_PARTS"),
        (None, None, {"GRAYSAM_NUM_PARTS": "3"}, "which part"),
        (None, None, {**SLURM, "SLURM_ARRAY_TASK_MIN": "4", "SLURM_ARRAY_TASK_STEP": "2"}, "SLURM_ARRAY_TASK_STEP"),
        (None, None, {"SLURM_ARRAY_TASK_ID": "x"}, "SLURM_ARRAY_TASK_ID is 'x'"),
        (None, None, {**SLURM, "SLURM_ARRAY_TASK_COUNT": "2"}, "part 2 of 2"),
    ],
)
def test_a_part_that_makes_no_sense_is_an_error_that_says_what_to_give(num_parts, part_id, environment, reason):
    with pytest.raises(CaseError, match=reason):
        choose_part(num_parts, part_id, environment)


def test_the_parts_of_a_folder_together_make_all_results_and_a_surplus_part_has_nothing_to_do(inputs):
    counts = [len(run(inputs, part=Part(index, 5)).cases) for index in range(5)]
    assert counts == [1, 1, 1, 0, 0]
    assert sorted(path.name for path in (inputs.parent / "out").iterdir()) == ["a.npz", "b.npz", "c.npz"]


# --- the run


def test_every_result_is_made_anew_unless_resuming(inputs):
    assert run(inputs).count("done") == 3
    assert run(inputs).count("done") == 3
    resumed = run(inputs, resume=True)
    assert (resumed.count("skipped"), resumed.exit_status) == (3, 0)


def test_resuming_repeats_what_is_missing_damaged_of_another_shape_or_a_stand_in(inputs):
    output = inputs.parent / "out"
    run(inputs)
    (output / "a.npz").write_bytes((output / "a.npz").read_bytes()[:-9])
    write_labels(output / "b.npz", np.zeros((9, 9), np.uint8))
    write_labels(output / "c.npz", np.zeros((6, 8), np.uint8), failure="it failed last time")
    write_case(inputs / "d.npz", image=GRAY, boxes=[Box(1, 1, 3, 3)])
    segmenter = CountingSegmenter()
    assert run(inputs, segmenter, resume=True).count("done") == segmenter.count == 4
    assert run(inputs, resume=True).count("skipped") == 4


def test_resuming_does_not_open_a_pipe_that_calls_itself_a_case(inputs):
    os.mkfifo(inputs / "pipe.npz")  # opening it would hang
    for _ in range(2):
        account = run(inputs, resume=True)
        assert account.cases[3].error == "pipe.npz: not a regular file."


def test_a_case_that_the_segmenter_fails_on_gets_zeros_and_is_tried_again_on_resume(inputs):
    write_case(inputs / "b.npz", image=GRAY + 13, boxes=[Box(1, 1, 3, 3)])
    account = run(inputs)
    assert [case.status for case in account.cases] == ["done", "failed", "done"]
    assert account.cases[1].error == "b.npz: ZeroDivisionError: thirteen"
    assert account.exit_status == 1
    assert read_labels(inputs.parent / "out" / "b.npz", "segs").tolist() == np.zeros((6, 8)).tolist()
    assert [case.status for case in run(inputs, resume=True).cases] == ["skipped", "failed", "skipped"]


def test_cases_without_boxes_and_finished_ones_need_no_model(inputs):
    def must_not_load(expected_calls: int) -> CountingSegmenter:
        raise AssertionError

    run(inputs)
    write_case(inputs / "none.npz", image=GRAY, boxes=[])
    account = Runner(RunOptions(inputs, inputs.parent / "out", resume=True), must_not_load).run()
    assert [case.status for case in account.cases] == ["skipped", "skipped", "skipped", "done"]
    assert (account.engine, account.cases[3].engine) == ({}, None)


def noting_loader(expected):
    """Give a loader that notes how many calls it was told to expect."""

    def load(expected_calls: int) -> CountingSegmenter:
        expected.append(expected_calls)
        return CountingSegmenter()

    return load


@pytest.mark.parametrize(
    ("image", "boxes", "calls"),
    [
        (GRAY, [Box(1, 1, 3, 3)], 1 + 1),
        (GRAY, [Box(1, 1, 3, 3), Box(2, 2, 4, 4)], 1 + 2),
        # Slices 1 to 3 and 3 to 4: four slices are embedded, and one object decoded on three, the other on two of them.
        (np.stack([GRAY] * 6), [VolumeBox(Box(1, 1, 3, 3), 1, 3), VolumeBox(Box(2, 2, 4, 4), 3, 4)], 4 + 3 + 2),
    ],
)
def test_the_model_is_loaded_for_the_calls_that_its_first_case_needs(tmp_path, image, boxes, calls):
    expected = []
    (tmp_path / "in").mkdir()
    write_case(tmp_path / "in" / "a.npz", image=image, boxes=boxes)
    Runner(RunOptions(tmp_path / "in", tmp_path / "out"), noting_loader(expected)).run()
    assert expected == [calls]


def test_images_that_are_not_read_yet_count_as_a_slice_and_a_box_whatever_part_they_are_of(inputs):
    expected = []
    for index in range(2):
        options = RunOptions(inputs, inputs.parent / f"out{index}", part=Part(index, 2))
        Runner(options, noting_loader(expected)).run()
    assert expected == [2 + 2 + 2, 2 + 2 + 2]


def test_volumes_that_are_not_read_yet_count_as_one_object_on_half_of_their_slices(inputs):
    expected = []
    write_case(inputs / "d.npz", image=np.stack([GRAY] * 60), boxes=[VolumeBox(Box(1, 1, 3, 3), 0, 1)])
    Runner(RunOptions(inputs, inputs.parent / "out"), noting_loader(expected)).run()
    assert expected == [3 * 2 + (30 + 30)]


def test_no_more_cases_are_looked_at_than_it_takes_to_count_many_calls(inputs):
    expected = []
    for number in range(20):
        write_case(inputs / f"volume{number:02}.npz", image=np.stack([GRAY] * 10), boxes=[])
    Runner(RunOptions(inputs, inputs.parent / "out"), noting_loader(expected)).run()
    assert expected == [100 + 6]  # with nine volumes there are 96, with ten 106


def test_counting_ends_only_where_every_choice_of_a_number_format_is_made():
    assert max(INT8_PAYS_FROM.values()) <= MANY_CALLS


def test_a_model_that_cannot_be_loaded_stops_the_run(inputs):
    def load(expected_calls: int) -> CountingSegmenter:
        raise CheckpointError("no weights")

    with pytest.raises(CheckpointError, match="no weights"):
        Runner(RunOptions(inputs, inputs.parent / "out"), load).run()


def test_labels_of_another_shape_are_our_defect_and_fail_the_case_only(inputs):
    class Transposed(CountingSegmenter):
        def segment_image(self, image, boxes, *, overlap="last"):
            return super().segment_image(image, boxes, overlap=overlap).T

    account = run(inputs, Transposed())
    assert account.count("failed") == 3
    assert "labels (8, 6), image (6, 8)" in str(account.cases[0].error)


def test_the_overlap_rule_reaches_the_segmenter(inputs):
    write_case(inputs / "a.npz", image=np.zeros((1, 9), np.uint8), boxes=[Box(0, 0, 5, 0), Box(3, 0, 8, 0)])
    run(inputs, overlap="confident")
    assert read_labels(inputs.parent / "out" / "a.npz", "segs").tolist() == [[1, 1, 1, 1, 1, 2, 2, 2, 2]]


@pytest.mark.parametrize("content", [{}, {"x.nii.gz": b"", "y.nii.gz": b"", "z": None}])
def test_a_folder_without_cases_is_an_error_that_says_what_it_holds(tmp_path, content):
    for name, data in content.items():
        (tmp_path / name).mkdir() if data is None else (tmp_path / name).write_bytes(data)
    found = r"2 \.nii\.gz, 1 sub-folders" if content else "nothing"
    wanted = rf"holds no case \(\*\.npz, or with boxes a picture .*, \*\.nii\.gz .*\); it holds {found}"
    with pytest.raises(CaseError, match=wanted):
        Runner(RunOptions(tmp_path, tmp_path / "out"), lambda _: CountingSegmenter())


def test_overlays_are_drawn_outside_the_reported_phases_and_may_fail(inputs):
    volume = np.zeros((3, 6, 8), np.uint8)
    write_case(inputs / "v.npz", image=volume, boxes=[VolumeBox(Box(1, 1, 3, 3), 0, 2)])
    pictures = inputs.parent / "png"
    account = run(inputs, overlay_dir=pictures)
    assert sorted(path.name for path in pictures.iterdir()) == ["a.png", "b.png", "c.png", "v.png"]
    assert all(set(case.seconds) == {"read", "segment", "write"} for case in account.cases)
    (pictures / "a.png").unlink()
    (pictures / "a.png").mkdir()
    account = run(inputs, overlay_dir=pictures)
    assert account.exit_status == 0
    assert "the overlay was not drawn: a.png: cannot be written" in account.cases[0].warnings[0]


# --- the account


def test_the_report_gives_each_case_its_seconds_shape_boxes_engine_warnings_and_error(inputs, tmp_path):
    write_case(inputs / "b.npz", image=GRAY, boxes=[Box(1, 1, 30, 3)])
    (inputs / "c.npz").write_text("no case")
    account = run(inputs)
    path = write_report(tmp_path / "run.json", account, {"graysam": "1.2.3"})
    assert path == tmp_path / "run.json"
    report = json.loads(path.read_text())
    assert report["graysam"] == "1.2.3"
    assert report["part"] == {"id": 0, "count": 1}
    assert report["counts"] == {"done": 2, "failed": 1, "skipped": 0}
    assert report["engine"] == {"name": "box", "precision": "fp32", "threads": 1}
    a, b, c = report["cases"]
    assert (a["name"], a["status"], a["kind"], a["shape"], a["boxes"]) == ("a", "done", "2D", [6, 8], 1)
    assert (a["engine"], a["precision"], a["warnings"], a["error"]) == ("box", "fp32", [], None)
    assert a["seconds"]["total"] == pytest.approx(sum(a["seconds"][k] for k in ("read", "segment", "write")), abs=2e-4)
    assert "clipped" in b["warnings"][0]
    assert (c["status"], c["shape"], c["kind"]) == ("failed", None, None)
    assert c["error"].startswith("c.npz: not a whole .npz")


def test_the_reports_of_parts_do_not_replace_each_other(tmp_path):
    assert write_report(tmp_path / "run.json", RunAccount(Part(2, 10)), {}).name == "run.part2of10.json"


@pytest.mark.parametrize(
    ("account", "line"),
    [
        (CaseAccount("a", shape=(6, 8, 3), boxes=1, seconds={"read": 0.5, "write": 1}), "a: 6 x 8 x 3, 1 box, 1.50 s"),
        (CaseAccount("a", status="skipped"), "a: skipped, its result is there"),
        (CaseAccount("a", status="failed", error="why"), "a: unknown size, unknown boxes, 0.00 s; FAILED: why"),
    ],
)
def test_an_account_is_one_line_for_people(account, line):
    assert account.line() == line
