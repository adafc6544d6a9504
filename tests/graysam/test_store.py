"""The packed store: what goes in comes out, and damage is named."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graysam.errors import StoreError
from graysam.files import written_whole
from graysam.store import (
    StoreWriter,
    decode_image,
    decode_runs,
    encode_image,
    encode_runs,
    join_files,
    open_store,
    split_file,
)


def test_runs_start_with_background_and_go_along_rows():
    mask = np.array([[0, 1, 1], [1, 0, 0]], bool)
    assert encode_runs(mask).tolist() == [1, 3, 2]


@pytest.mark.parametrize(
    ("mask", "runs"), [([[0, 0]], [2]), ([[1, 1]], [0, 2]), ([[1, 0]], [0, 1, 1]), ([[0, 1]], [1, 1])]
)
def test_empty_full_and_edge_touching_masks_have_their_runs(mask, runs):
    assert encode_runs(np.array(mask, bool)).tolist() == runs


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_any_mask_survives_its_runs(height, width, seed):
    mask = np.random.default_rng(seed).random((height, width)) < 0.5
    assert np.array_equal(decode_runs(encode_runs(mask), (height, width)), mask)


def test_runs_of_another_size_are_refused():
    with pytest.raises(StoreError, match="add up to 6 pixels, wanted 2 x 4"):
        decode_runs(np.array([1, 3, 2], np.uint32), (2, 4))


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
def test_png_is_exact_and_keeps_the_order_of_colours(shape):
    image = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    assert np.array_equal(decode_image(encode_image(image)), image)


def add_slice(writer, image, masks, case="a"):
    writer.add(
        encode_image(image),
        [encode_runs(mask) for mask in masks],
        dataset="CT/drawn",
        modality="CT",
        case=case,
        group=case,
        split="train",
        size_hw=image.shape[:2],
    )


@pytest.fixture
def drawn():
    image = np.arange(20, dtype=np.uint8).reshape(4, 5)
    masks = [image > 10, image % 2 == 0]  # objects of one slice may overlap
    return image, masks


def test_a_store_gives_back_images_and_objects(tmp_path, drawn):
    image, masks = drawn
    with StoreWriter(tmp_path / "x.store") as writer:
        add_slice(writer, image, masks)
        add_slice(writer, image[::-1], masks[:1], case="b")
    store = open_store(tmp_path / "x.store")
    assert [entry.case for entry in store.entries] == ["a", "b"]
    assert np.array_equal(store.image(store.entries[0]), image)
    assert np.array_equal(store.image(store.entries[1]), image[::-1])
    assert all(np.array_equal(*pair) for pair in zip(store.masks(store.entries[0]), masks, strict=True))


def test_a_writer_that_fails_leaves_nothing_behind(tmp_path, drawn):
    def write():
        with StoreWriter(tmp_path / "x.store") as writer:
            add_slice(writer, *drawn)
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError):
        write()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("kept", "message"), [(4, "wanted a store"), (40, "before its index"), (-1, "bytes of images")]
)
def test_a_truncated_store_is_refused(tmp_path, drawn, kept, message):
    with StoreWriter(tmp_path / "x.store") as writer:
        add_slice(writer, *drawn)
    whole = (tmp_path / "x.store").read_bytes()
    (tmp_path / "x.store").write_bytes(whole[:kept])
    with pytest.raises(StoreError, match=message):
        open_store(tmp_path / "x.store")


def test_a_missing_store_says_how_to_make_one(tmp_path):
    with pytest.raises(StoreError, match="data_prep pack"):
        open_store(tmp_path / "none.store")


def test_an_empty_store_opens(tmp_path):
    with StoreWriter(tmp_path / "x.store"):
        pass
    assert len(open_store(tmp_path / "x.store")) == 0


def test_pieces_of_a_file_join_to_the_file(tmp_path):
    source = tmp_path / "x.store"
    source.write_bytes(bytes(range(250)))
    pieces = split_file(source, tmp_path / "pieces", piece_bytes=100)
    assert [piece.stat().st_size for piece in pieces] == [100, 100, 50]
    join_files(pieces[::-1], tmp_path / "joined")
    assert (tmp_path / "joined").read_bytes() == source.read_bytes()


def test_pieces_of_which_one_is_missing_are_not_joined(tmp_path):
    (tmp_path / "x.store.000").write_bytes(b"one")
    with pytest.raises(StoreError, match=r"x\.store\.001: no such piece"):
        join_files([tmp_path / "x.store.000", tmp_path / "x.store.001"], tmp_path / "joined")
    assert [path.name for path in tmp_path.iterdir()] == ["x.store.000"]


def test_a_writer_shows_nothing_until_the_store_is_whole_and_clears_what_a_killed_one_left(tmp_path, drawn):
    with pytest.raises(StoreError), written_whole(tmp_path / "x.store", StoreError) as temporary:
        pass
    temporary.write_bytes(b"half")
    with StoreWriter(tmp_path / "x.store") as writer:
        add_slice(writer, *drawn)
        assert list(tmp_path.iterdir()) == []
    assert [path.name for path in tmp_path.iterdir()] == ["x.store"]
