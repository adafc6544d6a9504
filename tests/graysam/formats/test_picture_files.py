"""Pictures and masks as annotation tools and cameras write them."""

import cv2
import numpy as np
import pytest
from PIL import Image

from graysam.errors import PrepareError
from graysam.formats.readers import is_stored_upright, read_image, read_label_picture, read_mask, read_picture


def disc(size=60, radius=18) -> np.ndarray:
    mask = np.zeros((size, size), np.uint8)
    cv2.circle(mask, (size // 2, size // 2), radius, 255, -1)
    return mask


SOFT = {
    "enlarged": cv2.resize(disc(), (400, 400), interpolation=cv2.INTER_CUBIC),
    "shrunk": cv2.resize(disc(400, 130), (150, 150), interpolation=cv2.INTER_AREA),
    "blurred": cv2.GaussianBlur(disc(200, 60), (0, 0), 3),
    "blurred away": cv2.GaussianBlur(disc(200, 20), (0, 0), 12),
    "one gray level": np.maximum(disc(60, 17), disc(60, 18) // 2),
    "once JPEG": cv2.imdecode(cv2.imencode(".jpg", disc(200, 60), [cv2.IMWRITE_JPEG_QUALITY, 60])[1], 0),
}


@pytest.mark.parametrize("name", SOFT)
def test_a_smoothed_mask_is_refused_or_cut_at_half_on_request(tmp_path, name):
    cv2.imwrite(str(tmp_path / "m.png"), SOFT[name])
    with pytest.raises(PrepareError, match="smoothed mask of one object"):
        read_mask(tmp_path / "m.png")
    cut = read_label_picture(tmp_path / "m.png", soft_masks="threshold")
    np.testing.assert_array_equal(cut.array, SOFT[name] > int(SOFT[name].max()) / 2)
    assert "cut at half" in cut.warnings[0]


def test_gray_rings_may_be_kept_as_labels(tmp_path):
    cv2.imwrite(str(tmp_path / "m.png"), SOFT["one gray level"])
    kept = read_mask(tmp_path / "m.png", soft_masks="keep")
    np.testing.assert_array_equal(kept, SOFT["one gray level"])


def test_254_beside_255_is_no_second_label(tmp_path):
    mask = disc()
    mask[25:30, 25:30] = 254
    cv2.imwrite(str(tmp_path / "m.png"), mask)
    with pytest.raises(PrepareError, match="254"):
        read_mask(tmp_path / "m.png")


def many_cells() -> np.ndarray:
    """200 squares of 6 x 6, numbered 1 to 200."""
    return np.kron(np.arange(1, 201).reshape(10, 20), np.pad(np.ones((6, 6)), 1)).astype(np.uint8)


LABELS = {
    "two classes": np.where(disc() > 0, 2, 1).astype(np.uint8),
    "black, gray, white": np.where(disc(60, 8) > 0, 255, disc() // 2).astype(np.uint8),
    "three levels": np.kron([[0, 85], [170, 255]], np.ones((20, 20))).astype(np.uint8),
    "cells": many_cells(),
    "tiny cells": np.kron(np.arange(1, 301).reshape(15, 20), np.pad(np.ones((3, 3)), 1)).astype(np.uint16),
}


@pytest.mark.parametrize("name", LABELS)
def test_label_maps_are_read_as_they_are(tmp_path, name):
    cv2.imwrite(str(tmp_path / "m.png"), LABELS[name])
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), LABELS[name])


def test_the_void_number_255_beside_classes_is_warned_of(tmp_path):
    mask = np.kron([[0, 1], [2, 255]], np.ones((20, 20))).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "m.png"), mask)
    read = read_label_picture(tmp_path / "m.png")
    np.testing.assert_array_equal(read.array, mask)
    assert "255" in read.warnings[0]


def test_a_palettes_indices_are_the_labels(tmp_path):
    indices = np.kron([[0, 1], [2, 3]], np.ones((4, 4))).astype(np.uint8)
    image = Image.fromarray(indices, "L").convert("P")
    image.putdata(indices.ravel().tolist())
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0])  # as Pascal VOC colours them
    image.save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), indices)


def test_a_gray_palette_whose_first_index_is_white_is_read_by_its_gray_values(tmp_path):
    indices = np.kron([[0, 1]], np.ones((4, 4))).astype(np.uint8)
    image = Image.fromarray(indices, "L").convert("P")
    image.putdata(indices.ravel().tolist())
    image.putpalette([255, 255, 255, 0, 0, 0])
    image.save(tmp_path / "m.png")
    assert (read_mask(tmp_path / "m.png") > 0).tolist() == (indices == 0).tolist()


@pytest.mark.parametrize("gray", [False, True])
def test_a_mask_in_the_transparency_is_named(tmp_path, gray):
    alpha = Image.fromarray(disc(), "L")
    image = Image.new("LA" if gray else "RGBA", alpha.size)
    image.putalpha(alpha)
    image.save(tmp_path / "m.png")
    with pytest.raises(PrepareError, match="transparency"):
        read_mask(tmp_path / "m.png")


def test_a_jpeg_of_classes_is_refused_and_one_of_black_and_white_is_cut(tmp_path):
    for name, mask in (("small", disc() // 255 * 2), ("gray", np.where(disc(90, 14) > 0, 255, disc(90, 40) // 2))):
        cv2.imwrite(str(tmp_path / f"{name}.jpg"), mask.astype(np.uint8))
        with pytest.raises(PrepareError, match="class"):
            read_mask(tmp_path / f"{name}.jpg")
    cv2.imwrite(str(tmp_path / "good.jpg"), disc())
    good = read_label_picture(tmp_path / "good.jpg")
    np.testing.assert_array_equal(good.array, disc() > 0)
    assert "JPEG" in good.warnings[0]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_turned_as_exif_says(tmp_path, orientation, suffix):
    # Drawn upright, an L of bright pixels; stored so that the orientation brings it back (EXIF's own table).
    upright = np.full((32, 48), 20, np.uint8)
    upright[4:28, 4:10] = 220
    upright[22:28, 4:40] = 220
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright, 1),  # to be turned clockwise
        7: upright[::-1, ::-1].T,
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"i{suffix}"
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif, quality=95)
    picture = read_picture(path)
    assert np.abs(picture.array.astype(int) - upright).max() < 30  # JPEG
    np.testing.assert_array_equal(picture.array > 120, upright > 120)
    if suffix != ".tif":  # which the decoder turns before we see it
        assert bool(picture.notes) == (orientation != 1)
        assert is_stored_upright(path) == (orientation == 1)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".tif"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_picture_that_was_cut_off_is_refused(tmp_path, suffix, share):
    path = tmp_path / f"i{suffix}"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8))
    read_image(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(PrepareError, match=r"i\.\w+: "):
        read_image(path)


def test_a_tiff_whose_lowest_value_is_white_shows_the_same_object(tmp_path):
    import struct

    def tiff(path, bits, data):
        """A bare little-endian TIFF of 48 x 48 with PhotometricInterpretation 0 (ImageJ's inverting table)."""
        tags = [(256, 4, 48), (257, 4, 48), (258, 3, bits), (259, 3, 1), (262, 3, 0), (273, 4, 8), (277, 3, 1)]
        tags += [(278, 4, 48), (279, 4, len(data))]
        table = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
        head = struct.pack("<2sHI", b"II", 42, 8 + len(data))
        path.write_bytes(head + data + struct.pack("<H", len(tags)) + table + struct.pack("<I", 0))

    mask = np.zeros((48, 48), np.uint8)
    mask[10:30, 12:36] = 255
    tiff(tmp_path / "white.tif", 8, (255 - mask).tobytes())
    tiff(tmp_path / "bit.tif", 1, np.packbits(mask == 0, axis=1).tobytes())
    for name in ("white", "bit"):
        np.testing.assert_array_equal(read_mask(tmp_path / f"{name}.tif") > 0, mask > 0)


def test_an_absurd_size_is_refused(tmp_path):
    path = tmp_path / "i.png"
    cv2.imwrite(str(path), disc())
    content = bytearray(path.read_bytes())
    content[16:20] = (2_000_000_000).to_bytes(4, "big")
    path.write_bytes(content)
    with pytest.raises(PrepareError, match=r"i\.png"):
        read_image(path)


def test_a_mask_without_background_is_told(tmp_path):
    cv2.imwrite(str(tmp_path / "m.png"), disc() // 255 + 1)
    assert "inverted" in read_label_picture(tmp_path / "m.png").warnings[0]
