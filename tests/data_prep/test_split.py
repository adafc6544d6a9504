import csv
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.sources import Source
from data_prep.split import assign_splits, complete_splits, find_leaks, group_by_pattern, patient_of, write_index
from graysam.errors import PrepareError


def source(dataset, case, group, split=""):
    return Source(dataset, case, group, split, "MR", "classes", Path("i.png"), Path("m.png"), False)


def test_a_patient_on_both_sides_is_a_leak_told_with_the_cases():
    sources = [
        source("MR/Heart", "p1_a", "p1", "train"),
        source("MR/Heart", "p1_b", "p1", "val"),
        source("MR/Heart", "p2_a", "p2", "val"),
        source("MR/Heart", "p3_a", "p3"),
        source("MR/Heart", "p3_b", "p3", "train"),
    ]
    (leak,) = find_leaks(sources)
    assert (leak.family, leak.group) == ("Heart", "p1")
    assert leak.cases == {"train": ("MR/Heart/p1_a",), "val": ("MR/Heart/p1_b",)}


def test_data_sets_of_one_family_share_their_patients_and_others_do_not():
    sarcoma = [source("CT/STS_CT", "a", "STS_001", "train"), source("PET/STS_PET", "a", "STS_001", "val")]
    assert len(find_leaks(sarcoma)) == 1
    numbers = [source("MR/BladderCancer_x", "174", "174", "train"), source("US/HC18", "174", "174", "val")]
    assert find_leaks(numbers) == []


def test_a_pattern_finds_the_patient_in_the_name():
    sources = [source("MR/Heart", name, name) for name in ("patient012_frame01", "patient012_frame09", "patient3_x")]
    assert [found.group for found in group_by_pattern(sources, r"patient(\d+)")] == ["012", "012", "3"]
    assert next(found.group for found in group_by_pattern(sources, r"patient\d+")) == "patient012"
    with pytest.raises(PrepareError, match="does not fit MR/Heart/patient012_frame01"):
        group_by_pattern(sources, "subject")
    with pytest.raises(PrepareError, match="no regular expression"):
        group_by_pattern(sources, "(")


cases = st.lists(st.tuples(st.sampled_from(["CT/A_x", "MR/A_y", "US/B"]), st.integers(0, 30)), min_size=1, max_size=200)


@settings(max_examples=50, deadline=None)
@given(cases, st.floats(0, 0.9), st.integers(0, 5))
def test_no_patient_is_ever_on_both_sides_and_val_keeps_to_its_share(drawn, share, seed):
    sources = [source(dataset, f"{place}", f"p{group}") for place, (dataset, group) in enumerate(drawn)]
    placed = assign_splits(sources, val_share=share, seed=seed)
    assert find_leaks(placed) == []
    assert [replace(found, split="") for found in placed] == sources
    assert sum(found.split == "val" for found in placed) <= share * len(placed)


def test_val_is_about_its_share_and_another_data_set_moves_nobody():
    sources = [source("MR/Heart", f"c{number}", f"p{number // 2}") for number in range(200)]
    placed = assign_splits(sources, val_share=0.1, seed=1)
    assert sum(found.split == "val" for found in placed) == 20
    more = assign_splits([*sources, *(source("US/New", f"{n}", f"{n}") for n in range(50))], val_share=0.1, seed=1)
    assert more[:200] == placed
    held_out = {patient_of(found) for found in placed if found.split == "val"}
    other = {patient_of(found) for found in assign_splits(sources, val_share=0.1, seed=2) if found.split == "val"}
    assert held_out != other


def test_a_family_of_one_patient_is_trained_on():
    placed = assign_splits([source("MR/Heart", "a", "p1"), source("MR/Heart", "b", "p1")], val_share=0.5)
    assert {found.split for found in placed} == {"train"}


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(PrepareError, match="share"):
        assign_splits([], val_share=share)


def test_the_index_can_be_read_back(tmp_path):
    write_index([source("MR/Heart", 'odd, "name"', "p1", "val")], tmp_path / "index.csv")
    with (tmp_path / "index.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row == {"dataset": "MR/Heart", "case": 'odd, "name"', "group": "p1", "split": "val"}


def test_a_split_of_any_name_is_kept_and_only_cases_without_one_are_drawn():
    sources = [
        source("MR/Heart", "a", "p1", "far"),
        source("MR/Heart", "b", "p1"),  # the same patient: goes where the patient is
        source("US/Head", "c", "p2", "val"),
        source("US/Head", "d", "p3"),
    ]
    placed = complete_splits(sources, val_share=0.0)
    assert [found.split for found in placed] == ["far", "far", "val", "train"]
    assert find_leaks(placed) == []
