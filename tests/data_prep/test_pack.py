import json

import cv2
import numpy as np
import pytest

from data_prep.cli import main
from data_prep.pack import PackSettings, pack, pack_source
from data_prep.sources import find_sources
from graysam.store import join_files, open_store, split_file


def index(root, rows):
    (root / "index.csv").write_text("\n".join(["dataset,case,group,split", *rows]))


def test_images_and_labelled_slices_are_packed_with_their_objects(tmp_path, make_dataset, square_case, write_volume):
    image, mask = square_case
    root = make_dataset("US/Toy", {"a": (image, mask)})
    folder = root / "MR" / "Vol" / "volumes"
    volume = np.zeros((3, 12, 12), np.int16)
    volume[:, 2:10, 2:10] = np.arange(1, 65).reshape(8, 8)
    labels = np.zeros((3, 12, 12), np.uint8)
    labels[1, 2:6, 2:6] = 1
    labels[1, 7:11, 2:6] = 2
    labels[2, 0, 0:9] = 1  # 9 pixels: a speck, so this slice is left out
    write_volume(folder / "v_image.nii.gz", volume)
    write_volume(folder / "v_label.nii.gz", labels)
    (root / "MR" / "Vol" / "dataset.json").write_text('{"modality": "MR", "labels": "classes"}')
    index(root, ["US/Toy,a,patient 1,train", "MR/Vol,v,patient 2,val"])
    report = pack(find_sources(root).sources, tmp_path / "all.gstore", PackSettings(), workers=0)
    assert (report.slices, report.objects, report.drops.pieces, report.errors) == (2, 3, 1, ())
    store = open_store(tmp_path / "all.gstore")
    by_case = {entry.case: entry for entry in store.entries}
    flat, slice_entry = by_case["a"], by_case["v"]
    assert (flat.z, flat.group, flat.split, flat.size_hw) == (-1, "patient 1", "train", (20, 30))
    np.testing.assert_array_equal(store.image(flat), image)
    np.testing.assert_array_equal(store.masks(flat)[0], mask == 1)
    assert (slice_entry.z, slice_entry.modality, slice_entry.split) == (1, "MR", "val")
    np.testing.assert_array_equal(store.masks(slice_entry)[1], labels[1] == 2)


def test_a_jpeg_source_goes_into_a_jpeg_store_byte_for_byte(tmp_path, make_dataset, square_case):
    root = make_dataset("US/Toy", {"a": square_case})
    (root / "US/Toy/images/a.png").unlink()
    cv2.imwrite(str(root / "US/Toy/images/a.jpg"), square_case[0])
    index(root, ["US/Toy,a,a,train"])
    pack(find_sources(root).sources, tmp_path / "all.gstore", PackSettings("jpeg"), workers=0)
    store = open_store(tmp_path / "all.gstore")
    assert bytes(store.encoded_image(store.entries[0])) == (root / "US/Toy/images/a.jpg").read_bytes()


def test_a_source_that_cannot_be_read_is_told_and_the_rest_is_packed(tmp_path, make_dataset, square_case):
    root = make_dataset("US/Toy", {"a": square_case, "b": square_case})
    (root / "US/Toy/images/a.png").write_bytes(b"broken")
    index(root, ["US/Toy,a,a,train", "US/Toy,b,b,val"])
    report = pack(find_sources(root).sources, tmp_path / "all.gstore", PackSettings(), workers=0)
    assert report.slices == 1
    assert "US/Toy/a" in report.errors[0]


@pytest.mark.parametrize("piece_bytes", [100, 1000, 10**6])
def test_pieces_are_small_enough_and_join_to_the_same_file(tmp_path, make_dataset, square_case, piece_bytes):
    root = make_dataset("US/Toy", dict.fromkeys("abc", square_case))
    index(root, [f"US/Toy,{name},{name},train" for name in "abc"])
    whole = tmp_path / "all.gstore"
    pack(find_sources(root).sources, whole, PackSettings(), workers=0)
    pieces = split_file(whole, tmp_path / "pieces", piece_bytes=piece_bytes)
    assert all(piece.stat().st_size <= piece_bytes for piece in pieces)
    join_files(pieces, tmp_path / "joined.gstore")
    assert (tmp_path / "joined.gstore").read_bytes() == whole.read_bytes()


def test_the_report_beside_the_store_tells_windows_and_drops(tmp_path, make_dataset, square_case):
    root = make_dataset("US/Toy", {"a": square_case})
    index(root, ["US/Toy,a,a,train"])
    pack(find_sources(root).sources, tmp_path / "all.gstore", PackSettings(), workers=0)
    report = json.loads((tmp_path / "all.gstore.report.json").read_text())
    assert report["windows"] == {"US/Toy": {"as_is (8-bit image)": 1}}
    assert report["drops"] == {"pieces": 0, "elements": 0, "objects": 0}
    assert report["settings"]["codec"] == "png"


def test_a_split_name_that_is_neither_train_nor_val_is_packed_as_it_is(tmp_path, make_dataset, square_case):
    root = make_dataset("US/Toy", {"a": square_case, "b": square_case, "c": square_case})
    index(root, ["US/Toy,a,a,train", "US/Toy,b,b,val", "US/Toy,c,c,far"])
    assert main(["pack", str(root), "--out", str(tmp_path / "all.gstore"), "--workers", "0"]) == 0
    store = open_store(tmp_path / "all.gstore")
    assert {entry.case: entry.split for entry in store.entries} == {"a": "train", "b": "val", "c": "far"}


def test_a_photograph_that_is_to_be_turned_is_not_taken_over_byte_for_byte(tmp_path):
    from PIL import Image

    shown = np.full((40, 60), 30, np.uint8)
    shown[5:15, 10:40] = 220
    exif = Image.Exif()
    exif[0x0112] = 6
    folder = tmp_path / "US" / "Set"
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    Image.fromarray(np.rot90(shown)).save(folder / "images" / "a.jpg", exif=exif, quality=95)
    Image.fromarray((shown > 120).astype(np.uint8)).save(folder / "masks" / "a.png")
    (source,) = find_sources(tmp_path).sources
    (part,) = pack_source(source, PackSettings("jpeg")).slices
    stored = cv2.imdecode(np.frombuffer(part["encoded_image"], np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.abs(stored.astype(int) - shown).max() < 40
