from __future__ import annotations

import numpy as np

from examples import phantoms
from graysam.boxes import VolumeBox
from graysam.cases import modality_of
from graysam.formats.npz import read_case, read_labels, read_spacing_as_stored


def test_each_of_the_eleven_modalities_is_drawn_and_named_so_that_it_is_known_again():
    made = phantoms.make_phantoms()
    assert {modality_of(phantom.name) for phantom in made} == {
        *("US", "X-Ray", "Dermoscopy", "Endoscopy", "Fundus", "Microscopy", "OCT", "Mammography"),
        *("CT", "MR", "PET"),
    }
    assert [phantom.image.ndim for phantom in made if phantom.name.startswith("3D")] == [3, 3, 3]
    for phantom in made:
        count = int(phantom.labels.max())
        assert phantom.image.dtype == phantom.labels.dtype == np.uint8
        assert np.unique(phantom.labels).tolist() == list(range(count + 1)), phantom.name
        assert len(phantoms.boxes_of(phantom.labels)) == count


def test_the_same_seed_draws_the_same_and_another_seed_or_number_something_else():
    first, again, other = (phantoms.make_phantoms(seed=seed, count=2) for seed in (3, 3, 4))
    for one, same, different in zip(first, again, other, strict=True):
        assert np.array_equal(one.image, same.image)
        assert np.array_equal(one.labels, same.labels)
        assert not np.array_equal(one.image, different.image)
    assert not np.array_equal(first[0].image, first[1].image)
    assert np.array_equal(first[0].image, phantoms.make_phantoms(seed=3, count=1)[0].image)


def test_written_phantoms_are_cases_with_tight_boxes_and_references_of_the_same_shape(tmp_path, capsys):
    assert phantoms.main(["-o", str(tmp_path)]) == 0
    assert "11 cases" in capsys.readouterr().out
    for path in sorted((tmp_path / "inputs").iterdir()):
        case, labels = read_case(path), read_labels(tmp_path / "gts" / path.name, "gts")
        assert (case.warnings, case.label_shape) == ((), labels.shape)
        assert case.kind == path.name[:2]
        assert read_spacing_as_stored(tmp_path / "gts" / path.name) == read_spacing_as_stored(path)
        for number, box in enumerate(case.boxes, start=1):
            if isinstance(box, VolumeBox):
                present = np.flatnonzero((labels == number).any(axis=(1, 2)))
                assert (box.z_min, box.z_max) == (present[0], present[-1])


def test_the_box_of_a_volume_is_that_of_its_middle_slice():
    labels = np.zeros((5, 6, 6), np.uint8)
    labels[1:4, 2:4, 2:4] = 1
    labels[1, 0:6, 0:6] = 1  # larger on an end slice, which does not count
    (box,) = phantoms.boxes_of(labels)
    assert (box.box.x_min, box.box.x_max, box.z_min, box.z_max) == (2, 3, 1, 3)
