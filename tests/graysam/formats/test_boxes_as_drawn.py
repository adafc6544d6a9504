"""Boxes as the programs of people store them land on the right voxels; expected values are worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from graysam.boxes import Box, VolumeBox
from graysam.errors import CaseError
from graysam.formats.box_files import boxes_for, needs_one_image
from graysam.formats.box_kinds import read_boxes
from graysam.formats.drawn_boxes import box_between, box_table
from graysam.formats.grids import make_grid
from graysam.formats.pictures import PictureFormat
from graysam.formats.reading_options import BoxSource, Reading
from graysam.formats.rough_masks import boxes_round
from graysam.formats.volumes import MetaFormat, NiftiFormat, NrrdFormat

# Turned by 36.87 degrees about the body's axis (cosine 0.8, sine 0.6), x and z flipped, steps of 0.5, 0.8 and 3 mm.
DIRECTIONS = np.array([[-0.8, 0.6, 0.0], [-0.6, -0.8, 0.0], [0.0, 0.0, -1.0]])  # columns: where x, y, z run, in LPS
STEPS_MM = np.array([0.5, 0.8, 3.0])
ORIGIN = np.array([10.0, 20.0, 30.0])
SIZE = (12, 9, 5)  # x, y, z
VOXELS = np.arange(np.prod(SIZE), dtype=np.int16).reshape(SIZE[::-1])
# Voxels x 3..6, y 2..4, z 1..2 reach from edge 2.5 to 6.5, 1.5 to 4.5, 0.5 to 2.5: the middle is 4.5, 3, 1.5. In mm:
# (10, 20, 30) + 2.25 * (-0.8, -0.6, 0) + 2.4 * (0.6, -0.8, 0) + 4.5 * (0, 0, -1) = (9.64, 16.73, 25.5).
CENTRE = [9.64, 16.73, 25.5]
EDGES = [4 * 0.5, 3 * 0.8, 2 * 3.0]
WANTED = VolumeBox(Box(3, 2, 6, 4), 1, 2)
AFFINE = np.eye(4)
AFFINE[:3, :3], AFFINE[:3, 3] = DIRECTIONS * STEPS_MM, ORIGIN
AS_IS = Reading(window="range")


def write_nifti(path: Path) -> Path:
    nibabel = pytest.importorskip("nibabel")
    image = nibabel.Nifti1Image(VOXELS.T, np.diag([-1.0, -1.0, 1.0, 1.0]) @ AFFINE)  # NIfTI counts in RAS
    nibabel.save(image, path)
    return path


def write_itk(path: Path) -> Path:
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.GetImageFromArray(VOXELS)
    image.SetSpacing(STEPS_MM.tolist())
    image.SetOrigin(ORIGIN.tolist())
    image.SetDirection(DIRECTIONS.ravel().tolist())
    sitk.WriteImage(image, str(path))
    return path


FORMATS = {
    "scan.nii.gz": (NiftiFormat, write_nifti),
    "scan.nii": (NiftiFormat, write_nifti),
    "scan.nrrd": (NrrdFormat, write_itk),
    "scan.mha": (MetaFormat, write_itk),
}


def markup(**facts: object) -> dict[str, object]:
    roi = {
        "type": "ROI", "coordinateSystem": "LPS", "coordinateUnits": "mm", "roiType": "Box", "center": CENTRE,
        "orientation": DIRECTIONS.ravel().tolist(), "size": EDGES, "insideOut": False,
        "controlPoints": [{"id": "1", "label": "R-1", "position": CENTRE}],
    }  # fmt: skip
    return {"@schema": "markups-schema-v1.0.3.json#", "markups": [{**roi, **facts}]}


def put(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


# --- 3D Slicer


@pytest.mark.parametrize("name", FORMATS)
def test_a_box_of_3d_slicer_lands_on_its_voxels_in_an_oblique_flipped_anisotropic_volume(tmp_path, name):
    kind, write = FORMATS[name]
    path = write(tmp_path / name)
    put(tmp_path / "scan.mrk.json", markup())
    case = kind(AS_IS).read(path)
    assert case.boxes == (WANTED,)
    assert case.box_names == ("R",)
    assert case.spacing_mm == pytest.approx((3, 0.8, 0.5), rel=1e-6)
    assert "1 boxes from scan.mrk.json (LPS coordinates)" in case.notes


def test_the_same_box_in_ras_has_its_first_two_numbers_turned(tmp_path):
    turned = np.diag([-1, -1, 1]) @ DIRECTIONS
    centre = [-CENTRE[0], -CENTRE[1], CENTRE[2]]
    facts = markup(coordinateSystem="RAS", center=centre, orientation=turned.ravel().tolist(), name="liver")
    put(tmp_path / "scan.mrk.json", facts)
    case = NiftiFormat(AS_IS).read(write_nifti(tmp_path / "scan.nii"))
    assert (case.boxes, case.box_names) == ((WANTED,), ("liver",))


def test_a_box_along_the_patients_axes_becomes_the_voxels_whose_centres_its_hull_holds(tmp_path):
    # 1 mm along L and P: half of it spans (0.8 + 0.6) * 0.5 = 0.7 mm along x and y, which are 1.4 and 0.875 voxels:
    # x 3.1..5.9, y 2.125..3.875.
    put(tmp_path / "scan.mrk.json", markup(orientation=np.eye(3).ravel().tolist(), size=[1, 1, 6]))
    case = NiftiFormat(AS_IS).read(write_nifti(tmp_path / "scan.nii"))
    assert case.boxes == (VolumeBox(Box(4, 3, 5, 3), 1, 2),)


def test_a_box_thinner_than_a_voxel_becomes_the_nearest_one(tmp_path):
    grid = make_grid(SIZE, AFFINE, "scan")
    point = AFFINE @ [4.3, 3.2, 1.6, 1]
    assert box_table([box_between(point[:3], point[:3], "LPS")], grid, is_volume=True).tolist() == [[4, 3, 2, 4, 3, 2]]


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"insideOut": True}, "inside out"),
        ({"size": [0, 1, 1]}, r"size \[0\. 1\. 1\.\]"),
        ({"coordinateSystem": "ITK"}, "coordinate system 'ITK', wanted LPS or RAS"),
        ({"type": "Line"}, "holds no ROI"),
        ({"coordinateUnits": "inch"}, "not stored as expected"),
    ],
)
def test_a_roi_that_is_no_box_is_refused_by_name(tmp_path, facts, message):
    path = put(tmp_path / "scan.mrk.json", markup(**facts))
    with pytest.raises(CaseError, match=f"scan.mrk.json: .*{message}"):
        read_boxes(path)


def test_millimetres_for_an_image_that_lies_nowhere_are_refused(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    image = nibabel.Nifti1Image(VOXELS.T, None)
    image.header.set_sform(None, code=0)
    image.header.set_qform(None, code=0)
    nibabel.save(image, tmp_path / "scan.nii")
    put(tmp_path / "scan.mrk.json", markup())
    with pytest.raises(CaseError, match=r"box 0 is in mm \(LPS\), but the image does not state where it lies"):
        NiftiFormat(AS_IS).read(tmp_path / "scan.nii")


# --- tables


def test_a_table_names_cases_objects_and_frames(tmp_path):
    path = put(
        tmp_path / "boxes.csv",
        "case,name,frame,x_min,y_min,z_min,x_max,y_max,z_max\n"
        "scan.nii.gz,liver,,3,2,1,6,4,2\n"
        "scan,spleen,voxel,0,0,0,1,1,1\n"
        "other.nii.gz,liver,,0,0,0,1,1,1\n"
        "skin.jpg,mole,,1,2,,3,4,\n",
    )
    found = boxes_for(tmp_path / "scan.nii.gz", "scan", BoxSource(path), columns=6)
    assert found.names == ("liver", "spleen")
    assert box_table(found.boxes, None, is_volume=True).tolist() == [[3, 2, 1, 6, 4, 2], [0, 0, 0, 1, 1, 1]]
    flat = boxes_for(tmp_path / "skin.jpg", "skin", BoxSource(path), columns=4)
    assert box_table(flat.boxes, None, is_volume=False).tolist() == [[1, 2, 3, 4]]
    with pytest.raises(CaseError, match=r"third.nii: boxes.csv has no box for it; .*: other.nii.gz, scan, scan.nii.gz"):
        boxes_for(tmp_path / "third.nii", "third", BoxSource(path), columns=6)


def test_millimetres_in_a_table_count_from_edge_to_edge_as_3d_slicer_does(tmp_path):
    # Axes along the patient's, 2 mm steps, origin 100: voxels 3..5 lie from 105 to 111 mm.
    grid = make_grid((20, 20, 20), np.array([[2, 0, 0, 100], [0, 2, 0, 100], [0, 0, 2, 100], [0, 0, 0, 1.0]]), "scan")
    rows = [{"frame": "LPS", "x_min": 105, "y_min": 105, "z_min": 105, "x_max": 111, "y_max": 111, "z_max": 111}]
    ras = [{"frame": "ras", "x_min": -111, "y_min": -111, "z_min": 105, "x_max": -105, "y_max": -105, "z_max": 111}]
    for table in (rows, ras, {"boxes": rows}):
        boxes = read_boxes(put(tmp_path / f"{len(str(table))}.json", table))
        assert box_table(boxes, grid, is_volume=True).tolist() == [[3, 3, 3, 5, 5, 5]]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "case,left\nx,1\n", "column 'left'|wanted 6 numbers"),
        ("a.csv", "x_min,y_min,x_max\n1,2,3\n", "wanted numbers under x_min, y_min, x_max, y_max"),
        ("a.csv", "x_min,y_min,x_max,y_max,frame\n1,2,3,4,mm\n", "has the frame 'mm', wanted voxel, LPS or RAS"),
        ("a.json", "{", "no JSON"),
        ("a.json", '{"a": 1}', "neither a table of boxes"),
        ("a.json", '[{"x_min": 1}]', "wanted numbers under"),
        ("a.json", '{"shapes": [{"points": []}]}', "not stored as expected"),
    ],
)
def test_a_file_of_boxes_that_makes_no_sense_is_refused_by_name(tmp_path, name, text, message):
    with pytest.raises(CaseError, match=message):
        read_boxes(put(tmp_path / name, text))


def test_a_file_that_names_no_image_can_serve_one_only(tmp_path):
    assert needs_one_image(BoxSource(put(tmp_path / "a.mrk.json", markup())))
    assert not needs_one_image(BoxSource(put(tmp_path / "a.csv", "case,x_min,y_min,x_max,y_max\nb,1,2,3,4\n")))
    assert not needs_one_image(BoxSource(tmp_path))


# --- pictures


def write_picture(path: Path) -> Path:
    pil = pytest.importorskip("PIL.Image")
    pil.fromarray(np.arange(80, dtype=np.uint8).reshape(8, 10)).save(path)
    return path


def test_shapes_of_labelme_count_along_the_edges_of_pixels(tmp_path):
    # From edge 2 to edge 5 lie the pixels 2, 3 and 4. A point on the middle of a pixel belongs to it.
    shapes = [
        {"label": "mole", "shape_type": "rectangle", "points": [[2, 1], [5, 4]]},
        {"label": "mole", "shape_type": "polygon", "points": [[2.5, 1.0], [4.4, 3.5], [3, 6]]},
        {"label": "spot", "shape_type": "circle", "points": [[5, 4], [5, 6]]},
    ]
    put(tmp_path / "skin.json", {"version": "5.4.1", "imagePath": "skin.png", "shapes": shapes})
    case = PictureFormat().read(write_picture(tmp_path / "skin.png"))
    assert case.boxes == (Box(2, 1, 4, 3), Box(2, 1, 3, 5), Box(3, 2, 6, 5))
    assert case.box_names == ("mole", "mole", "spot")


def test_boxes_of_coco_are_found_by_file_name(tmp_path):
    content = {
        "images": [{"id": 7, "file_name": "train/skin.png"}, {"id": 8, "file_name": "other.png"}],
        "categories": [{"id": 1, "name": "mole"}],
        "annotations": [
            {"image_id": 7, "category_id": 1, "bbox": [2, 1, 3, 3]},
            {"image_id": 8, "category_id": 1, "bbox": [0, 0, 1, 1]},
        ],
    }
    source = BoxSource(put(tmp_path / "coco.json", content))
    case = PictureFormat(Reading(source)).read(write_picture(tmp_path / "skin.png"))
    assert (case.boxes, case.box_names) == ((Box(2, 1, 4, 3),), ("mole",))


# --- rough masks


def test_boxes_round_rough_masks_are_those_of_the_middle_slice_with_a_margin_in_x_and_y(tmp_path):
    labels = np.zeros(SIZE[::-1], np.uint8)
    labels[1:4, 2:5, 3:7] = 4
    labels[1, 0:8, 1:9] = 4  # wider, but not on the middle slice 2
    labels[0, 0, 11] = 9
    tight, names = boxes_round(labels, 0)
    assert tight.tolist() == [[3, 2, 1, 6, 4, 3], [11, 0, 0, 11, 0, 0]]
    assert names == ("label 4", "label 9")
    assert boxes_round(labels, 2)[0].tolist() == [[1, 0, 1, 8, 6, 3], [9, 0, 0, 11, 2, 0]]
    assert boxes_round(labels[1], 1)[0].tolist() == [[0, 0, 9, 8]]


def test_a_rough_mask_in_another_voxel_order_is_turned_to_the_image(tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    labels = np.zeros(SIZE[::-1], np.uint8)
    labels[1:3, 2:5, 3:7] = 1
    mask = sitk.GetImageFromArray(labels)
    mask.SetSpacing(STEPS_MM.tolist())
    mask.SetOrigin(ORIGIN.tolist())
    mask.SetDirection(DIRECTIONS.ravel().tolist())
    (tmp_path / "rough").mkdir()
    sitk.WriteImage(sitk.Flip(mask, [True, False, True]), str(tmp_path / "rough" / "scan.mha"))
    reading = Reading(BoxSource(masks=tmp_path / "rough"), window="range")
    case = NrrdFormat(reading).read(write_itk(tmp_path / "scan.nrrd"))
    assert case.boxes == (WANTED,)
    assert case.box_names == ("label 1",)
