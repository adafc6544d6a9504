"""Who owns a pixel: drawn by hand, . for background, digits for the object that must own the pixel."""

import numpy as np
import pytest

from graysam.cli.predict_options import parse_options
from graysam.inference.overlap import PAINTERS, InnerWins


def drawn(*rows: str, logit: float = 1.0) -> np.ndarray:
    """Give logits from a drawing: # inside (`logit`), . outside (-1)."""
    return np.array([[logit if cell == "#" else -1.0 for cell in row] for row in rows], np.float32)


def picture(labels: np.ndarray) -> list[str]:
    return ["".join("." if value == 0 else str(value) for value in row) for row in labels]


def painted(rule: str, *objects: np.ndarray, order=None) -> list[str]:
    labels = np.zeros(objects[0].shape, np.uint8)
    painter = PAINTERS[rule](labels)
    whole = slice(0, labels.shape[0]), slice(0, labels.shape[1])
    for index in order or range(len(objects)):
        painter.paint(whole, objects[index], label=index + 1)
    return picture(labels)


DISC = drawn(".####.", "######", "######", ".####.", logit=5.0)
CUP = drawn("......", "..##..", "..##..", "......", logit=1.0)


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_a_cup_in_a_disc_keeps_its_pixels_in_either_order_though_the_disc_is_surer(order):
    assert painted("auto", DISC, CUP, order=order) == [".1111.", "112211", "112211", ".1111."]
    assert painted("confident", DISC, CUP, order=order) == [".1111.", "111111", "111111", ".1111."]


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_a_disc_listed_after_its_cup_does_not_cover_it(order):
    assert painted("auto", CUP, DISC, order=order) == [".2222.", "221122", "221122", ".2222."]
    assert painted("last", CUP, DISC, order=order) == [".2222.", "222222", "222222", ".2222."]


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_of_two_cells_that_cross_the_surer_one_owns_what_both_claim(order):
    left = drawn("####..", "####..", logit=3.0)
    right = drawn("..####", "..####", logit=2.0)  # half of either lies under the other: neither is inside
    assert painted("auto", left, right, order=order) == ["111122", "111122"]
    assert painted("last", left, right, order=order) == ["112222", "112222"]


def test_a_ring_round_a_disc_and_the_disc_share_nothing_and_keep_what_is_theirs():
    ring = drawn("####", "#..#", "#..#", "####")
    disc = drawn("....", ".##.", ".##.", "....")
    assert painted("auto", ring, disc) == ["1111", "1221", "1221", "1111"]


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_of_two_identical_objects_the_later_box_wins_as_in_the_challenge(order):
    assert painted("auto", CUP, CUP.copy(), order=order)[1] == "..22.."


def test_an_object_that_came_earlier_and_is_larger_yields_only_where_the_inner_one_is():
    # Three of the bar's four pixels lie in the disc: 0.75 of it, so it is inside, and owns its fourth pixel, too.
    disc = drawn("###..", "###..", "###..", logit=9.0)
    bar = drawn(".....", "####.", ".....", logit=1.0)
    assert painted("auto", disc, bar) == ["111..", "2222.", "111.."]


def test_nested_triples_come_out_the_same_in_any_order():
    outer = drawn("#####", "#####", "#####", logit=9.0)
    middle = drawn(".....", "####.", ".....", logit=5.0)
    inner = drawn(".....", ".##..", ".....", logit=1.0)
    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1]):
        assert painted("auto", outer, middle, inner, order=order) == ["11111", "23321", "11111"]


def test_windows_that_cover_different_parts_of_the_slice_are_compared_where_they_lie():
    labels = np.zeros((4, 6), np.uint8)
    painter = InnerWins(labels)
    painter.paint((slice(0, 4), slice(0, 5)), np.full((4, 5), 4.0, np.float32), label=1)
    mask = painter.paint((slice(1, 3), slice(3, 6)), np.array([[1, 1, -1], [1, 1, -1]], np.float32), label=2)
    assert mask.tolist() == [[True, True, False], [True, True, False]]
    assert picture(labels) == ["11111.", "11122.", "11122.", "11111."]


def test_an_empty_answer_changes_nothing():
    assert painted("auto", DISC, np.full_like(DISC, -1)) == painted("auto", DISC)


def test_later_boxes_win_in_whatever_order_they_are_painted():
    labels = np.zeros((1, 4), np.uint8)
    painter = PAINTERS["last"](labels)
    painter.paint((slice(0, 1), slice(1, 4)), np.array([[1, 1, -1]], np.float32), label=2)
    mask = painter.paint((slice(0, 1), slice(0, 3)), np.array([[1, 1, 1]], np.float32), label=1)
    assert mask.tolist() == [[True, True, True]]
    assert labels.tolist() == [[1, 2, 2, 0]]


def test_confident_gives_each_pixel_to_the_higher_logit():
    labels = np.zeros((1, 4), np.uint8)
    painter, whole = PAINTERS["confident"](labels), (slice(0, 1), slice(0, 4))
    painter.paint(whole, np.array([[3, 3, 1, -1]], np.float32), label=1)
    painter.paint(whole, np.array([[-1, 2, 2, 2]], np.float32), label=2)
    assert labels.tolist() == [[1, 1, 2, 2]]


def test_the_command_line_offers_every_rule():
    for rule in PAINTERS:
        options = parse_options(["-i", "in", "-o", "out", "--overlap", rule], prog="graysam predict", mounted=())
        assert options.overlap == rule
    assert parse_options(["-i", "in", "-o", "out"], prog="graysam predict", mounted=()).overlap == "auto"
