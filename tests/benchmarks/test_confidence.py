"""What the model's confidence is worth: figures worked out by hand, and the places that show them."""

import json
from pathlib import Path

import numpy as np
import pytest
from bright_engine import BrightEngine

from benchmarks.confidence import (
    Judged,
    choose_threshold,
    grouped,
    in_words,
    level_table,
    measured,
    modality_table,
    parse_options,
    record,
    with_figures,
    worth_of,
    worth_table,
)
from benchmarks.recorded import BenchmarkError, read_figures
from benchmarks.smoke import write_sources
from data_prep.cli import main as prepare
from examples.phantoms import make_phantoms
from graysam.api import Segmenter
from graysam.inference.confidence import read_flag_rule

ROOT = Path(__file__).resolve().parents[2]
FIGURES = ROOT / "benchmarks" / "results" / "confidence.json"


def judged(*pairs, kind="tight", group="CT"):
    return [Judged(group, kind, confidence, dsc) for confidence, dsc in pairs]


def test_the_threshold_is_the_lowest_hundredth_that_finds_poor_masks_with_the_best_f1():
    # Below 0.31 the flag finds one of two poor masks (F1 2/3); from 0.51 on both (F1 1); from 0.81 on a good one, too.
    assert choose_threshold(judged((0.3, 0.1), (0.5, 0.6), (0.8, 0.9), (0.9, 0.95))) == 0.51
    with pytest.raises(BenchmarkError, match="none of 1 masks is poor"):
        choose_threshold(judged((0.3, 0.7)))


def test_a_group_has_correlation_precision_and_recall():
    worth = worth_of(judged((0.2, 0.1), (0.4, 0.9), (0.6, 0.3), (0.8, 0.95)), 0.5)
    # Flagged are the first two, one of them poor; of the two poor ones one is flagged. Ranks 1, 3, 2, 4: 1 - 6*2/60.
    assert (worth["poor"], worth["flagged"], worth["precision"], worth["recall"]) == (2, 2, 0.5, 0.5)
    assert worth["spearman"] == pytest.approx(0.8)
    assert worth["mean_dsc"] == pytest.approx(0.5625)
    nothing = worth_of(judged((0.9, 0.9)), 0.5)
    assert (nothing["precision"], nothing["recall"], nothing["spearman"]) == (None, None, None)


def test_levels_tell_which_dsc_a_confidence_stands_for():
    levels = grouped(judged((0.95, 0.9), (0.9, 0.8), (0.55, 0.4)), 0.5)["levels"]
    assert [(level["from"], level["masks"], level["mean_dsc"]) for level in levels] == [(0.5, 1, 0.4), (0.9, 2, 0.85)]


class Doubtful(BrightEngine):
    """Is the surer of its answer the more of the view is bright."""

    def decode(self, embedding, inputs):
        logits, _ = super().decode(embedding, inputs)
        return logits, (logits > 0).mean(axis=(1, 2)).astype(np.float32)


def test_measuring_writes_the_figures_and_the_threshold_of_the_weights(tmp_path):
    store, weights, out = tmp_path / "all.store", tmp_path / "weights", tmp_path / "confidence.json"
    write_sources(tmp_path / "data", make_phantoms(seed=1, count=1))
    assert prepare(["pack", str(tmp_path / "data"), "--out", str(store), "--workers", "0"]) == 0
    weights.mkdir()
    words = ["--store", str(store), "--volumes", str(tmp_path / "data"), "--per-modality", "2", "--most-volumes", "1"]
    figures = measured(Segmenter(Doubtful()), parse_options(words))
    record(figures, out, weights)
    assert read_figures(out) == figures
    rule = read_flag_rule(weights)
    assert rule is not None
    assert rule.below == figures["flag_below"]
    assert "confidence.json" in (weights / "checksums.sha256").read_text()
    assert set(figures["sets"]) == {"val", "volumes"}  # the store has no split far
    prompts = figures["sets"]["val"]["by_boxes"]
    assert prompts["tight"]["masks"] == prompts["outwards"]["masks"] > 0


def test_card_and_page_show_the_recorded_figures_and_the_weights_their_threshold():
    figures = read_figures(FIGURES)
    card = (ROOT / "weights" / "MODEL_CARD.md").read_text()
    page = " ".join((ROOT / "docs" / "files.md").read_text().split())
    for text in (in_words(figures), worth_table(figures), modality_table(figures), level_table(figures)):
        assert text in card
    assert in_words(figures) in page
    text = (ROOT / "docs" / "files.md").read_text()
    assert with_figures(text, figures) == text
    assert "below 0.12 are flagged" in with_figures(text, {**figures, "flag_below": 0.12})
    assert (
        json.loads((ROOT / "weights" / "graysam" / "confidence.json").read_text())["flag_below"]
        == figures["flag_below"]
    )
    assert np.isfinite(figures["sets"]["val"]["all"]["spearman"])
