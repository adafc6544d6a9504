"""Volumes with the boxes, clicks and earlier answers of the CVPR 2025 challenge, drawn by hand, and hostile ones."""

import os
import pickle
import time

import numpy as np
import pytest

from graysam.boxes import Box, VolumeBox
from graysam.corrections import VolumeClick
from graysam.errors import CaseError
from graysam.formats.archives import Archive
from graysam.formats.npz import read_case, read_label_shape, write_labels
from graysam.formats.npz_prompts import read_clicks
from graysam.formats.plain_pickle import MOST_PICKLE_BYTES, PickleError, read_plain_objects
from graysam.prompts import Click

VOLUME = np.arange(5 * 6 * 8, dtype=np.uint8).reshape(5, 6, 8)
BOX = {"z_min": 0, "z_max": 4, "z_mid": 2, "z_mid_x_min": 1, "z_mid_y_min": 2, "z_mid_x_max": 5, "z_mid_y_max": 4}
ROWS = np.array([[1, 2, 0, 5, 4, 4]])


def save(folder, **arrays):
    path = folder / "3D_case.npz"
    np.savez_compressed(
        path, imgs=VOLUME, **arrays
    )  # which pickles lists of dictionaries, as the challenge's script does
    return path


@pytest.mark.parametrize("number", [int, np.int64, np.int32, np.uint16, float, np.float32])
def test_boxes_that_are_dictionaries_are_the_boxes_of_six_numbers(tmp_path, number):
    path = save(tmp_path, boxes=[{key: number(value) for key, value in BOX.items()}])
    case = read_case(path)
    assert case.boxes == (VolumeBox(Box(1, 2, 5, 4), 0, 4),)
    assert read_label_shape(path) == (5, 6, 8)


def test_a_box_keeps_the_slice_that_it_was_drawn_on(tmp_path):
    case = read_case(save(tmp_path, boxes=[{**BOX, "z_mid": 3}, BOX]))
    assert [box.key_slice for box in case.boxes] == [3, 2]
    with pytest.raises(CaseError, match="z_mid 5 lies beyond the object's slices, 0 to 4"):
        read_case(save(tmp_path, boxes=[{**BOX, "z_mid": 5}]))


def test_clicks_are_z_y_x_and_come_with_the_answer_that_they_correct(tmp_path):
    # What the challenge's script writes: np.argwhere gives z, y, x as np.int64.
    clicks = [
        {
            "fg": [list(np.argwhere(np.indices(VOLUME.shape).sum(axis=0) >= 0)[3 * 48 + 1 * 8 + 6])],
            "bg": [[0, 5, 7], [4, 0, 0]],
        }
    ]
    previous = np.zeros(VOLUME.shape, np.uint8)
    previous[3, 1:3, 2:4] = 1
    case = read_case(save(tmp_path, boxes=[BOX], clicks=clicks, prev_pred=previous, clicks_order=[["fg", "bg", "bg"]]))
    assert case.corrections.clicks_on(0, 3) == (Click(6, 1, is_inside=True),)
    assert case.corrections.clicks_on(0, 0) == (Click(7, 5, is_inside=False),)
    assert case.corrections.clicked_slices(0) == (0, 3, 4)
    assert case.corrections.previous_on(0, 3).sum() == 4
    assert case.warnings == ()
    assert read_case(save(tmp_path, boxes=ROWS, clicks=clicks)).corrections.clicked_slices(0) == (0, 3, 4)


def test_clicks_of_a_result_are_those_that_were_written(tmp_path):
    clicks = [
        [VolumeClick(Click(6, 1, is_inside=True), 3), VolumeClick(Click(0.5, 4, is_inside=False), 2)],
        [],
    ]
    write_labels(tmp_path / "result.npz", np.zeros(VOLUME.shape, np.uint8), clicks=clicks)
    with np.load(tmp_path / "result.npz", allow_pickle=True) as stored:
        assert stored["clicks"].tolist() == [{"fg": [[3, 1, 6]], "bg": [[2, 4, 0.5]]}, {"fg": [], "bg": []}]
    with Archive(tmp_path / "result.npz") as archive:
        assert read_clicks(tmp_path, archive) == [[(6, 1, 3, True), (0.5, 4, 2, False)], []]
    for labels, listed in ((np.zeros((6, 8), np.uint8), clicks), (np.zeros(VOLUME.shape, np.uint8), [[], []])):
        write_labels(tmp_path / "result.npz", labels, clicks=listed)
        with Archive(tmp_path / "result.npz") as archive:
            assert archive.keys == ("segs",)


def test_without_clicks_there_is_nothing_to_correct(tmp_path):
    assert read_case(save(tmp_path, boxes=ROWS)).corrections is None
    assert read_case(save(tmp_path, boxes=[BOX], clicks=[{"fg": [], "bg": []}])).corrections is None
    case = read_case(save(tmp_path, boxes=[BOX], prev_pred=np.ones(VOLUME.shape, np.uint8)))
    assert case.corrections is None
    assert case.warnings == ("an earlier answer without clicks corrects nothing; it is not used",)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"boxes": ["box"]}, "'boxes' has dtype <U3"),
        ({"boxes": np.array([7, None], object)}, "box 0: wanted a dictionary with z_mid_x_min, .*, found a int"),
        ({"boxes": [{**BOX, "z_min": "0"}]}, "box 0: 'z_min' is '0', wanted a number"),
        ({"boxes": [{**BOX, "z_max": float("nan")}]}, "box 0: 'z_max' is nan, wanted a number"),
        ({"boxes": [BOX], "clicks": [{"fg": []}] * 2}, "clicks: wanted a list for each of 1 boxes, found 2"),
        ({"boxes": [BOX], "clicks": [{"front": []}]}, "clicks of box 0: wanted a dictionary of 'fg' and 'bg'"),
        ({"boxes": [BOX], "clicks": [{"fg": 3}]}, "clicks of box 0: 'fg' is 3, wanted a list of points z, y, x"),
        (
            {"boxes": [BOX], "clicks": [{"bg": [[1, 2]]}]},
            "'bg': wanted points of three numbers z, y, x, found a list of 2",
        ),
        ({"boxes": [BOX], "clicks": [{"fg": [[0, 0, 8]]}]}, "clicks of box 0: x 8, y 0, z 0 lies outside the image"),
        ({"boxes": [BOX], "clicks": [{"fg": [[0, 0, 0]] * 1001}]}, "clicks of box 0: too many; at most 1,000"),
        ({"boxes": [BOX], "clicks": np.zeros((1, 3))}, "'clicks' has shape .* wanted a list of objects"),
        ({"boxes": [BOX], "prev_pred": np.zeros((2, 2), np.uint8)}, r"'prev_pred' has shape \(2, 2\)"),
        ({"boxes": [BOX], "prev_pred": np.zeros(VOLUME.shape)}, "'prev_pred' .* dtype float64"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, arrays, message):
    with pytest.raises(CaseError, match=message):
        read_case(save(tmp_path, **arrays))


def pickled(value, protocol=4):
    array = np.empty(1, object)
    array[0] = value
    return pickle.dumps(array, protocol=protocol)


@pytest.mark.parametrize("protocol", [3, 4])  # what NumPy uses
def test_plain_data_come_out_as_they_went_in(protocol):
    value = {"a": [1, -2, 3.5, 10**20, "ä" * 300, None, True, (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [], {}]}
    assert read_plain_objects(pickled(value, protocol)) == [value]
    assert read_plain_objects(pickled([np.int64(-5), np.float32(0.5), np.uint8(200)], protocol)) == [[-5, 0.5, 200]]


class Runs:
    def __reduce__(self):
        return os.getcwd, ()


@pytest.mark.parametrize(
    ("hostile", "message"),
    [
        (pickled(Runs()), r"a call of posix.getcwd, which would have to be run"),
        (pickled(np.datetime64), "a call of numpy.datetime64"),
        (pickled(np.datetime64("2025-01-01")), "a NumPy value that is no plain number"),
        (pickled(3)[:-4], "damaged|cut off"),
        (b"", "damaged|cut off"),
        (b"\x80\x04N.", "wanted an array of objects"),
        (b"\x80\x04(.", "damaged"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "a call of os.system"),
        (b"\x80\x02cos\nsystem\n.", "a call of os.system"),
        (b"\x80\x04ios\nsystem\n.", "damaged|the instruction INST"),
        (b"\x80\x02]" + b"\x85" * 100_000 + b"}h\x00N\x73.", "damaged"),  # nested too deep to be a key
        (b"\x80\x02" + b"(" * 500_000 + b"t" * 500_000 + b".", "wanted an array"),
        (b"\x80\x02Nr\xff\xff\xff\xff.", "wanted an array"),  # a place in memory far out
        (b" " * (MOST_PICKLE_BYTES + 1), "bytes of objects; at most"),
    ],
)
def test_a_hostile_pickle_is_refused_quickly_and_nothing_runs(hostile, message):
    started = time.process_time()
    with pytest.raises(PickleError, match=message):
        read_plain_objects(hostile)
    assert time.process_time() - started < 20
