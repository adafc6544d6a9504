"""Pickles of numbers and of arrays of numbers; hostile ones are in test_npz_prompts and test_paper_import."""

import pickle

import numpy as np
import pytest

from graysam.formats.plain_pickle import PickleError, read_plain


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["u1", "<i8", ">i4", "<f4", "?"])
def test_an_array_of_numbers_is_itself_in_any_order_of_its_bytes_and_axes(dtype, order):
    array = np.array([[0, 1, 2], [3, 4, 5]], dtype, order=order)
    found = read_plain(pickle.dumps(array, 4))
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


def test_lists_and_tuples_of_numpy_numbers_become_those_of_python():
    assert read_plain(pickle.dumps([(np.int16(-3), np.float32(0.5)), None, "a"], 4)) == [(-3, 0.5), None, "a"]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([[1]], object), "a list where a bytes belongs"),
        (np.array(["a"]), "a NumPy value that is no plain number"),
        (np.array([1 + 2j]), "a NumPy value that is no plain number"),
    ],
)
def test_an_array_of_anything_but_numbers_is_refused_with_what_it_is(array, message):
    with pytest.raises(PickleError, match=message):
        read_plain(pickle.dumps(array, 4))


def test_an_array_whose_bytes_do_not_fill_its_shape_is_damaged():
    whole = pickle.dumps(np.array([1, 2, 3], np.uint8), 4)
    with pytest.raises(PickleError, match="damaged"):
        read_plain(whole.replace(b"C\x03\x01\x02\x03", b"C\x02\x01\x02"))
