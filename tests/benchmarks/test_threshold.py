"""The best threshold of a mask, on curves worked out by hand and on a model whose answers are all too small."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawn_slices import write_store
from tiny_spec import TINY

sys.path.insert(0, str(Path(__file__).parent.parent / "graysam" / "inference"))
from bright_engine import BrightEngine

from benchmarks.recorded import BenchmarkError, read_figures
from benchmarks.threshold import THRESHOLDS, choose_threshold, dsc_curves, main, threshold_table
from benchmarks.weights_id import check_weights, weights_id
from evaluation.prompts import ValidationPrompt
from graysam.boxes import Box
from graysam.store import StoreEntry

ZERO = THRESHOLDS.index(0)


def curves(**at):
    """0.8 at every threshold but those named: `minus_3` stands for -0.3, `plus_15` for 0.15."""
    curve = [0.8] * len(THRESHOLDS)
    for name, value in at.items():
        sign, digits = name.split("_")
        curve[THRESHOLDS.index(float(f"{'-' if sign == 'minus' else ''}0.{digits}"))] = value
    return {"outwards": {"mean": curve}, "tight": {"mean": curve[::-1]}, "both_ways": {"mean": curve}}


def test_the_threshold_with_the_best_mean_over_the_splits_is_chosen():
    assert choose_threshold({"val": curves(minus_3=0.84), "far": curves(plus_15=0.82)}) == -0.3
    assert choose_threshold({"val": curves(minus_3=0.84), "far": curves(plus_15=0.86)}) == 0.15


def test_zero_stays_unless_another_gains_more_than_a_tenth_of_a_point():
    assert choose_threshold({"val": curves(minus_3=0.801)}) == 0
    assert choose_threshold({"val": curves(minus_3=0.8011)}) == -0.3
    assert choose_threshold({"val": curves()}) == 0


def test_a_shade_between_belongs_to_the_mask_at_the_right_thresholds():
    # Logits are brightness less 0.5: the object has 0.5 and its rim of as many pixels 0.3 - 0.5 = -0.2.
    image = np.zeros((64, 64), np.uint8)
    image[16:48, 16:32], image[16:48, 32:48] = 255, 77
    mask = image > 0
    entry = StoreEntry("CT/drawn", "CT", "a", "a", "val", -1, mask.shape, 0, 0, ())
    boxes = {kind: Box(16, 16, 47, 47) for kind in ("tight", "both_ways", "outwards")}
    found = dsc_curves(BrightEngine(), [ValidationPrompt(entry, image, mask, boxes)])
    curve = found["outwards"]["CT"]
    assert curve == found["outwards"]["mean"]
    assert curve[THRESHOLDS.index(-0.3)] == pytest.approx(1, abs=0.04)  # the whole object
    assert curve[ZERO] == pytest.approx(2 / 3, abs=0.04)  # its half
    table = threshold_table({"thresholds": [0], "dsc": {"val": {kind: {"mean": [0.5]} for kind in boxes}}})
    assert table.splitlines()[3:] == ["| val, off both ways | 50.0 |", "| val, off outwards | 50.0 |"]


@pytest.mark.slow
def test_applied_the_best_threshold_is_zero_and_the_figures_say_of_which_weights_they_are(tmp_path, capsys):
    torch = pytest.importorskip("torch")
    pytest.importorskip("openvino")
    from graysam.export import export
    from graysam.models.checkpoint import save_checkpoint
    from graysam.models.network import build_network

    store, weights, out = write_store(tmp_path / "drawn.store"), tmp_path / "weights", tmp_path / "threshold.json"
    spec = replace(TINY, hints=True)
    torch.manual_seed(0)
    model = build_network(spec)  # untrained, it answers with the ellipse in the box
    with torch.no_grad():
        model.decoder.to_logits.bias -= 0.45  # and now with a smaller one
    save_checkpoint(tmp_path / "small.pt", model, spec)
    export(tmp_path / "small.pt", weights)
    command = ["--weights", str(weights), "--store", str(store), "--splits", "val", "--threads", "1", "--out", str(out)]
    before = weights_id(weights)
    assert main(command) == 0
    first = read_figures(out)
    assert first["threshold"] < 0
    assert first["weights_sha256"] == before["weights_sha256"]
    assert main([*command, "--apply"]) == 0
    after = read_figures(out)
    assert after["threshold"] == 0
    assert after["before"] == first
    place = THRESHOLDS.index(first["threshold"])
    wanted = first["dsc"]["val"]["outwards"]["mean"][place]
    assert after["dsc"]["val"]["outwards"]["mean"][ZERO] == pytest.approx(wanted, abs=0.002)
    assert "is best at 0, within 0.1 points" in capsys.readouterr().out
    check_weights(after, weights, "threshold.json")
    with pytest.raises(BenchmarkError, match="holds figures of other weights"):
        check_weights(first, weights, "threshold.json")


def test_what_cannot_be_changed_is_told_before_anything_is_measured(tmp_path, capsys):
    assert main(["--weights", str(tmp_path), "--store", "none.store", "--apply"]) == 2
    assert "wanted a folder with model.pt" in capsys.readouterr().err
