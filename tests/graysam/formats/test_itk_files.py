"""MHA, MHD, NRRD and 3D Slicer's .seg.nrrd."""

import os

import numpy as np
import pytest
import SimpleITK

from graysam.errors import PrepareError
from graysam.formats.readers import read_label_volume, read_volume, stem_of, suffix_of

VOXELS = np.random.default_rng(0).integers(0, 999, (8, 9, 10)).astype(np.int16)


def save(path, array=VOXELS, *, packed=False, origin=(0, 0, 0), vector=False):
    image = SimpleITK.GetImageFromArray(array, isVector=vector)
    image.SetOrigin(origin)
    SimpleITK.WriteImage(image, str(path), packed)
    return path


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("suffix", [".mha", ".nrrd", ".mhd", ".nhdr"])
@pytest.mark.parametrize("share", [0.5, 0.99])
def test_a_file_that_was_cut_off_is_refused_and_a_whole_one_is_read(tmp_path, suffix, packed, share):
    path = save(tmp_path / f"v{suffix}", packed=packed)
    np.testing.assert_array_equal(read_volume(path).array, VOXELS)
    (voxels,) = [each for each in tmp_path.iterdir() if each != path] or [path]
    content = voxels.read_bytes()
    voxels.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(PrepareError, match=r"v\.\w+: (cut off|damaged)"):
        read_volume(path)


@pytest.mark.parametrize("suffix", [".mhd", ".nhdr"])
def test_a_header_whose_voxels_are_missing_is_named(tmp_path, suffix):
    path = save(tmp_path / f"v{suffix}")
    (voxels,) = [each for each in tmp_path.iterdir() if each != path]
    voxels.unlink()
    with pytest.raises(PrepareError, match="missing"):
        read_volume(path)


@pytest.mark.parametrize(
    ("suffix", "old", "new"),
    [
        (".mha", b"DimSize = 10 9 8", b"DimSize = 10 9 80000000"),
        (".mha", b"DimSize = 10 9 8", b"DimSize = 10 9 -8"),
        (".mha", b"MET_SHORT", b"MET_WRONG"),
        (".nrrd", b"sizes: 10 9 8", b"sizes: 10 9 99999999999999"),
        (".nrrd", b"type: short", b"type: double"),
        (".nrrd", b"dimension: 3", b"dimension: 7"),
    ],
)
def test_a_header_that_is_nonsense_is_refused_by_name(tmp_path, suffix, old, new):
    path = save(tmp_path / f"v{suffix}")
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))
    with pytest.raises(PrepareError, match=r"^v\."):
        read_volume(path)


def test_a_damaged_header_never_lets_simpleitk_hand_out_what_lay_in_memory(tmp_path):
    """Without the length of the packed data SimpleITK fails to unpack them, says so on stderr, and gives an image."""
    path = save(tmp_path / "v.mha", packed=True)
    content = path.read_bytes()
    assert b"CompressedDataSize" in content
    path.write_bytes(content.replace(b"CompressedDataSize", b"CompressedDataSIZE"))
    with pytest.raises(PrepareError, match=r"v\.mha"):
        read_volume(path)


@pytest.mark.parametrize("big_endian", [False, True])
def test_both_byte_orders_are_read(tmp_path, big_endian):
    path = save(tmp_path / "v.mha")
    head, voxels = path.read_bytes().split(b"LOCAL\n")
    if big_endian:
        head = head.replace(b"BinaryDataByteOrderMSB = False", b"BinaryDataByteOrderMSB = True")
        voxels = VOXELS.astype(">i2").tobytes()
    path.write_bytes(head + b"LOCAL\n" + voxels)
    np.testing.assert_array_equal(read_volume(path).array, VOXELS)


def test_a_name_that_is_no_utf8_is_refused_and_does_not_end_the_process(tmp_path):
    save(tmp_path / "v.mha").rename(tmp_path / os.fsdecode(b"caf\xe9.mha"))
    (found,) = tmp_path.iterdir()
    with pytest.raises(PrepareError, match="UTF-8"):
        read_volume(found)


def test_slicers_segmentation_is_read_whole_cut_or_refused_in_layers(tmp_path):
    image = read_volume(save(tmp_path / "i.nrrd"))
    labels = (VOXELS > 500).astype(np.uint8)
    whole, _, warnings = read_label_volume(save(tmp_path / "w.seg.nrrd", labels), image)
    np.testing.assert_array_equal(whole, labels)
    assert warnings == ()
    cut, notes, _ = read_label_volume(save(tmp_path / "c.seg.nrrd", labels[2:5, 3:6, 4:9], origin=(4, 3, 2)), image)
    np.testing.assert_array_equal(cut[2:5, 3:6, 4:9], labels[2:5, 3:6, 4:9])
    assert cut.sum() == labels[2:5, 3:6, 4:9].sum()
    assert "put at their place" in notes[0]
    layers = save(tmp_path / "l.seg.nrrd", np.stack([labels, labels], -1), vector=True)
    with pytest.raises(PrepareError, match="layers"):
        read_label_volume(layers, image)


def test_slicers_suffix_is_one():
    from pathlib import Path

    path = Path("Case 1.seg.nrrd")
    assert (stem_of(path), suffix_of(path)) == ("Case 1", ".seg.nrrd")
