import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from data_prep.objects import (
    Drops,
    SpeckRule,
    image_box,
    objects_of,
    paint,
    volume_box,
)
from graysam.boxes import Box, VolumeBox
from graysam.errors import PrepareError

KEEP_ALL = SpeckRule(voxels=1, pixels=1, slice_pixels=0)

LABELS = np.array(
    [
        [1, 1, 0, 2, 2],
        [1, 1, 0, 2, 2],
        [0, 0, 0, 0, 0],
        [1, 0, 0, 0, 1],
        [0, 1, 0, 0, 0],
    ],
    np.uint8,
)


def sizes(objects):
    return [(found.value, found.size) for found in objects]


def test_classes_make_one_object_of_each_number_however_many_pieces():
    objects, drops = objects_of(LABELS, "classes", rule=KEEP_ALL)
    assert sizes(objects) == [(1, 7), (2, 4)]
    assert drops == Drops()


def test_components_make_one_object_of_each_connected_part_and_corners_connect():
    # 1: the block of 4; the two that touch at a corner (rows 3 and 4); the lone one. 2: the block of 4.
    objects, _ = objects_of(LABELS, "components", rule=KEEP_ALL)
    assert sorted(sizes(objects)) == [(1, 1), (1, 2), (1, 4), (2, 4)]


def test_touching_parts_of_different_numbers_are_different_components():
    objects, _ = objects_of(np.array([[1, 2]], np.uint8), "components", rule=KEEP_ALL)
    assert sizes(objects) == [(1, 1), (2, 1)]


def test_instances_keep_numbers_above_255_and_gaps_between_them():
    objects, _ = objects_of(np.array([[300, 0, 7, 7]], np.uint16), "instances", rule=KEEP_ALL)
    assert sizes(objects) == [(7, 2), (300, 1)]


def test_nested_labels_give_the_whole_and_the_inner_part_and_paint_the_inner_one_on_top():
    labels = np.array(
        [
            [1, 1, 1, 0],
            [1, 2, 1, 0],
            [1, 1, 1, 0],
        ],
        np.uint8,
    )
    objects, _ = objects_of(labels, "nested", rule=KEEP_ALL)
    assert sizes(objects) == [(1, 9), (2, 1)]
    assert image_box(objects[0]) == Box(0, 0, 2, 2)
    assert image_box(objects[1]) == Box(1, 1, 1, 1)
    np.testing.assert_array_equal(paint(objects, labels.shape), labels)


def test_an_empty_label_map_has_no_objects():
    assert objects_of(np.zeros((3, 3), np.uint8), "components") == ((), Drops())


def test_specks_of_an_image_are_pieces_below_ten_pixels_and_are_counted():
    labels = np.zeros((8, 12), np.uint8)
    labels[0:2, 0:5] = 1  # 10 pixels: stays
    labels[4:7, 0:3] = 1  # 9 pixels: goes, the object stays
    labels[4:7, 6:9] = 2  # 9 pixels: goes with its object
    objects, drops = objects_of(labels, "classes")
    assert sizes(objects) == [(1, 10)]
    assert drops == Drops(pieces=2, elements=18, objects=1)


def test_specks_of_a_volume_are_pieces_below_a_hundred_voxels():
    labels = np.zeros((4, 10, 20), np.uint8)
    labels[:, 0:5, 0:5] = 1  # 100 voxels, 25 on each slice: stays
    labels[0:3, 0:3, 10:20] = 2  # 90 voxels: goes
    objects, drops = objects_of(labels, "classes")
    assert sizes(objects) == [(1, 100)]
    assert drops == Drops(pieces=1, elements=90, objects=1)


def test_a_few_pixels_on_a_slice_of_a_volume_go_too():
    labels = np.zeros((5, 10, 10), np.uint8)
    labels[0:4, 0:5, 0:6] = 1  # 30 pixels on each of four slices
    labels[4, 0:3, 0:3] = 1  # 9 pixels on the last: a connected part of the object, but nothing to outline
    objects, drops = objects_of(labels, "components")
    assert sizes(objects) == [(1, 120)]
    assert volume_box(objects[0]).z_max == 3
    assert drops == Drops(pieces=1, elements=9, objects=0)
    kept, _ = objects_of(labels, "components", rule=SpeckRule(slice_pixels=0))
    assert volume_box(kept[0]).z_max == 4


def test_sizes_in_mm_follow_the_spacing():
    labels = np.zeros((2, 4, 4), np.uint8)
    labels[0, 0:2, 0:2] = 1  # 4 voxels of 5 x 2 x 2 mm: 80 mm3, 16 mm2 on its slice
    spacing = (5.0, 2.0, 2.0)
    kept, _ = objects_of(labels, "classes", rule=SpeckRule(volume_mm3=80, area_mm2=16), spacing_mm=spacing)
    assert sizes(kept) == [(1, 4)]
    for rule in (SpeckRule(volume_mm3=81, area_mm2=16), SpeckRule(volume_mm3=80, area_mm2=17)):
        assert objects_of(labels, "classes", rule=rule, spacing_mm=spacing)[0] == ()
    with pytest.raises(PrepareError, match="spacing"):
        objects_of(labels, "classes", rule=SpeckRule(volume_mm3=80))


def test_a_kind_that_does_not_exist_is_refused_with_the_kinds_that_do():
    with pytest.raises(PrepareError, match="classes, components, instances, nested"):
        objects_of(LABELS, "organs")  # type: ignore[arg-type]


# --- boxes
# ---------------------------------------------------------------------------------------------------


def test_a_volume_box_is_that_of_the_middle_slice_with_both_end_slices():
    labels = np.zeros((6, 8, 8), np.uint8)
    labels[1, 3:5, 3:5] = 1
    labels[2, 2:6, 1:7] = 1  # the middle of 1..4 is (1 + 4) // 2 = 2
    labels[3, 0:8, 0:8] = 1
    labels[4, 3:5, 3:5] = 1
    (found,), _ = objects_of(labels, "classes", rule=KEEP_ALL)
    assert volume_box(found) == VolumeBox(Box(1, 2, 6, 5), z_min=1, z_max=4)


def test_an_object_that_leaves_its_middle_slice_out_takes_the_nearest_one():
    labels = np.zeros((5, 4, 4), np.uint8)
    labels[0, 0, 0] = 1
    labels[4, 3, 1:3] = 1  # the middle, 2, is empty; 0 and 4 are as near: the lower one
    (found,), _ = objects_of(labels, "classes", rule=KEEP_ALL)
    assert volume_box(found) == VolumeBox(Box(0, 0, 0, 0), z_min=0, z_max=4)


def test_an_object_on_one_slice_has_equal_z_ends():
    labels = np.zeros((3, 4, 4), np.uint8)
    labels[1, 1:3, 1:3] = 1
    (found,), _ = objects_of(labels, "classes", rule=KEEP_ALL)
    assert volume_box(found) == VolumeBox(Box(1, 1, 2, 2), z_min=1, z_max=1)


# --- properties
# ----------------------------------------------------------------------------------------------

small_maps = arrays(
    np.uint8, st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6)), elements=st.integers(0, 3)
)


@settings(max_examples=50, deadline=None)
@given(small_maps, st.sampled_from(["classes", "components", "instances", "nested"]))
def test_painting_all_objects_covers_exactly_the_labelled_voxels(labels, kind):
    objects, drops = objects_of(labels, kind, rule=KEEP_ALL)
    np.testing.assert_array_equal(paint(objects, labels.shape) > 0, labels > 0)
    assert drops == Drops()


@settings(max_examples=50, deadline=None)
@given(small_maps, st.integers(1, 20), st.integers(0, 6))
def test_what_is_left_and_what_is_dropped_add_up(labels, voxels, slice_pixels):
    objects, drops = objects_of(labels, "classes", rule=SpeckRule(voxels=voxels, slice_pixels=slice_pixels))
    assert sum(found.size for found in objects) + drops.elements == np.count_nonzero(labels)
    assert len(objects) + drops.objects == len(np.unique(labels[labels > 0]))


@settings(max_examples=50, deadline=None)
@given(small_maps)
def test_each_object_touches_every_side_of_its_window(labels):
    objects, _ = objects_of(labels, "components", rule=KEEP_ALL)
    for found in objects:
        for axis in range(3):
            other = tuple(rest for rest in range(3) if rest != axis)
            touched = found.mask.any(axis=other)
            assert touched[0]
            assert touched[-1]
        np.testing.assert_array_equal(found.in_full(labels.shape)[found.window], found.mask)
