import sys
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from bright_engine import PLAIN_TINY, BrightEngine

from graysam.boxes import Box, VolumeBox, box_around
from graysam.corrections import clean_corrections
from graysam.errors import CaseError, EngineError
from graysam.image.geometry import BoxView, CanvasFit
from graysam.inference import volumes
from graysam.inference.encoded_slices import EncodedSlices
from graysam.inference.overlap import PAINTERS
from graysam.inference.propagation import expected_box
from graysam.inference.starts import surest_starts
from graysam.inference.sweeps import Stretch, plan_sweeps, stretches
from graysam.inference.volumes import answer_volume, segment_volume
from graysam.prompts import BoxFit


@pytest.mark.parametrize(
    ("first", "last", "walk"),
    [
        (2, 6, [(4, None), (5, 4), (6, 5), (3, 4), (2, 3)]),
        (2, 5, [(3, None), (4, 3), (5, 4), (2, 3)]),
        (7, 8, [(7, None), (8, 7)]),
        (3, 3, [(3, None)]),
    ],
)
def test_a_walk_starts_in_the_middle_and_includes_both_ends(first, last, walk):
    (stretch,) = stretches(spanning(first, last))
    assert list(stretch.outwards()) == walk


def spanning(first, last):
    return VolumeBox(Box(0, 0, 1, 1), first, last)


def test_sweeps_give_every_object_its_neighbour_first_and_meet_each_slice_once_per_direction():
    # Object 0 spans 0..4 (middle 2), object 1 spans 2..8 (middle 5).
    steps = [
        (step.z, step.objects, step.upwards, step.last_visit)
        for step in plan_sweeps([stretches(spanning(0, 4)), stretches(spanning(2, 8))])
    ]
    assert steps == [
        (2, (0,), True, False),  # object 1 comes down to slices 2, 3 and 4 later
        (3, (0,), True, False),
        (4, (0,), True, False),
        (5, (1,), True, True),
        (6, (1,), True, True),
        (7, (1,), True, True),
        (8, (1,), True, True),
        (4, (1,), False, True),
        (3, (1,), False, True),
        (2, (1,), False, True),
        (1, (0,), False, True),
        (0, (0,), False, True),
    ]


def test_slices_between_two_starts_are_reached_from_the_nearer_one():
    # Slices 0..10, middle 5, and a click on 8: 6 is nearer to 5, 7 nearer to 8. A click on 2: 3 is as near to 2 as 4 is
    # to 5. Between 5 and 9 slice 7 is as near to both, and goes to the lower.
    assert stretches(spanning(0, 10)) == [Stretch(0, 5, 10)]
    assert stretches(spanning(0, 10), [5, 8]) == [Stretch(0, 5, 6), Stretch(7, 8, 10)]
    assert stretches(spanning(0, 10), [8, 2, 5]) == [Stretch(0, 2, 3), Stretch(4, 5, 6), Stretch(7, 8, 10)]
    assert stretches(spanning(0, 10), [9, 5]) == [Stretch(0, 5, 7), Stretch(8, 9, 10)]
    assert stretches(spanning(3, 3), [3]) == [Stretch(3, 3, 3)]
    assert list(Stretch(7, 8, 10).outwards()) == [(8, None), (9, 8), (10, 9), (7, 8)]


def test_a_box_of_another_slice_than_the_middle_is_where_propagation_starts():
    assert stretches(VolumeBox(Box(0, 0, 1, 1), 0, 8, z_box=6)) == [Stretch(0, 6, 8)]
    volume = drifting_square(4)  # on slice 6 the square is at x = 34
    labels = segment_volume(BrightEngine(), volume, [VolumeBox(Box(34, 20, 45, 31), 0, 8, z_box=6)])
    for z in range(9):
        assert centre_x(labels[z] == 1) == pytest.approx(26 + 4 * (z - 4) + 5.5, abs=1.5), f"slice {z}"


def drifting_square(shift_px, depth=9, size=64):
    """A volume in which a square of 12 x 12 moves right by `shift_px` a slice; on the middle slice it is at x = 26."""
    volume = np.zeros((depth, size, size), np.uint8)
    for z in range(depth):
        x = 26 + shift_px * (z - depth // 2)
        volume[z, 20:32, max(x, 0) : x + 12] = 200
    return volume


def centre_x(mask):
    return float(np.flatnonzero(mask.any(axis=0)).mean())


def test_an_object_is_followed_far_out_of_its_given_box_in_both_directions():
    # At 4 px a slice the square leaves the middle's box (26..37) wholly after three slices.
    volume = drifting_square(4)
    labels = segment_volume(BrightEngine(), volume, [VolumeBox(Box(26, 20, 37, 31), 0, 8)])
    for z in range(9):
        assert centre_x(labels[z] == 1) == pytest.approx(26 + 4 * (z - 4) + 5.5, abs=1.5), f"slice {z}"


def test_slices_outside_an_object_s_span_stay_empty_and_both_ends_are_filled():
    labels = segment_volume(BrightEngine(), drifting_square(0), [VolumeBox(Box(26, 20, 37, 31), 2, 5)])
    assert [bool(plane.any()) for plane in labels] == [False, False, True, True, True, True, False, False, False]


def test_an_object_of_one_slice_is_segmented():
    labels = segment_volume(BrightEngine(), drifting_square(0), [VolumeBox(Box(26, 20, 37, 31), 4, 4)])
    assert [bool(plane.any()) for plane in labels] == [False] * 4 + [True] + [False] * 4


def test_a_lost_object_is_looked_for_with_its_given_box():
    # Slices 5 and 6 are dark; on slice 7 the square is back where the given box says, on slice 8 it has moved on.
    volume = drifting_square(0)
    volume[5:7] = 0
    volume[5:7, 60:, 60:] = 200  # something bright elsewhere, so that the slice is not constant
    labels = segment_volume(BrightEngine(), volume, [VolumeBox(Box(26, 20, 37, 31), 4, 8)])
    # The middle of 4..8 is 6, which is dark: upwards and downwards start over from the given box.
    assert [bool(plane.any()) for plane in labels] == [False] * 4 + [True, False, False, True, True]


class RecordingEngine(BrightEngine):
    """Also notes the boxes that it was asked for, as shares of the view, and the views."""

    def __init__(self):
        super().__init__()
        self.views = []

    def decode(self, embedding, inputs):
        self.views += [tuple(np.round(view, 4)) for view in inputs["view_in_canvas"]]
        return super().decode(embedding, inputs)


def test_the_next_box_lies_where_the_object_was_found_and_is_as_large_as_mask_and_ellipsoid_agree():
    # Found: centre (20, 30), 16 x 9 pixels. The ellipsoid has 4 x 4 here. sqrt(16 * 4) = 8, sqrt(9 * 4) = 6.
    expected = expected_box(Box(12.5, 26, 27.5, 34), Box(50, 50, 53, 53))
    assert expected == Box.about((20, 30), width=8, height=6)


def test_the_next_slice_is_asked_with_the_expected_box():
    # The object is exactly found: rows 100..149, columns 60..109. It spans slices 0 and 1, its middle is 0; the
    # ellipsoid's radius is one slice and its centre at 0.5, so that both slices have sqrt(1 - 0.25) of the given box.
    volume = np.zeros((2, 256, 256), np.uint8)
    volume[:, 100:150, 60:110] = 200
    engine = RecordingEngine()
    given = VolumeBox(Box(60, 100, 109, 149), 0, 1)
    labels = segment_volume(engine, volume, [given])
    found = box_around(labels[0] == 1)
    assert found is not None
    assert given.cross_section(1).width == pytest.approx(50 * 0.75**0.5)
    asked = expected_box(found, given.cross_section(1))
    view = BoxView.around(asked, CanvasFit.for_image((256, 256), 64), grid=32)
    assert engine.views[1] == tuple(np.round(view.view_in_canvas(), 4))


class MemoryEngine(BrightEngine):
    """Notes what it was shown of each object, in order: its view and its memory."""

    def __init__(self):
        super().__init__(spec=replace(PLAIN_TINY, memory=True))
        self.shown = []

    def decode(self, embedding, inputs):
        self.shown += list(zip(inputs["view_in_canvas"], inputs["memory"], strict=True))
        return super().decode(embedding, inputs)


def view_round(box):
    return BoxView.around(box, CanvasFit.for_image((64, 64), 64), grid=32)


def test_each_slice_is_shown_what_was_found_on_the_one_before_and_how_much_brighter_that_is():
    # The square moves right by 2 px a slice, and every slice is by 10 brighter than the one below it; two pixels in
    # the corner give all of them the range 0 to 250.
    volume = drifting_square(2, depth=5) + np.arange(0, 50, 10, dtype=np.uint8)[:, None, None]
    volume[:, 0, :2] = 0, 250
    engine, given = MemoryEngine(), VolumeBox(Box(26, 20, 37, 31), 0, 4)
    labels = segment_volume(engine, volume, [given])
    assert [centre_x(plane) for plane in labels] == pytest.approx([27.5, 29.5, 31.5, 33.5, 35.5], abs=0.5)
    assert len(engine.shown) == 5
    assert not engine.shown[0][1].any()  # the middle slice
    steps = [(3, 2), (4, 3), (1, 2), (0, 1)]
    for (z, beside), (shares, (found, brighter)) in zip(steps, engine.shown[1:], strict=True):
        mask = labels[beside] == 1
        view = view_round(expected_box(box_around(mask), given.cross_section(z)))
        assert shares == pytest.approx(view.view_in_canvas())
        assert found == pytest.approx(view.sample(mask.astype(np.float32)) * 2 - 1)
        assert (found[16, 16], found[0, 0]) == (1, -1)
        assert brighter[0, 0] == pytest.approx(-10 / 250 if beside < z else 10 / 250)


def test_a_lost_object_is_asked_for_with_its_given_box_and_nothing_known():
    volume = drifting_square(0)
    volume[5] = 0
    volume[5, 60:, 60:] = 200  # the object is lost on slice 5, and back on 6
    engine, given = MemoryEngine(), Box(24, 18, 39, 33)
    segment_volume(engine, volume, [VolumeBox(given, 0, 8)])
    known = dict(zip([4, 5, 6, 7, 8, 3, 2, 1, 0], engine.shown, strict=True))
    assert [z for z, (_, memory) in known.items() if not memory.any()] == [4, 6]
    assert known[6][0] == pytest.approx(view_round(given).view_in_canvas())
    assert known[7][0] != pytest.approx(view_round(given).view_in_canvas())


def test_an_object_lost_on_its_middle_slice_is_unknown_in_both_directions():
    volume = drifting_square(0)
    volume[4] = 0
    volume[4, 60:, 60:] = 200
    engine = MemoryEngine()
    segment_volume(engine, volume, [VolumeBox(Box(26, 20, 37, 31), 3, 5)])
    assert [memory.any() for _, memory in engine.shown] == [False, False, False]


def test_of_objects_asked_for_together_each_is_shown_its_own_memory():
    # On slice 2 the first object's propagation begins, and the second one's, which began on slice 1, goes on.
    volume, boxes = spread_objects()
    engine = MemoryEngine()
    segment_volume(engine, volume, [VolumeBox(boxes[0].box, 2, 2), VolumeBox(boxes[3].box, 1, 2)])
    assert engine.decoded == [1, 2]
    (_, of_second_before), (_, of_first), (view, of_second) = engine.shown
    assert not of_second_before.any()
    assert not of_first.any()
    assert of_second[0, 16, 16] == 1
    assert 40 / 64 < view[:2].mean() + (view[2:] - view[:2]).mean() / 2 < 50 / 64  # the corner at (40, 40)


def spread_objects():
    """Nine slices with four bright squares, and five objects whose spans and middles differ."""
    volume = np.zeros((9, 64, 64), np.uint8)
    corners = [(4, 4), (40, 4), (4, 40), (40, 40), (22, 22)]
    for x, y in corners:
        volume[:, y : y + 10, x : x + 10] = 200
    volume += np.arange(9, dtype=np.uint8)[:, None, None]  # so that each slice's canvas differs
    spans = [(0, 8), (0, 3), (5, 8), (2, 8), (1, 1)]
    boxes = [VolumeBox(Box(x, y, x + 9, y + 9), low, high) for (x, y), (low, high) in zip(corners, spans, strict=True)]
    return volume, boxes


def test_each_slice_is_encoded_once_whatever_the_number_of_objects():
    volume, boxes = spread_objects()
    engine = BrightEngine()
    segment_volume(engine, volume, boxes)
    assert len(engine.encoded) == 9
    assert sum(engine.decoded) == 9 + 4 + 4 + 7 + 1  # every object on every slice of its span, once


class CountedVolume(np.ndarray):
    """A volume that notes which slices are cut out of it."""

    cut: list[int]

    def __getitem__(self, key):
        if isinstance(key, int) and self.ndim == 3:
            self.cut.append(key)
        return super().__getitem__(key)


def test_a_slice_is_cut_and_converted_once_a_sweep_whatever_the_number_of_objects():
    plain, boxes = spread_objects()
    volume = plain.astype(np.int16).view(CountedVolume)
    volume.cut = []
    labels = segment_volume(MemoryEngine(), volume, [VolumeBox(box.box, 0, 8) for box in boxes])
    assert np.array_equal(labels, segment_volume(MemoryEngine(), plain, [VolumeBox(box.box, 0, 8) for box in boxes]))
    # up from the middle, slice 4; then down from it, which has been forgotten meanwhile
    assert volume.cut == [4, 5, 6, 7, 8, 3, 4, 2, 1, 0]


def test_whoever_takes_the_answers_one_by_one_may_stop_and_nothing_more_is_computed():
    volume, boxes = spread_objects()
    engine = BrightEngine()
    answers = answer_volume(engine, volume, [VolumeBox(box.box, 0, 8) for box in boxes[:2]])
    taken = [(step.z, answer.index) for (step, answer), _ in zip(answers, range(5), strict=False)]
    assert taken == [(4, 0), (4, 1), (5, 0), (5, 1), (6, 0)]
    assert len(engine.encoded) == 3


def test_objects_due_on_a_slice_are_decoded_together():
    volume, boxes = spread_objects()
    engine = BrightEngine()
    segment_volume(engine, volume, [VolumeBox(box.box, 0, 8) for box in boxes])  # one middle for all
    assert engine.decoded == [5] * 9


def test_objects_do_not_influence_each_other():
    volume, boxes = spread_objects()
    together = segment_volume(BrightEngine(), volume, boxes)
    for number, box in enumerate(boxes):
        alone = segment_volume(BrightEngine(), volume, [box])
        assert np.array_equal(alone == 1, together == number + 1)


def test_without_room_for_embeddings_slices_are_encoded_again_and_the_labels_are_the_same():
    volume, boxes = spread_objects()
    engine = BrightEngine()
    bounded = segment_volume(engine, volume, boxes, kept_bytes=0)
    plan = plan_sweeps([stretches(box) for box in boxes])
    twice = sum(not step.last_visit for step in plan)
    assert twice == 5  # slices 1 to 5 lie below one object's middle and not below another's; worked out by hand
    assert len(engine.encoded) == 9 + twice
    assert np.array_equal(bounded, segment_volume(BrightEngine(), volume, boxes))


def test_kept_embeddings_never_exceed_the_bound(monkeypatch):
    held = []
    kept_bytes = 2 * 3 * 8 * 8 * 4  # two embeddings of BrightEngine

    class Watched(EncodedSlices):
        def _taken(self, step, encoded):
            answer = super()._taken(step, encoded)
            held.append(sum(embedding.nbytes for _, embedding in self._kept.values()))
            return answer

    monkeypatch.setattr(volumes, "EncodedSlices", Watched)
    volume, boxes = spread_objects()
    engine = BrightEngine()
    segment_volume(engine, volume, boxes, kept_bytes=kept_bytes)
    assert max(held) == kept_bytes
    assert held[-1] == 0
    assert len(engine.encoded) == 9 + 3


def test_nothing_is_kept_of_objects_that_are_done():
    volume = np.zeros((8, 256, 256), np.int16)
    volume[:, 100:110, 100:110] = 200

    def peak_bytes(count):
        boxes = [VolumeBox(Box(100, 100, 109, 109), number % 8, number % 8) for number in range(count)]
        tracemalloc.start()
        segment_volume(BrightEngine(), volume, boxes)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    # A mask of a whole slice has 64 kB and a slice as the engine sees it 256 kB: 64 objects on 8 slices may cost a
    # second slice and a larger decoding, and not 64 masks and 8 slices, or 6 MB.
    assert peak_bytes(64) - peak_bytes(1) < 1024**2


def test_where_objects_meet_the_later_box_wins_even_if_it_was_painted_earlier():
    # Object 0's middle is 6 and it descends to slice 0 in the second sweep, when object 1 is already painted there.
    volume = drifting_square(0)
    boxes = [VolumeBox(Box(26, 20, 37, 31), 4, 8), VolumeBox(Box(26, 20, 37, 31), 0, 8)]
    labels = segment_volume(BrightEngine(), volume, boxes, overlap="last")
    assert set(np.unique(labels)) == {0, 2}


def test_confident_compares_logits_across_the_two_sweeps():
    class Graded(BrightEngine):
        """The narrower the view, the higher the logit."""

        def decode(self, embedding, inputs):
            logits, iou = super().decode(embedding, inputs)
            width = inputs["view_in_canvas"][:, 2] - inputs["view_in_canvas"][:, 0]
            return logits / width[:, None, None], iou

    volume = drifting_square(0)
    narrow, wide = Box(26, 20, 37, 31), Box(16, 10, 47, 41)
    boxes = [VolumeBox(narrow, 4, 8), VolumeBox(wide, 6, 6)]
    labels = segment_volume(Graded(), volume, boxes, overlap="confident")
    assert labels[6, 26, 31] == 1
    assert segment_volume(Graded(), volume, boxes, overlap="last")[6, 26, 31] == 2


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.float64])
def test_any_dtype_gives_the_labels_of_8_bits(dtype):
    volume, boxes = spread_objects()
    expected = segment_volume(BrightEngine(), volume, boxes)
    assert np.array_equal(segment_volume(BrightEngine(), volume.astype(dtype), boxes), expected)


def test_labels_are_16_bits_for_256_objects_and_zero_boxes_give_zeros():
    volume = drifting_square(0, depth=1)
    box = VolumeBox(Box(26, 20, 37, 31), 0, 0)
    labels = segment_volume(BrightEngine(), volume, [box] * 256)
    assert labels.dtype == np.uint16
    assert labels.max() == 256
    assert not segment_volume(BrightEngine(), volume, []).any()


def test_the_adjacent_preset_sees_the_neighbouring_slices():
    seen = []

    class Watching(BrightEngine):
        def encode(self, canvas):
            seen.append(canvas.mean(axis=(1, 2)))
            return super().encode(canvas)

    engine = Watching()
    engine.spec = replace(engine.spec, channels="adjacent")
    volume = np.zeros((3, 64, 64), np.uint8)
    volume[0, :, :32], volume[1, :, :16], volume[2, :, :8] = 100, 100, 100
    segment_volume(engine, volume, [VolumeBox(Box(0, 0, 20, 20), 1, 1)])
    assert np.allclose(seen[0], [0.5, 0.25, 0.125])  # previous, this, next


class HintedEngine(BrightEngine):
    """Is shown hints and memory, notes both for each object, and takes a click inside for a bright disc."""

    def __init__(self):
        super().__init__(spec=replace(PLAIN_TINY, memory=True, hints=True))
        self.shown = []

    def decode(self, embedding, inputs):
        self.shown += list(zip(inputs["hints"], inputs["memory"], strict=True))
        logits, iou = super().decode(embedding, inputs)
        clicked = np.repeat(np.repeat(inputs["hints"][:, 2], 2, axis=1), 2, axis=2)
        return logits + 2 * clicked, iou


def test_an_object_is_followed_anew_from_a_slice_with_a_click():
    # The square is dark from slice 6 on, so that it is lost there; a click on slice 8 finds a disc, and the slices up
    # to half way to the middle, slice 4, are reached from there.
    volume = drifting_square(0)
    volume[6:] //= 4
    volume[6:, 60:, 60:] = 200
    box, engine = VolumeBox(Box(26, 20, 37, 31), 0, 8), HintedEngine()
    clicks, _ = clean_corrections([[(31, 25, 8, True)]], None, boxes=[box], label_shape=volume.shape)
    assert not segment_volume(HintedEngine(), volume, [box])[6:].any()
    labels = segment_volume(engine, volume, [box], corrections=clicks)
    assert labels[8, 25, 31] == 1
    order = [
        4,
        5,
        6,
        8,
        7,
        3,
        2,
        1,
        0,
    ]  # up: the middle, to 6, and the click's start; down: 7 from 8, and from the middle
    shown = dict(zip(order, engine.shown, strict=True))
    assert [z for z in order if shown[z][0][2].any()] == [8]
    assert [z for z in sorted(order) if not shown[z][1].any()] == [4, 8]


def test_the_box_of_a_clicked_slice_is_that_of_the_earlier_answer_grown_to_hold_the_click():
    volume = drifting_square(0, depth=9)
    box = VolumeBox(Box(26, 20, 37, 31), 0, 8)
    previous = np.zeros(volume.shape, np.uint8)
    previous[7, 22:30, 28:36] = 1
    corrections, _ = clean_corrections([[(40, 25, 7, True)]], previous, boxes=[box], label_shape=volume.shape)
    seen = []

    class Boxes(HintedEngine):
        def decode(self, embedding, inputs):
            seen.append(inputs["view_in_canvas"][0])
            return super().decode(embedding, inputs)

    segment_volume(Boxes(), volume, [box], corrections=corrections)
    order = [4, 5, 7, 8, 6, 3, 2, 1, 0]
    grown = view_round(Box(28, 22, 40, 29))
    assert seen[order.index(7)] == pytest.approx(grown.view_in_canvas())


def test_other_objects_and_the_place_are_shown_on_their_slices_and_nothing_where_there_is_nothing():
    # Alone, an object on its middle slice has maps of zeros but for the fit of its box. With another one that spans
    # slices 3 and 4, its dome shows there; the place is 0 in the middle and -1 is reached beyond the ends.
    volume, own = drifting_square(0, depth=5), VolumeBox(Box(26, 20, 37, 31), 0, 4)
    alone, engine = HintedEngine(), HintedEngine()
    segment_volume(alone, volume, [own])
    shown = dict(zip([2, 3, 4, 1, 0], [hints for hints, _ in alone.shown], strict=True))
    assert not shown[2][:6].any()
    assert not any(shown[z][:5].any() for z in shown)
    # one slice off the middle of five: sqrt(1 - (1 / 2.5)**2) - 1
    assert shown[3][5] == pytest.approx((1 - 0.4**2) ** 0.5 - 1)
    segment_volume(engine, volume, [own, VolumeBox(Box(30, 24, 33, 27), 3, 4)])
    domes = [(hints[0].any(), hints[1].any()) for hints, _ in engine.shown]
    # up: slice 2; 3 with both; 4 with both; down: 1, 0. The inner object sees the outer one on the map of larger boxes.
    assert domes == [(False, False), (True, False), (False, True), (True, False), (False, True), *[(False, False)] * 2]


@pytest.mark.parametrize(("fit", "level"), [("loose", -1), ("tight", 1), ("unknown", 0)])
def test_how_a_box_fits_is_shown_where_it_was_given_and_of_no_box_that_propagation_made(fit: BoxFit, level: int):
    engine = HintedEngine()
    segment_volume(engine, drifting_square(0, depth=5), [VolumeBox(Box(26, 20, 37, 31), 0, 4)], fit=fit)
    shown = [hints[6] for hints, _ in engine.shown]  # slices 2, 3, 4, 1 and 0
    assert (shown[0] == level).all()
    assert not np.any(shown[1:])


def test_a_model_without_hints_refuses_clicks_in_a_volume():
    volume, box = drifting_square(0), VolumeBox(Box(26, 20, 37, 31), 0, 8)
    clicks, _ = clean_corrections([[(31, 25, 8, True)]], None, boxes=[box], label_shape=volume.shape)
    with pytest.raises(CaseError, match="clicks: the model 'tiny' takes boxes alone"):
        segment_volume(BrightEngine(), volume, [box], corrections=clicks)


class SideBySideEngine(BrightEngine):
    """Takes four calls at a time and dawdles over each for as long as its image says; counts those going on."""

    def __init__(self):
        super().__init__(lanes=4, boxes_at_once=1)
        self.going_on, self.most = 0, 0

    def encode(self, canvas):
        return self._dawdled(float(canvas.mean()), lambda: super(SideBySideEngine, self).encode(canvas))

    def decode(self, embedding, inputs):
        return self._dawdled(
            float(inputs["detail"].mean()), lambda: super(SideBySideEngine, self).decode(embedding, inputs)
        )

    def _dawdled(self, number, answer):
        self.going_on += 1
        self.most = max(self.most, self.going_on)
        time.sleep(0.02 * (number * 97 % 1))
        self.going_on -= 1
        return answer()


@pytest.mark.parametrize("overlap", PAINTERS)
def test_objects_that_are_decoded_side_by_side_have_the_labels_that_one_after_the_other_gives(overlap):
    volume, boxes = spread_objects()
    engine = SideBySideEngine()
    told, expected_told = {}, {}
    expected = segment_volume(BrightEngine(), volume, boxes, overlap=overlap, confidences=expected_told)
    labels = segment_volume(engine, volume, boxes, overlap=overlap, confidences=told)
    np.testing.assert_array_equal(labels, expected)
    assert told == expected_told
    assert engine.begun == [True]
    assert 1 < engine.most <= 4
    assert max(engine.decoded) == 1, "one box for each call, as the engine takes no more"


def test_an_error_in_a_call_side_by_side_ends_the_volume():
    class Failing(SideBySideEngine):
        def decode(self, embedding, inputs):
            raise EngineError("no memory for this box")

    volume, boxes = spread_objects()
    with pytest.raises(EngineError, match="no memory for this box"):
        segment_volume(Failing(), volume, boxes)


class SureEngine(BrightEngine):
    """Is as sure as the view is bright in its middle."""

    def decode(self, embedding, inputs):
        logits, _ = super().decode(embedding, inputs)
        return logits, inputs["detail"][:, 0, 16, 16].astype(np.float32)


def test_an_object_is_followed_from_the_slice_on_which_the_model_is_surest():
    # Slices 0..8: the candidates are 4 and, an eighth of 8 off, 3 and 5. The middle of the object is dim on slice 4 and
    # less so on 5 (150 and 200 of 250); on slice 3 it is as bright as on 5, and the lower one is taken.
    volume, box = drifting_square(0), VolumeBox(Box(26, 20, 37, 31), 0, 8)
    volume[:, 0, 0] = 250
    volume[4, 20:32, 26:38] = 150
    assert surest_starts(SureEngine(), volume, [box]) == [3]
    volume[3, 20:32, 26:38] = 150
    assert surest_starts(SureEngine(), volume, [box]) == [5]
    volume[5, 20:32, 26:38] = 155  # surer by 0.02 only: the given box fits best on its own slice
    assert surest_starts(SureEngine(), volume, [box]) == [4]


def test_objects_of_few_slices_and_equally_sure_ones_start_on_the_slice_of_their_box():
    volume = drifting_square(0)
    boxes = [VolumeBox(Box(26, 20, 37, 31), 3, 5), VolumeBox(Box(26, 20, 37, 31), 0, 8)]
    assert surest_starts(BrightEngine(), volume, boxes) == [4, 4]
    assert surest_starts(BrightEngine(), volume, []) == []


def test_starting_where_the_model_is_surest_finds_an_object_that_the_middle_slice_hides():
    # On slice 4 the square is gone and a large bright disc fills its box; the square drifts by 2 px a slice.
    class Unsure(BrightEngine):
        def decode(self, embedding, inputs):
            logits, _ = super().decode(embedding, inputs)
            return logits, 1 - (logits > 0).mean(axis=(1, 2))  # the more it claims, the less sure it is

    volume = drifting_square(2)
    volume[4, 10:42, 16:48] = 200
    box = VolumeBox(Box(26, 20, 37, 31), 0, 8)
    given, surest = (segment_volume(Unsure(), volume, [box], starts=starts) for starts in ("given", "surest"))
    assert centre_x(surest[8] == 1) == pytest.approx(26 + 8 + 5.5, abs=1.5)
    assert (surest[3] == 1).sum() < (given[4] == 1).sum()
    assert np.array_equal(surest, segment_volume(Unsure(), volume, [box], starts="surest"))  # and each time the same
