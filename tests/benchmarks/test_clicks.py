"""Simulated clicks, on an engine whose answers can be worked out by hand."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "graysam" / "inference"))
from bright_engine import PLAIN_TINY, BrightEngine

from benchmarks.clicks import COUNTS, click_means, click_table, dsc_by_clicks, main
from evaluation.prompts import ValidationPrompt
from graysam.boxes import Box
from graysam.store import StoreEntry, StoreWriter, encode_image, encode_runs


class ClickedEngine(BrightEngine):
    """Answers with what is bright and, about each click, with what the click says."""

    def __init__(self):
        super().__init__(spec=replace(PLAIN_TINY, hints=True))
        self.clicks_shown = []

    def decode(self, embedding, inputs):
        logits, iou = super().decode(embedding, inputs)
        hints = np.repeat(np.repeat(inputs["hints"], 2, axis=2), 2, axis=3)
        self.clicks_shown.append(bool(hints[:, 2:4].any()))
        return logits + 5 * hints[:, 2] - 5 * hints[:, 3], iou


def prompt(mask, bright):
    image = np.where(bright, 200, 0).astype(np.uint8)
    image[0, 0] = 255
    entry = StoreEntry("CT/drawn", "CT", "a", "a", "far", -1, mask.shape, 0, 0, ())
    return ValidationPrompt(entry, image, mask, {"outwards": Box(16, 16, 47, 47)})


def square(top, bottom, left, right):
    mask = np.zeros((64, 64), bool)
    mask[top:bottom, left:right] = True
    return mask


def test_each_click_mends_the_largest_error_and_a_right_answer_gets_none():
    mask = square(20, 44, 20, 44)
    hole = mask & ~square(29, 32, 29, 32)  # the answer misses a small square, which one click fills
    engine = ClickedEngine()
    scores = dsc_by_clicks(engine, prompt(mask, hole), most=2)
    assert scores[1] > scores[0]
    assert len(scores) == 3
    assert engine.clicks_shown == [False, True, True]
    right = ClickedEngine()
    perfect = dsc_by_clicks(right, prompt(square(0, 64, 0, 64), square(0, 64, 0, 64)), most=2)
    assert len(perfect) == 3


def test_means_are_over_modalities_and_the_table_has_a_column_for_each_number_of_clicks():
    mask = square(20, 44, 20, 44)
    means = click_means(ClickedEngine(), [prompt(mask, mask & ~square(29, 32, 29, 32))])
    assert list(means) == ["CT", "mean"]
    assert means["CT"] == means["mean"]
    table = click_table({"clicks": list(COUNTS), "dsc": {"CT": [0.5, 0.75, 0.8, 0.9]}})
    assert table.splitlines() == [
        "| | 0 clicks | 1 click | 3 clicks | 5 clicks |",
        "|---|---|---|---|---|",
        "| CT | 50.0 | 75.0 | 80.0 | 90.0 |",
    ]


def test_a_model_that_takes_no_clicks_is_named(tmp_path, capsys):
    pytest.importorskip("torch")
    from graysam.models.checkpoint import save_checkpoint
    from graysam.models.network import build_network

    save_checkpoint(tmp_path / "boxes-alone.pt", build_network(PLAIN_TINY), PLAIN_TINY)
    mask = square(20, 44, 20, 44)
    with StoreWriter(tmp_path / "s.store") as writer:
        facts = {"dataset": "CT/drawn", "modality": "CT", "case": "a", "group": "a", "split": "far"}
        writer.add(encode_image(mask.astype(np.uint8)), [encode_runs(mask)], size_hw=mask.shape, **facts)
    weights = ["--weights", str(tmp_path / "boxes-alone.pt"), "--threads", "1"]
    assert main(["--store", str(tmp_path / "s.store"), *weights]) == 2
    assert "takes no clicks; give weights with hints" in capsys.readouterr().err
