import copyreg
import os
import pickle

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from data_prep.objects import SpeckRule
from data_prep.paper_store import (
    import_paper_store,
    labels_from_runs,
    make_store,
    pack_store,
    read_entry,
    read_index,
    read_paper_pickle,
    runs_from_labels,
    to_square,
    write_entry,
)
from data_prep.sources import find_sources
from graysam.errors import PrepareError
from graysam.store import open_store


def test_runs_worked_out_by_hand():
    labels = np.array([[0, 1, 1], [1, 0, 2]], np.uint8)
    # In row order 0 1 1 1 0 2: three of label 1 from place 1, over the end of the row, and one of label 2 at
    # 5.
    assert runs_from_labels(labels) == [(1, 3, 1), (5, 1, 2)]
    assert runs_from_labels(np.zeros((2, 2), np.uint8)) == []
    assert runs_from_labels(np.full((2, 2), 9, np.uint8)) == [(0, 4, 9)]


@settings(max_examples=50, deadline=None)
@given(arrays(np.uint16, st.tuples(st.integers(1, 8), st.integers(1, 8)), elements=st.integers(0, 300)))
def test_labels_survive_the_way_through_runs(labels):
    np.testing.assert_array_equal(labels_from_runs(runs_from_labels(labels), labels.shape), labels)


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ([(3, 2, 1)], "reaches over"),
        ([(-1, 1, 1)], "reaches over"),
        ([(2**62, 2**62, 1)], "reaches over"),
        ([(0, 3, 1), (2, 1, 2)], "overlap"),
        ([(0, 1, 70000)], "16 bits"),
        ([(0, 1)], "start, length, value"),
        ([("a", 1, 1)], "whole number"),
        ([(2**70, 1, 1)], "whole number"),
    ],
)
def test_runs_that_are_none_are_refused(runs, message):
    with pytest.raises(PrepareError, match=message):
        labels_from_runs(runs, (2, 2))


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


# --- the authors' pickles
# ------------------------------------------------------------------------------------

LABELS = np.zeros((256, 256), np.uint8)
LABELS[2, 3:7] = 5
LABELS[3, 0:2] = 9
# Starts are counted from 1, and runs of background between objects are there too, as the authors' encoder
# leaves them.
PAPER_RUNS = [(2 * 256 + 3 + 1, 4, 5), (2 * 256 + 7 + 1, 249, 0), (3 * 256 + 1, 2, 9)]


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("kind", [int, np.int64, np.uint16])
def test_the_authors_runs_are_read_whatever_integers_they_hold(tmp_path, protocol, kind):
    runs = [tuple(kind(number) for number in run) for run in PAPER_RUNS]
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(runs, protocol))
    np.testing.assert_array_equal(read_paper_pickle(tmp_path / "a.pkl"), LABELS)


def test_runs_kept_as_one_array_are_read_too(tmp_path):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(np.array(PAPER_RUNS), 4))
    np.testing.assert_array_equal(read_paper_pickle(tmp_path / "a.pkl"), LABELS)


class Malicious:
    """Runs a command when it is unpickled by an unwary reader."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def test_the_malicious_pickle_of_these_tests_would_work_on_an_unwary_reader(tmp_path):
    mark = tmp_path / "mark"
    pickle.loads(pickle.dumps([Malicious(os.mkdir, str(mark))]))
    assert mark.is_dir()


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize(
    "function",
    [os.mkdir, os.system, eval, exec, getattr, __import__, open, copyreg._reconstructor, np.load, np.frombuffer],
)
def test_a_malicious_pickle_is_refused_and_runs_nothing(tmp_path, protocol, function):
    mark = tmp_path / "mark"
    argument = str(mark) if function is os.mkdir else f"__import__('os').mkdir({str(mark)!r})"
    (tmp_path / "a.pkl").write_bytes(pickle.dumps([*PAPER_RUNS, Malicious(function, argument)], protocol))
    with pytest.raises(PrepareError, match="refused"):
        read_paper_pickle(tmp_path / "a.pkl")
    assert not mark.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x04",
        b"no pickle at all",
        b"cnumpy.core.multiarray\nscalar\n(dp0\nb.",  # a state for the stand-in of a function
        b"cnumpy\ndtype\n(S'O8'\ntR.",  # objects instead of integers
        pickle.dumps({"runs": PAPER_RUNS}),
        pickle.dumps([("1", 1, 1)]),
        pickle.dumps([(1.5, 1, 1)]),
        pickle.dumps([(1, 70000, 1)]),
        pickle.dumps([(1, 1)]),
        pickle.dumps(np.array([[1, 1, 1]], object)),
    ],
)
def test_anything_but_runs_is_refused(tmp_path, content):
    (tmp_path / "a.pkl").write_bytes(content)
    with pytest.raises(PrepareError):
        read_paper_pickle(tmp_path / "a.pkl")


def test_a_pickle_larger_than_the_authors_write_is_not_opened(tmp_path):
    (tmp_path / "a.pkl").write_bytes(b"0" * ((1 << 20) + 1))
    with pytest.raises(PrepareError, match="not opened"):
        read_paper_pickle(tmp_path / "a.pkl")


def test_importing_a_store_of_the_authors_takes_pickles_and_arrays_and_reports_the_rest(tmp_path, write_png):
    paper = tmp_path / "paper"
    (paper / "gts").mkdir(parents=True)
    for name in ("CT_AMOS_0001-012", "US_Breast_7", "MR_bad_1", "MR_alone_1"):
        write_png(paper / "imgs" / f"{name}.png", np.zeros((256, 256), np.uint8))
    (paper / "gts" / "CT_AMOS_0001-012.pkl").write_bytes(pickle.dumps(PAPER_RUNS))
    np.save(paper / "gts" / "US_Breast_7.npy", LABELS.astype(np.uint16))
    (paper / "gts" / "MR_bad_1.pkl").write_bytes(pickle.dumps(Malicious(os.mkdir, str(tmp_path / "mark"))))
    count, errors = import_paper_store(paper, tmp_path / "store", workers=0)
    assert count == 2
    assert sorted(error.split(":")[0] for error in errors) == ["MR_alone_1", "MR_bad_1"]
    assert not (tmp_path / "mark").exists()
    slice_entry, image_entry = read_index(tmp_path / "store")
    assert (slice_entry.modality, slice_entry.group, slice_entry.z) == ("CT", "CT_AMOS_0001", 12)
    assert (image_entry.modality, image_entry.group, image_entry.z) == ("US", "US_Breast_7", -1)
    for entry in (slice_entry, image_entry):
        np.testing.assert_array_equal(read_entry(tmp_path / "store", entry.name)[1], LABELS)


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
