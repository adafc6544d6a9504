import cv2
import numpy as np

from examples.gallery import GAP_PX, TILE_PX, main, tile_pictures

WIDE = np.full((10, 20, 3), (0, 0, 200), np.uint8)


def test_a_picture_fills_its_tile_keeps_its_shape_and_is_centred() -> None:
    tile = tile_pictures([("wide", WIDE)], columns=4)
    red = (tile == (0, 0, 200)).all(axis=2)
    rows, columns = np.flatnonzero(red.any(axis=1)), np.flatnonzero(red.any(axis=0))
    inner = TILE_PX - 2 * GAP_PX  # 248 wide, so that the picture of 20 x 10 becomes 248 x 124
    assert (columns[0], columns[-1]) == (GAP_PX, GAP_PX + inner - 1)
    assert (rows[0], rows[-1]) == ((TILE_PX - 124) // 2, (TILE_PX + 124) // 2 - 1)


def test_the_last_row_is_filled_up_with_white() -> None:
    gallery = tile_pictures([("a", WIDE), ("b", WIDE), ("c", WIDE)], columns=2)
    height = gallery.shape[0] // 2
    assert gallery.shape[1] == 2 * TILE_PX
    assert (gallery[height:, TILE_PX:] == 255).all()
    assert not (gallery[height:, :TILE_PX] == 255).all()


def test_the_command_tiles_the_pictures_of_a_folder(tmp_path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), WIDE)
    (tmp_path / "b.png").write_bytes(b"no picture")
    assert main([str(tmp_path), "-o", str(tmp_path / "all.png")]) == 0
    assert cv2.imread(str(tmp_path / "all.png")).shape[1] == TILE_PX


def test_an_empty_folder_is_an_error_that_names_it(tmp_path, capsys) -> None:
    assert main([str(tmp_path), "-o", str(tmp_path / "all.png")]) == 2
    assert str(tmp_path) in capsys.readouterr().err
