import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from train.config import ConfigError, DataConfig, LossConfig, OptimiserConfig, RunConfig, config_from, read_config
from train.losses import contour_weights, dice_loss, hard_iou, prompt_loss
from train.schedule import Plateau, Progress, learning_rate_share

CONFIGS = Path(__file__).resolve().parents[2] / "train/configs"


def test_a_cosine_rises_to_the_peak_and_ends_at_a_hundredth():
    config = OptimiserConfig(warmup=0.1)
    assert learning_rate_share(0.05, config) == pytest.approx(0.5)
    assert learning_rate_share(0.1, config) == pytest.approx(1.0)
    assert learning_rate_share(0.55, config) == pytest.approx((1 + 0.01) / 2)  # halfway down
    assert learning_rate_share(1.0, config) == pytest.approx(0.01)


def test_one_cycle_peaks_after_three_tenths():
    config = OptimiserConfig(schedule="one-cycle")
    assert learning_rate_share(0.0, config) == pytest.approx(1 / 25)
    assert learning_rate_share(0.3, config) == pytest.approx(1.0)
    assert learning_rate_share(1.0, config) == pytest.approx(4e-6)


def test_a_plateau_falls_after_more_validations_without_a_better_score_than_its_patience():
    config = OptimiserConfig(schedule="plateau", plateau_patience=2, plateau_factor=0.5)
    plateau = Plateau()
    shares = []
    for score in (1.0, 0.9, 0.9, 0.9, 0.9, 1.1):
        plateau = plateau.after(score, config)
        shares.append(plateau.share)
    assert shares == [1.0, 1.0, 1.0, 0.5, 0.5, 0.5]
    assert plateau.best == 1.1


def test_other_schedules_know_no_plateau():
    assert Plateau().after(0.5, OptimiserConfig()) == Plateau()


def test_progress_does_not_count_what_is_done_while_it_stands_still():
    now = [100.0]
    progress = Progress(steps=0, minutes=2, clock=lambda: now[0])
    now[0] += 30
    with progress.standing_still():
        now[0] += 1000
    now[0] += 30
    assert (progress.seconds, progress.share) == (60, 0.5)


def test_progress_counts_the_seconds_of_earlier_sessions():
    now = [100.0]
    progress = Progress(steps=0, minutes=2, seconds=30, clock=lambda: now[0])
    now[0] = 130.0
    assert progress.share == pytest.approx(0.5)


def test_dice_loss_of_half_an_object_by_both_forms():
    target = torch.tensor([[[1.0, 1.0], [0.0, 0.0]]])
    half = torch.tensor([[[0.5, 0.5], [0.0, 0.0]]])
    # Overlap 1. Squares: 0.5 + 2, so 1 - 2 / 2.5 = 0.2. Plain sums: 1 + 2, so 1 - 2 / 3.
    assert float(dice_loss(half, target, squared=True)) == pytest.approx(0.2, abs=1e-4)
    assert float(dice_loss(half, target, squared=False)) == pytest.approx(1 / 3, abs=1e-4)


def test_hard_iou_counts_cells():
    target = torch.tensor([[[1.0, 1.0], [0.0, 0.0]]])
    logits = torch.tensor([[[5.0, -5.0], [5.0, -5.0]]])
    assert float(hard_iou(logits, target)) == pytest.approx(1 / 3)


def test_contours_weigh_more_and_nothing_changes_without_the_option():
    target = torch.zeros(1, 16, 16)
    target[:, :, 8:] = 1
    assert torch.equal(contour_weights(target, 0.0), torch.ones_like(target))
    weights = contour_weights(target, 3.0)
    assert float(weights[0, 8, 0]) == 1.0
    assert float(weights[0, 8, 8]) > 3.0


def test_the_total_is_the_weighted_sum_of_its_terms():
    torch.manual_seed(0)
    logits, iou, target = torch.randn(2, 8, 8), torch.rand(2), torch.rand(2, 8, 8)
    terms = prompt_loss(logits, iou, target, LossConfig(cross_entropy=2, dice=3, iou=5, boundary=0))
    assert float(terms.total) == pytest.approx(float(2 * terms.cross_entropy + 3 * terms.dice + 5 * terms.iou))


def test_a_preset_stands_under_the_values_of_its_table():
    config = config_from({"steps": 1, "loss": {"preset": "dice-ce", "boundary": 2.0}}, "here")
    assert config.loss == LossConfig(1.0, 1.0, 0.0, 2.0, "linear")


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({}, "neither"),
        ({"steps": 1, "stepz": 2}, "here: stepz: there is no such key; did you mean 'steps'"),
        ({"steps": 1, "data": {"tihgt": 0.2}}, r"data\.tihgt: .*'tight'"),
        ({"steps": 1, "data": {"colour": 0.2}}, "known are .*augment"),
        ({"steps": 1, "loss": {"preset": "best"}}, "dice-ce"),
        ({"steps": "1"}, "here: steps: wanted int, got '1'"),
        ({"steps": 1, "optimiser": {"schedule": "cosin"}}, r"optimiser\.schedule: wanted one of .*cosine.*got 'cosin'"),
        ({"steps": 1, "data": {"tight": 1.5}}, r"data\.tight: wanted float <= 1\.0, got 1\.5"),
        ({"steps": 1, "data": {"modality_tight": {"OCT": -1}}}, r"data\.modality_tight: wanted float >= 0\.0.*OCT"),
        ({"steps": 1, "data": {"volumes": 0}}, r"data\.volumes: wanted float > 0\.0, got 0"),
        ({"steps": 1, "data": {"workers": -1}}, r"data\.workers: wanted int >= 0, got -1"),
        ({"steps": 1, "data": {"augment": "boxes"}}, r"data\.augment: .*got 'boxes'; write augment_share = 0"),
        ({"steps": 1, "data": 3}, "data: wanted object, got 3"),
        ({"steps": 1, "loss": 3}, "loss: wanted object, got 3"),
        ({"steps": 1, "model": {"name": "x", "decoder": "y"}}, "here: .*decoder"),
    ],
)
def test_a_config_that_does_not_fit_is_refused_with_the_field(values: dict, word: str):
    with pytest.raises(ConfigError, match=word):
        config_from(values, "here")


@pytest.mark.parametrize(("text", "word"), [("steps = ", "no TOML"), (None, "cannot be read")])
def test_a_file_that_is_no_config_is_refused_with_its_name(tmp_path: Path, text: str | None, word: str):
    path = tmp_path / "mine.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=rf"mine\.toml: .*{word}"):
        read_config(path)


def test_whole_numbers_serve_as_floats_and_lists_as_tuples():
    config = config_from({"minutes": 3, "tuning": {"frozen": ["encoder"]}}, "here")
    assert isinstance(config.minutes, float)
    assert config.tuning.frozen == ("encoder",)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.stem)
def test_every_config_of_the_repository_is_read(path: Path):
    config = read_config(path)
    assert config_from(config.to_dict(), "itself") == config


def test_older_configs_still_read():
    old = {"steps": 3, "data": {"images_per_batch": 8, "tight": 0.45}, "loss": {"iou": 0.1}}
    assert config_from(old, "old") == replace(
        RunConfig(steps=3), data=DataConfig(images_per_batch=8), loss=LossConfig(iou=0.1)
    )
    assert math.isclose(config_from(old, "old").optimiser.ema, 0.999)
