"""Every kind of case is opened, followed and saved, and the answer is the file that `graysam predict` writes."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

pytest.importorskip("starlette")
pytest.importorskip("highdicom", reason="the extra `files` is not installed")
from bright_engine import PLAIN_TINY, BrightEngine
from live_view import running

from examples import hospital_files
from graysam.api import Segmenter
from graysam.formats.readers import read_volume
from graysam.formats.reading_options import BoxSource, Reading
from graysam.models.spec import ModelSpec
from graysam.runner.run import Runner, RunOptions

REMEMBERING = replace(PLAIN_TINY, memory=True)


@dataclass
class RememberingEngine(BrightEngine):
    """Is shown the neighbouring slice, and counts on it a little."""

    spec: ModelSpec = REMEMBERING

    def decode(self, embedding, inputs):
        logits, confidence = super().decode(embedding, inputs)
        return logits + np.float32(0.1) * inputs["memory"][:, 0], confidence * np.float32(0.5)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Hospital files with a table of boxes, and what prediction makes of them."""
    folder = tmp_path_factory.mktemp("hospital")
    assert hospital_files.main(["-o", str(folder)]) == 0
    reading = Reading(BoxSource(folder / "boxes.csv"))
    options = RunOptions(folder / "scans", folder / "predicted", reading=reading)
    account = Runner(options, lambda _: Segmenter(RememberingEngine())).run()
    assert account.exit_status == 0
    return folder


@pytest.mark.parametrize(
    ("name", "result"),
    [
        ("abdomen", "abdomen.nii.gz"),
        ("brain_MR", "brain_MR.seg.nrrd"),
        ("chest", "chest.seg.dcm"),
        ("skin", "skin.png"),
    ],
)
def test_a_case_is_saved_as_prediction_answers_it(drawn, tmp_path, name, result):
    reading = Reading(BoxSource(drawn / "boxes.csv"))
    with running(drawn / "scans", tmp_path / "out", RememberingEngine(), reading=reading) as page:
        case = page.open(name)
        assert case["result"] == result
        with page.live() as live:
            for each in live.state["objects"]:
                if case["kind"] == "3D":
                    live.send("follow", object=each["id"], from_slice=each["key_slice"])
                    assert live.next("follow_ended")["reason"] == "finished"
            assert live.ask("save", "saved")["files"] == [result, "boxes.csv"]
            names = [each["name"] for each in live.state["objects"]]
    ours, theirs = tmp_path / "out" / result, drawn / "predicted" / result
    if result.endswith(".dcm"):
        import pydicom

        one, two = pydicom.dcmread(ours), pydicom.dcmread(theirs)
        assert one.PixelData == two.PixelData
        assert [each.SegmentLabel for each in one.SegmentSequence] == names
        assert one.PerFrameFunctionalGroupsSequence == two.PerFrameFunctionalGroupsSequence
        assert one.ReferencedSeriesSequence == two.ReferencedSeriesSequence
    else:
        assert ours.read_bytes() == theirs.read_bytes()


def test_values_are_shown_as_the_scanner_gave_them_and_the_window_is_that_of_prediction(drawn, tmp_path):
    with running(drawn / "scans", tmp_path / "out", BrightEngine()) as page:
        case = page.open("abdomen")
        stored = read_volume(drawn / "scans" / "abdomen.nii.gz")
        assert np.array_equal(page.pixels("api/slice?plane=axial&index=3"), stored.array[3])
        assert np.array_equal(page.pixels("api/slice?plane=coronal&index=20"), stored.array[:, 20])
        assert (case["window"]["low"], case["window"]["high"]) == (-160, 240)  # soft tissue, 40/400
        assert case["spacing_mm"] == pytest.approx(stored.spacing_mm)
        assert page.open("skin")["channels"] == 3
        assert page.pixels("api/slice?plane=axial&index=0").shape[2] == 3


def test_an_image_without_boxes_is_a_case_without_objects(drawn, tmp_path):
    with running(drawn / "scans", tmp_path / "out", BrightEngine()) as page:
        listed = {each["name"]: each["source"] for each in page.get("api/state").json()["cases"]}
        assert listed == {
            "abdomen": "folder",
            "brain_MR": "folder",
            "chest": "folder",
            "skin": "folder",
            "demo_CT_volume": "demo",
            "demo_Dermoscopy": "demo",
            "demo_Microscopy": "demo",
        }
        page.open("chest")
        with page.live() as live:
            assert live.state["objects"] == []
            assert "no object" in live.refused("save")


@pytest.mark.parametrize("name", ["demo_CT_volume", "demo_Dermoscopy", "demo_Microscopy"])
def test_a_drawn_case_opens_and_a_box_is_answered(tmp_path, name):
    with running(None, tmp_path / "out", BrightEngine()) as page:
        case = page.open(name)
        z = case["shape"][0] // 2
        assert page.pixels(f"api/slice?plane=axial&index={z}").std() > 10
        with page.live() as live:
            one = live.ask("add_object", "object", name="", colour="")["object"]["id"]
            assert live.ask("box", "mask", object=one, slice=z, box=[20, 20, 90, 90], is_final=True)["runs"]


def test_files_that_are_dropped_make_a_series_and_are_answered_in_out(drawn, tmp_path):
    with running(None, tmp_path / "out", BrightEngine()) as page:
        for path in sorted((drawn / "scans" / "chest").iterdir()):
            answer = page.post("api/upload", params={"name": path.name, "batch": "b1"}, content=path.read_bytes())
            assert answer.status_code == 200, answer.text
        answer = page.post("api/uploaded", json={"batch": "b1"}).json()
        (case,) = answer["cases"]
        assert case["source"] == "upload"
        assert page.post("api/open", json={"id": case["id"]}).json()["kind"] == "3D"
        with page.live() as live:
            one = live.ask("add_object", "object", name="drawn", colour="")["object"]["id"]
            live.ask("brush", "mask", object=one, slice=1, points=[[30, 30]], radius=4, is_adding=True)
            files = live.ask("save", "saved")["files"]
        assert (tmp_path / "out" / files[0]).is_file()
        page.post("api/upload?name=notes.txt&batch=b2", content=b"hello")
        assert "no image" in page.post("api/uploaded", json={"batch": "b2"}).json()["error"]
