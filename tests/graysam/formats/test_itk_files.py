"""MHA, MHD, NRRD and 3D Slicer's .seg.nrrd."""

import gzip
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


def save_in_pieces(folder, kind, *, packed=False):
    """The same volume with each slice in a file of its own, named by a list or by a pattern."""
    path = save(folder / ("v.mhd" if kind.startswith("meta") else "v.nhdr"), packed=False)
    (whole,) = [each for each in folder.iterdir() if each != path]
    whole.unlink()
    names = [f"z{number:03d}.raw" for number in range(1, 9)]
    for name, part in zip(names, VOXELS, strict=True):
        (folder / name).write_bytes(gzip.compress(part.tobytes()) if packed else part.tobytes())
    text = path.read_text()
    where = {
        "meta list": "LIST\n" + "\n".join(names),
        "meta pattern": "z%03d.raw 1 8 1",
        "meta bare pattern": "z%03d.raw",
        "nrrd list": "LIST\n" + "\n".join(names),
        "nrrd pattern": "z%03d.raw 1 8 1",
    }[kind]
    text = text.replace(whole.name, where)
    path.write_text(text.replace("encoding: raw", "encoding: gzip") if packed else text)
    return path


PIECES = ("meta list", "meta pattern", "meta bare pattern", "nrrd list", "nrrd pattern")


@pytest.mark.parametrize(("kind", "packed"), [*((kind, False) for kind in PIECES), ("nrrd list", True)])
def test_voxels_in_several_files_are_read_and_a_piece_that_was_cut_off_is_named(tmp_path, kind, packed):
    path = save_in_pieces(tmp_path, kind, packed=packed)
    np.testing.assert_array_equal(read_volume(path).array, VOXELS)
    piece = tmp_path / "z005.raw"
    piece.write_bytes(piece.read_bytes()[:-1])
    with pytest.raises(PrepareError, match=r"cut off or damaged: the header wants 180 bytes of voxels in z005\.raw"):
        read_volume(path)
    piece.unlink()
    with pytest.raises(PrepareError, match=r"z005\.raw, which is missing"):
        read_volume(path)


@pytest.mark.parametrize("kind", PIECES)
@pytest.mark.parametrize("outside", ["../secret/z%s", "{root}/secret/z%s"])
def test_a_list_or_pattern_does_not_lead_out_of_the_headers_folder(tmp_path, kind, outside):
    (tmp_path / "in").mkdir()
    path = save_in_pieces(tmp_path / "in", kind)
    (tmp_path / "secret").mkdir()
    for piece in (tmp_path / "in").glob("z*.raw"):
        piece.rename(tmp_path / "secret" / piece.name)
    where = outside.format(root=tmp_path) % ""
    path.write_text(path.read_text().replace("\nz", f"\n{where}").replace(" z%", f" {where}%"))
    assert "secret/z" in path.read_text()
    with pytest.raises(PrepareError, match=r"secret/z001\.raw, out of the header's folder"):
        read_volume(path)


def test_a_link_among_the_pieces_does_not_lead_out_either(tmp_path):
    (tmp_path / "in").mkdir()
    path = save_in_pieces(tmp_path / "in", "nrrd list")
    piece = tmp_path / "in" / "z003.raw"
    piece.rename(tmp_path / "z003.raw")
    piece.symlink_to(tmp_path / "z003.raw")
    with pytest.raises(PrepareError, match=r"z003\.raw, out of the header's folder"):
        read_volume(path)


@pytest.mark.parametrize(
    ("old", "new"),
    [("1 8 1", "1 8 0"), ("1 8 1", "1 7 1"), ("1 8 1", "1 99999999 1"), ("%03d", "%s%s"), ("1 8 1", "")],
)
def test_a_pattern_that_makes_no_sense_is_refused_by_name(tmp_path, old, new):
    path = save_in_pieces(tmp_path, "nrrd pattern")
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(PrepareError, match=r"^v\.nhdr"):
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
