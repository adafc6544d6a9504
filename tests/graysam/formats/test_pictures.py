"""Pictures with boxes beside them: read, answered, resumed, and mixed with the challenge's files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from graysam.boxes import Box
from graysam.cases import ImageCase
from graysam.errors import CaseError
from graysam.formats.base import Answer
from graysam.formats.npz import write_case
from graysam.formats.pictures import PictureFormat
from graysam.formats.registry import format_of, list_cases
from graysam.inference.baselines import BaselineSegmenter
from graysam.runner.account import RunAccount
from graysam.runner.run import Runner, RunOptions

PICTURES = PictureFormat()
GRAY = np.arange(6 * 8, dtype=np.uint8).reshape(6, 8)
RED = np.zeros((6, 8, 3), np.uint8)
RED[:, :, 0] = 200


def put(folder: Path, name: str, pixels: np.ndarray = GRAY, boxes: str | None = "1,1,3,3\n") -> Path:
    """Write a picture with Pillow, so that reading is checked against another library, and its boxes."""
    folder.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(folder / name)
    if boxes is not None:
        (folder / name).with_suffix(".boxes.csv").write_text(boxes)
    return folder / name


def indices(path: Path) -> list[list[int]]:
    with Image.open(path) as picture:
        return np.asarray(picture).tolist()


def filled(rows: slice, columns: slice) -> list[list[int]]:
    labels = np.zeros((6, 8), int)
    labels[rows, columns] = 1
    return labels.tolist()


def predict(folder: Path, *, resume: bool = False) -> RunAccount:
    options = RunOptions(folder / "in", folder / "out", resume=resume, overlay_dir=folder / "png")
    return Runner(options, lambda _: BaselineSegmenter("box")).run()


# --- reading


@pytest.mark.parametrize("name", ["a.png", "a.PNG", "a.bmp", "a.tif", "a.tiff"])
def test_a_picture_with_boxes_beside_it_is_a_case(tmp_path, name):
    case = PICTURES.read(put(tmp_path, name))
    assert isinstance(case, ImageCase)
    assert (case.name, case.boxes, case.warnings) == ("a", (Box(1, 1, 3, 3),), ())
    assert case.image.tolist() == GRAY.tolist()
    assert PICTURES.describe(tmp_path / name) == case.label_shape == (6, 8)


def test_colours_are_red_green_blue_and_transparency_is_dropped(tmp_path):
    assert PICTURES.read(put(tmp_path, "rgb.png", RED)).image.tolist() == RED.tolist()
    assert PICTURES.read(put(tmp_path, "rgba.png", np.dstack([RED, GRAY]))).image.tolist() == RED.tolist()
    assert np.abs(PICTURES.read(put(tmp_path, "a.jpg", RED)).image.astype(int) - RED).max() < 5


def test_sixteen_bits_are_kept_with_the_warning_that_every_format_gives(tmp_path):
    case = PICTURES.read(put(tmp_path, "a.png", GRAY.astype(np.uint16) * 1000))
    assert case.image.max() == 47000
    assert "the picture has values from 0 to 47000, expected 0 to 255" in case.warnings[0]


@pytest.mark.parametrize(
    ("text", "boxes"),
    [
        ("", ()),
        ("x_min,y_min,x_max,y_max\n", ()),
        ("x_min,y_min,x_max,y_max\n1,2,3,4\n\n0,0,7,5\n", (Box(1, 2, 3, 4), Box(0, 0, 7, 5))),
        ("\ufeff1, 2, 3, 4\r\n", (Box(1, 2, 3, 4),)),  # as a spreadsheet on Windows saves it
    ],
)
def test_boxes_are_lines_of_four_numbers_and_may_have_a_head(tmp_path, text, boxes):
    assert PICTURES.read(put(tmp_path, "a.png", boxes=text)).boxes == boxes


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1,2,3\n", r"a\.boxes\.csv: box 0 is '1,2,3', wanted 4 numbers"),
        ("1,2,3,4\n1;2;3;4\n", r"a\.boxes\.csv: box 1 is '1;2;3;4', wanted 4 numbers"),
        ("left,top,right,bottom\n", "wanted 4 numbers"),
        ("8,0,12,5\n", r"a\.boxes\.csv: box 0 \[8, 0, 12, 5\] lies wholly outside"),
        ("nan,0,3,3\n", "is not a number"),
    ],
)
def test_boxes_that_are_none_are_errors_naming_file_and_line(tmp_path, text, reason):
    with pytest.raises(CaseError, match=reason):
        PICTURES.read(put(tmp_path, "a.png", boxes=text))


def test_what_is_no_picture_or_several_pages_is_an_error_and_has_no_shape(tmp_path):
    broken = put(tmp_path, "broken.png")
    broken.write_bytes(broken.read_bytes()[:40])
    cv2.imwritemulti(str(tmp_path / "pages.tif"), [GRAY, GRAY])
    (tmp_path / "pages.boxes.csv").write_text("1,1,3,3\n")
    with pytest.raises(CaseError, match=r"broken\.png: no readable image"):
        PICTURES.read(broken)
    assert PICTURES.describe(broken) is None
    with pytest.raises(CaseError, match=r"pages\.tif: 2 pages"):
        PICTURES.read(tmp_path / "pages.tif")


def test_a_photograph_is_turned_as_a_viewer_shows_it_and_says_so(tmp_path):
    path = put(tmp_path, "a.png", boxes="0,0,5,7\n")  # stored 6 high and 8 wide, shown 8 high and 6 wide
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by a quarter, clockwise
    Image.fromarray(GRAY).save(path, exif=exif)
    case = PICTURES.read(path)
    assert case.image.tolist() == np.rot90(GRAY, -1).tolist()
    assert (case.label_shape, case.boxes) == ((8, 6), (Box(0, 0, 5, 7),))
    assert (case.notes[0], case.warnings) == ("turned as EXIF orientation 6 says", ())


def test_without_the_extra_an_installation_says_what_to_install(tmp_path, monkeypatch):
    path = put(tmp_path, "a.png")
    monkeypatch.delitem(sys.modules, "graysam.formats.picture_files", raising=False)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(CaseError, match=r"a\.png: this needs the package PIL; run: pip install .*files"):
        PICTURES.read(path)


# --- answers


def test_the_answer_is_an_indexed_png_whose_pixels_are_the_labels(tmp_path):
    labels = np.zeros((6, 8), np.int64)
    labels[2, 3:5] = 1, 255
    PICTURES.write(tmp_path / "a.png", Answer(labels), source=tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.mode == "P"
        assert picture.getpalette()[:3] == [0, 0, 0]
        assert max(picture.getpalette()[3:6]) == 255  # an object shows in a strong colour
    assert indices(tmp_path / "a.png") == labels.tolist()


def test_more_than_255_labels_make_a_gray_png_of_16_bits(tmp_path):
    labels = np.array([[0, 255, 256, 65535]])
    PICTURES.write(tmp_path / "a.png", Answer(labels), source=tmp_path / "a.jpg")
    assert indices(tmp_path / "a.png") == labels.tolist()


def test_a_whole_answer_of_the_right_shape_is_finished_and_a_stand_in_or_half_a_file_is_not(tmp_path):
    result, labels = tmp_path / "a.png", np.zeros((6, 8), np.uint8)
    assert not PICTURES.is_finished(result, (6, 8))
    PICTURES.write(result, Answer(labels), source=result)
    assert PICTURES.is_finished(result, (6, 8))
    assert not PICTURES.is_finished(result, (8, 6))
    assert not PICTURES.is_finished(result, None)
    result.write_bytes(result.read_bytes()[:-20])
    assert not PICTURES.is_finished(result, (6, 8))
    PICTURES.write(result, Answer(labels, failure="it was ✗"), source=result)
    assert not PICTURES.is_finished(result, (6, 8))
    assert indices(result) == labels.tolist()


@pytest.mark.parametrize("labels", [np.zeros((2, 2, 2), int), np.full((2, 2), -1), np.zeros((2, 2))])
def test_what_is_no_label_map_of_an_image_is_not_written(tmp_path, labels):
    with pytest.raises(CaseError, match=r"a\.png: "):
        PICTURES.write(tmp_path / "a.png", Answer(labels), source=tmp_path / "a.jpg")
    assert list(tmp_path.iterdir()) == []


# --- through the runner


def test_pictures_and_npz_files_of_one_folder_are_answered_each_in_its_own_format(tmp_path):
    put(tmp_path / "in", "skin.jpg", RED)
    put(tmp_path / "in", "stray.png", boxes=None)
    write_case(tmp_path / "in" / "eye.npz", image=GRAY, boxes=[Box(0, 0, 1, 1)])
    found = [(case.name, case.format.name) for case in list_cases(tmp_path / "in")]
    assert found == [("eye", "npz"), ("skin", "picture")]
    assert [case.status for case in predict(tmp_path).cases] == ["done", "done"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["eye.npz", "skin.png"]
    assert sorted(path.name for path in (tmp_path / "png").iterdir()) == ["eye.png", "skin.png"]
    assert indices(tmp_path / "out" / "skin.png") == filled(np.s_[1:4], np.s_[1:4])


def test_resuming_repeats_pictures_that_failed_and_leaves_the_others(tmp_path):
    put(tmp_path / "in", "good.png")
    put(tmp_path / "in", "lost.png", boxes="90,0,99,5\n")
    account = predict(tmp_path)
    assert [case.status for case in account.cases] == ["done", "failed"]
    assert indices(tmp_path / "out" / "lost.png") == filled(np.s_[:0], np.s_[:0])  # a stand-in of zeros
    (tmp_path / "in" / "lost.boxes.csv").write_text("0,0,1,1\n")
    account = predict(tmp_path, resume=True)
    assert [case.status for case in account.cases] == ["skipped", "done"]
    assert indices(tmp_path / "out" / "lost.png") == filled(np.s_[:2], np.s_[:2])


def test_two_pictures_that_would_have_one_answer_are_refused_by_name(tmp_path):
    put(tmp_path / "in", "a.png")
    put(tmp_path / "in", "a.jpg")
    with pytest.raises(CaseError, match=r"a\.jpg and a\.png: both would be answered by a\.png; rename one"):
        predict(tmp_path)


def test_a_link_that_leads_out_of_the_folder_is_refused_in_every_format(tmp_path):
    put(tmp_path, "secret.png")
    put(tmp_path / "in", "good.png")
    (tmp_path / "in" / "bad.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "in" / "bad.boxes.csv").write_text("1,1,3,3\n")
    put(tmp_path / "in", "worse.png", boxes=None)
    (tmp_path / "in" / "worse.boxes.csv").symlink_to("/etc/passwd")
    account = predict(tmp_path)
    assert [case.status for case in account.cases] == ["failed", "done", "failed"]
    assert "bad.png: a link that leads out of the input folder" in str(account.cases[0].error)
    assert "worse.boxes.csv: a link that leads out of the input folder" in str(account.cases[2].error)


def test_asking_who_owns_a_file_imports_no_picture_library(tmp_path):
    put(tmp_path, "a.png")
    assert format_of(tmp_path / "a.png").name == "picture"
    assert format_of(tmp_path / "a.boxes.csv") is None
    code = "import sys, graysam.formats.registry; print({'cv2', 'PIL', 'SimpleITK', 'csv'} & {*sys.modules})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
