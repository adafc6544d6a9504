import cv2
import numpy as np
import pytest

from data_prep.objects import SpeckRule
from data_prep.paper_store import (
    make_store,
    pack_store,
    read_entry,
    read_index,
    to_square,
    write_entry,
)
from data_prep.sources import find_sources
from graysam.errors import PrepareError
from graysam.store import open_store


def test_a_wide_image_fills_the_top_of_the_square():
    image = np.full((64, 128), 200, np.uint8)
    labels = np.zeros((64, 128), np.uint16)
    labels[0:32, 0:64] = 300
    square, small = to_square(image, labels)
    assert square.shape == small.shape == (256, 256)
    assert square[:128].min() == 200
    assert not square[128:].any()
    expected = np.zeros((256, 256), bool)
    expected[:64, :128] = True  # twice as large
    np.testing.assert_array_equal(small == 300, expected)


def test_an_entry_is_a_png_and_a_json_that_can_be_read_back(tmp_path):
    (tmp_path / "imgs").mkdir()
    (tmp_path / "gts").mkdir()
    image = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    labels = np.zeros((256, 256), np.uint8)
    labels[5:9, 7:30] = 4
    write_entry(tmp_path, "one", image, labels)
    np.testing.assert_array_equal(read_entry(tmp_path, "one")[0], image)
    np.testing.assert_array_equal(read_entry(tmp_path, "one")[1], labels)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "imgs" / "one.png"))[..., ::-1], image)


def test_a_store_of_sources_goes_on_where_it_stopped_and_packs(tmp_path, make_dataset, square_case):
    image, mask = square_case
    root = make_dataset("US/Toy", {"a": (image, mask), "b": (image, mask), "empty": (image, mask * 0)})
    (root / "index.csv").write_text(
        "dataset,case,group,split\n" + "".join(f"US/Toy,{c},{c},train\n" for c in ("a", "b", "empty"))
    )
    sources = find_sources(root).sources
    count, errors, _ = make_store(sources, tmp_path / "store", workers=0)
    assert (count, errors) == (2, [])
    kept = tmp_path / "store" / "gts" / "US_Toy_a.json"
    stamp = kept.stat().st_mtime_ns
    (tmp_path / "store" / "gts" / "US_Toy_b.json").unlink()  # as if the run had been cut short here
    assert make_store(sources, tmp_path / "store", workers=0)[0] == 2
    assert kept.stat().st_mtime_ns == stamp
    assert [entry.name for entry in read_index(tmp_path / "store")] == ["US_Toy_a", "US_Toy_b"]
    assert pack_store(tmp_path / "store", tmp_path / "all.gstore") == 2
    packed = open_store(tmp_path / "all.gstore")
    # 30 columns become 256, so the mask's columns 10..14 become 85..127.
    assert np.flatnonzero(packed.masks(packed.entries[0])[0].any(axis=0))[[0, -1]].tolist() == [85, 127]


def test_a_store_is_not_mixed_with_entries_of_other_settings(tmp_path, make_dataset, square_case):
    sources = find_sources(make_dataset("US/Toy", {"a": square_case})).sources
    make_store(sources, tmp_path / "store", workers=0)
    with pytest.raises(PrepareError, match="other settings"):
        make_store(sources, tmp_path / "store", workers=0, window="range")


def test_nested_labels_keep_their_order_through_the_store(tmp_path, make_dataset, square_case):
    image, mask = square_case
    cup = mask.copy()
    cup[4:6, 11:14] = 2  # 6 pixels of the 20
    root = make_dataset("Fundus/Toy", {"a": (image, cup)}, labels="nested")
    (root / "index.csv").write_text("dataset,case,group,split\nFundus/Toy,a,a,train\n")
    sources = find_sources(root).sources
    make_store(sources, tmp_path / "store", workers=0, specks=SpeckRule(pixels=1))
    pack_store(tmp_path / "store", tmp_path / "all.gstore")
    packed = open_store(tmp_path / "all.gstore")
    disc, inner = packed.masks(packed.entries[0])
    assert (inner & ~disc).sum() == 0
    assert disc.sum() > inner.sum() > 0
