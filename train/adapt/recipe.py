"""Says what is trained, and how: the one place for the numbers of `graysam adapt`.

Gives a config for `train.trainer`, whose batches, losses and checkpoints are used as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Literal, get_args

from graysam.models.spec import ModelSpec
from graysam.store import StoreEntry
from train.config import DataConfig, OptimiserConfig, RunConfig, TuningConfig

Method = Literal["decoder", "low-rank", "all"]
METHODS: Final[tuple[Method, ...]] = get_args(Method)

FEW_CASES: Final = 10
"""Below so many cases the decoder alone is trained."""
SHARES: Final = (0.4, 0.6, 0.8, 1.0)
"""Of the new weights in the mean with the old ones; the smallest one with most of the gain is taken."""
MOST_PASSES: Final = 80
"""Over the slices that are learnt from; few cases are learnt by heart long before the minutes are over."""
FEWEST_STEPS: Final = 40
KEEPING_WEIGHT: Final = 1.0
"""Of the deviation from the old answers, next to the loss of the labelled objects."""
KEPT_IMAGES: Final = 1
"""That each step asks the old model about."""
IMAGES_PER_BATCH: Final = 4
PROMPTS_PER_IMAGE: Final = 1
"""A step with one costs three quarters of one with two, and what it learns is hardly less."""

TUNING: Final[dict[Method, TuningConfig]] = {
    # Norms keep the statistics of the millions of slices that they have seen: those of batches of four are noise.
    "decoder": TuningConfig(frozen=("encoder",), freeze_norm=True),
    "low-rank": TuningConfig(lora_rank=8, lora_scale=8.0, lora_parts=("encoder", "decoder"), freeze_norm=True),
    "all": TuningConfig(freeze_norm=True),
}
LEARNING_RATES: Final[dict[Method, float]] = {"decoder": 3e-4, "low-rank": 2e-3, "all": 2e-4}


def chosen_method(cases: int) -> Method:
    """Choose by the number of cases what is trained."""
    return "decoder" if cases < FEW_CASES else "low-rank"


def steps_of_a_pass(entries: Sequence[StoreEntry]) -> float:
    """Give in how many steps every slice is learnt from once."""
    return len(entries) / IMAGES_PER_BATCH


def recipe(
    spec: ModelSpec,
    entries: Sequence[StoreEntry],
    method: Method,
    *,
    minutes: float,
    seed: int,
    bf16: bool,
    watched: int,
    passes: float,
) -> RunConfig:
    """Give the config of one training.

    Args:
        spec: of the model.
        entries: what is learnt from.
        method: what is trained.
        minutes: the longest that it may take.
        seed: of every draw.
        bf16: whether the CPU multiplies in bfloat16.
        watched: prompts of each modality that a validation asks.
        passes: over the slices that are learnt from, at most.
    """
    steps = round(passes * steps_of_a_pass(entries))
    data = DataConfig(
        images_per_batch=IMAGES_PER_BATCH,
        prompts_per_image=PROMPTS_PER_IMAGE,
        tight=0.3,
        proportional=0.1,
        outwards=0.4,
        propagation=0.5 if spec.memory and any(entry.z >= 0 for entry in entries) else 0.0,
    )
    optimiser = OptimiserConfig(
        learning_rate=LEARNING_RATES[method], weight_decay=0.01, warmup=0.1, schedule="cosine", ema=0.98
    )
    return RunConfig(
        model=spec,
        data=data,
        optimiser=optimiser,
        tuning=TUNING[method],
        seed=seed,
        steps=max(FEWEST_STEPS, steps),
        minutes=minutes,
        validate_minutes=minutes / 6,
        validate_prompts=watched,
        checkpoint_minutes=0.25,
        precision="bf16" if bf16 else "fp32",
    )


def kept_data(data: DataConfig) -> DataConfig:
    """Give what the old model is asked at every step: superpixels of the cases, or as often drawn shapes."""
    return replace(data, images_per_batch=KEPT_IMAGES, superpixels=1.0, synthetic=0.5, propagation=0.0)
