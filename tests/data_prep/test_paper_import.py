import copyreg
import os
import pickle

import numpy as np
import pytest

from data_prep.paper_import import import_paper_store, read_paper_pickle
from data_prep.paper_store import read_entry, read_index
from graysam.errors import PrepareError

LABELS = np.zeros((256, 256), np.uint8)
LABELS[2, 3:7] = 5
LABELS[3, 0:2] = 9
# Starts are counted from 1, and runs of background between objects are there too, as the authors' encoder leaves them.
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
