"""The fixed validation prompts: a pure function of the store, and boxes that still ask for their object."""

import numpy as np
import pytest

from evaluation.prompts import (
    BASELINES,
    BOX_KINDS,
    PromptScore,
    answer_ellipse,
    answer_filled_box,
    box_kind,
    modality_means,
    score_kinds,
    validation_prompts,
)
from graysam.boxes import Box
from graysam.errors import StoreError
from graysam.store import StoreWriter, encode_image, encode_runs, open_store

RECORDED = [Box(60, 80, 179, 159), Box(58, 75, 174, 154), Box(55, 77, 182, 159)]  # tight, both ways, outwards


def store_of(folder, *splits):
    image = np.zeros((128, 128), np.uint8)
    mask = np.zeros((128, 128), bool)
    mask[40:80, 30:90] = True
    image[mask] = 200
    with StoreWriter(folder / "s.store") as writer:
        for number, split in enumerate(splits):
            writer.add(
                encode_image(image),
                [encode_runs(mask)],
                dataset="CT/drawn",
                modality="CT",
                case=str(number),
                group=str(number),
                split=split,
                size_hw=mask.shape,
            )
    return open_store(folder / "s.store")


def test_a_store_without_validation_slices_is_named_with_the_remedy(tmp_path):
    with pytest.raises(StoreError, match=r"split 'val'.*data_prep split"):
        validation_prompts(store_of(tmp_path, "train", "train"))


def test_prompts_come_from_the_validation_split_at_256_pixels_and_are_the_same_each_time(tmp_path):
    store = store_of(tmp_path, "train", "val", "val")
    prompts = validation_prompts(store)
    assert sorted(prompt.entry.case for prompt in prompts) == ["1", "2"]
    assert prompts[0].image.shape == (256, 256)
    assert prompts[0].boxes["tight"] == Box(60, 80, 179, 159)  # twice 30..89 and 40..79
    assert [each.boxes for each in validation_prompts(store)] == [each.boxes for each in prompts]


def test_a_box_off_both_ways_is_off_by_at_most_5_pixels_a_side(tmp_path):
    for prompt in validation_prompts(store_of(tmp_path, *["val"] * 20)):
        shifts = prompt.boxes["both_ways"].as_array() - prompt.boxes["tight"].as_array()
        assert np.abs(shifts).max() <= 5
        assert np.array_equal(shifts, np.rint(shifts))


def test_a_box_off_outwards_holds_the_tight_one_and_is_off_by_at_most_5_pixels_a_side(tmp_path):
    for prompt in validation_prompts(store_of(tmp_path, *["val"] * 20)):
        outwards = (prompt.boxes["outwards"].as_array() - prompt.boxes["tight"].as_array()) * (-1, -1, 1, 1)
        assert 0 <= outwards.min() <= outwards.max() <= 5


def test_the_boxes_are_those_that_earlier_figures_were_measured_with(tmp_path):
    first, second = validation_prompts(store_of(tmp_path, "val", "val"))
    assert [first.boxes[kind] for kind in BOX_KINDS] == RECORDED
    assert second.boxes["outwards"] == first.boxes["outwards"]  # drawn from the object, and both are alike


def test_earlier_names_of_the_kinds_of_boxes_are_still_understood():
    assert [box_kind(name) for name in ("tight", "jit5", "out5")] == list(BOX_KINDS)
    assert box_kind("outwards") == "outwards"
    assert box_kind("narrow") is None


def test_a_filled_box_answers_a_rectangle_exactly_and_an_ellipse_covers_pi_quarters(tmp_path):
    prompts = validation_prompts(store_of(tmp_path, "val"))
    filled = score_kinds(prompts, answer_filled_box, ["tight"])["tight"]
    assert (filled[0].dsc, filled[0].nsd) == (1.0, 1.0)
    ellipse = score_kinds(prompts, answer_ellipse, ["tight"])["tight"]
    # Dice of an ellipse in its rectangle: 2 (pi / 4) / (1 + pi / 4) = 0.880
    assert ellipse[0].dsc == pytest.approx(0.880, abs=0.01)


def test_grabcut_finds_a_bright_rectangle(tmp_path):
    prompts = validation_prompts(store_of(tmp_path, "val"))
    assert score_kinds(prompts, BASELINES["GrabCut"], ["both_ways"])["both_ways"][0].dsc > 0.9


def test_modalities_weigh_the_same_however_many_prompts_they_have(tmp_path):
    scores = [PromptScore("CT", "CT/a", 1.0, 1.0)] * 3 + [PromptScore("US", "US/a", 0.0, 0.5)]
    assert modality_means(scores)["mean"] == (0.5, 0.75)
