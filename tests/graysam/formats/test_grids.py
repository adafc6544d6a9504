"""The rule by which label maps are laid on images; voxels are drawn, places worked out by hand."""

import numpy as np
import pytest

from graysam.errors import PrepareError
from graysam.formats.grids import ShapeMismatchError, lay_on, make_grid, straightened

# (z, y, x) = (1, 2, 3): every voxel another number.
LABELS = np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)


def grid(size, *, spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0), flips=(1, 1, 1), stated=True):
    """A grid along the patient's axes; `flips` of -1 let an axis run the other way."""
    affine = np.diag([step * flip for step, flip in zip(spacing, flips, strict=True)] + [1.0])
    affine[:3, 3] = origin
    return make_grid(size, affine, "drawn", is_stated=stated)


def lay(labels, label_grid, image_grid):
    return lay_on(labels, label_grid, image_grid, straightened(image_grid), "labels.nii")


IMAGE = grid((3, 2, 1), spacing=(0.5, 0.5, 4.0), origin=(10, 20, 30))
# The same place written from the other end of x and y: the first voxel is at x = 10 + 2 * 0.5, y = 20 + 1 * 0.5.
TURNED = {"spacing": (0.5, 0.5, 4.0), "flips": (-1, -1, 1)}


@pytest.mark.parametrize("off_mm", [0.0, 0.25, 0.5, -0.7])
def test_labels_running_the_other_way_are_turned_even_if_their_place_is_a_little_off(off_mm):
    label_grid = grid((3, 2, 1), origin=(11 + off_mm, 20.5, 30), **TURNED)
    laid, notes, warnings = lay(LABELS, label_grid, IMAGE)
    assert laid.tolist() == [[[6, 5, 4], [3, 2, 1]]]  # 180 degrees
    assert notes == ("labels turned from RAS to the image's LPS",)
    assert bool(warnings) == (off_mm != 0)


def test_a_spacing_that_is_off_by_a_fraction_is_taken_with_a_warning():
    # 512 voxels of 0.998 mm: the far corner is 511 * 0.002 = 1.02 voxels off.
    image, labels = grid((512, 1, 1), origin=(3, 0, 0)), grid((512, 1, 1), origin=(3, 0, 0), spacing=(0.998, 1, 1))
    _, _, warnings = lay(np.zeros((1, 1, 512), np.uint8), labels, image)
    assert "1 voxels" in warnings[0]


@pytest.mark.parametrize(
    "label_grid",
    [
        grid((3, 2, 1), origin=(12.0, 20, 30), spacing=(0.5, 0.5, 4.0)),  # four voxels beside
        grid((3, 2, 1), origin=(14.0, 20.5, 30), **TURNED),  # turned, and six voxels beside
        grid((3, 2, 1), origin=(10, 20, 30), spacing=(2.0, 2.0, 4.0)),  # another spacing
        grid((2, 3, 1), origin=(10, 20, 30), spacing=(0.5, 0.5, 4.0)),  # another size
    ],
)
def test_labels_of_another_place_are_refused(label_grid):
    labels = np.ones(label_grid.size[::-1], np.uint8)
    with pytest.raises(ShapeMismatchError, match="resample"):
        lay(labels, label_grid, IMAGE)


@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, -1, 1)])  # what ITK and what nibabel write that know nothing
def test_a_lost_header_leaves_the_order_of_voxels_and_is_told(flips):
    laid, notes, warnings = lay(LABELS, grid((3, 2, 1), flips=flips), IMAGE)
    assert laid.tolist() == LABELS.tolist()
    assert notes == ()
    assert "a header is lost; taken voxel by voxel" in warnings[0]


def test_a_file_that_states_no_place_is_taken_voxel_by_voxel():
    _, _, warnings = lay(LABELS, grid((3, 2, 1), spacing=(0.5, 0.5, 4.0), stated=False), IMAGE)
    assert "a header is lost" in warnings[0]
    assert lay(LABELS, grid((3, 2, 1), stated=False), grid((3, 2, 1), stated=False))[2] == ()


def test_labels_cut_to_the_objects_extent_are_put_at_their_place():
    # Two voxels of x from index 1 on: origin 10 + 0.5.
    laid, notes, _ = lay(LABELS[:, :1, :2], grid((2, 1, 1), origin=(10.5, 20, 30), spacing=(0.5, 0.5, 4.0)), IMAGE)
    assert laid.tolist() == [[[0, 1, 2], [0, 0, 0]]]
    assert "put at their place" in notes[0]
    with pytest.raises(ShapeMismatchError):  # half a voxel beside: no voxel lies upon a voxel
        lay(LABELS[:, :1, :2], grid((2, 1, 1), origin=(10.75, 20, 30), spacing=(0.5, 0.5, 4.0)), IMAGE)


def test_swapped_axes_are_swapped_back():
    # The label's index runs z, x, y: its columns are where those go.
    affine = np.array([[0, 0.5, 0, 10], [0, 0, 0.5, 20], [4.0, 0, 0, 30], [0, 0, 0, 1]])
    stored = LABELS.transpose(1, 2, 0).copy()  # array axes are (third index, second, first) = (y, x, z)
    laid, _, warnings = lay(stored, make_grid((1, 3, 2), affine, "drawn"), IMAGE)
    assert laid.tolist() == LABELS.tolist()
    assert warnings == ()


@pytest.mark.parametrize("along_line", [True, False])
def test_labels_on_a_sheared_stack_may_be_straightened_by_another_program(along_line):
    # z goes 3 mm up and 4 mm along y: 5 mm along the line, 3 mm between planes.
    image = make_grid((8, 8, 4), np.array([[1.0, 0, 0, 0], [0, 1, 4, 0], [0, 0, 3, 0], [0, 0, 0, 1]]), "drawn")
    assert image.is_sheared
    label = grid((8, 8, 4), spacing=(1, 1, 5 if along_line else 3))
    _, _, warnings = lay(np.zeros((4, 8, 8), np.uint8), label, image)
    assert "shear" in warnings[0]


@pytest.mark.parametrize(
    "affine",
    [
        np.diag([1.0, 0, 1, 1]),
        np.diag([1.0, np.nan, 1, 1]),
        np.array([[1.0, 1, 0, 0]] * 2 + [[0, 0, 1, 0], [0, 0, 0, 1]]),
    ],
)
def test_a_transform_that_makes_no_sense_is_refused(affine):
    with pytest.raises(PrepareError, match="correct"):
        make_grid((2, 2, 2), affine, "drawn")
