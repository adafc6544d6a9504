"""The drawn hospital files are read as cases, and all ways of stating a box agree on them."""

from pathlib import Path

import pytest

from examples import hospital_files
from graysam.formats.reading_options import BoxSource, Reading
from graysam.formats.registry import Formats, list_cases

pytest.importorskip("highdicom", reason="the extra `files` is not installed")


def boxes(folder: Path, source: BoxSource) -> dict[str, tuple]:
    cases = list_cases(folder, Formats(Reading(source)))
    return {case.name: case.format.read(case.path).boxes for case in cases}


def test_table_3d_slicer_labelme_and_rough_masks_name_the_same_voxels(tmp_path) -> None:
    assert hospital_files.main(["-o", str(tmp_path)]) == 0
    table = boxes(tmp_path / "scans", BoxSource(tmp_path / "boxes.csv"))
    assert {name: len(found) for name, found in table.items()} == {
        "abdomen": 3, "brain_MR": 3, "chest": 3, "skin": 1,
    }  # fmt: skip
    beside = boxes(tmp_path / "scans", BoxSource())
    assert beside == {name: table[name] for name in ("abdomen", "skin")}
    (tmp_path / "scans" / "skin.jpg").unlink()
    for path in (tmp_path / "scans" / "chest").iterdir():
        path.unlink()
    assert boxes(tmp_path / "scans", BoxSource(masks=tmp_path / "rough")) == {
        name: table[name] for name in ("abdomen", "brain_MR")
    }
