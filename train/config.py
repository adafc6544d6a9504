"""Everything that a training run is told, read from a TOML file and checked before any work starts."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_type_hints

from graysam.errors import GraySamError
from graysam.models.spec import GRAYSAM, ModelSpec


class ConfigError(GraySamError):
    """A training config holds something that does not fit."""


@dataclass(frozen=True)
class DataConfig:
    """What is drawn for a batch.

    Attributes:
        images_per_batch: images of one process's batch.
        prompts_per_image: boxes drawn on each image; one encode serves them all.
        tight: share of the boxes that fit their object exactly.
        jitter_share: largest shift of a side, as a share of the box, of the proportional kind of noise.
        jitter_px: largest shift of a side in canvas pixels, of the absolute kind of noise (the paper's).
        augment: "full", or "boxes" for the paper's box noise alone.
    """

    images_per_batch: int = 8
    prompts_per_image: int = 2
    tight: float = 0.45
    jitter_share: float = 0.08
    jitter_px: float = 6.0
    augment: Literal["full", "boxes"] = "full"


@dataclass(frozen=True)
class LossConfig:
    """Weights of the terms of the loss.

    Attributes:
        cross_entropy: of the binary cross-entropy over the decoder's grid.
        dice: of the soft Dice loss.
        iou: of the squared error of the predicted IoU.
        boundary: extra weight of the cross-entropy near the contour; 0 weighs every cell alike.
    """

    cross_entropy: float = 1.0
    dice: float = 1.0
    iou: float = 0.1
    boundary: float = 3.0


@dataclass(frozen=True)
class OptimiserConfig:
    """How the weights move.

    Attributes:
        learning_rate: peak of the schedule.
        weight_decay: decoupled (AdamW).
        warmup: share of the run over which the rate rises.
        schedule: "cosine" down to a hundredth, "plateau" (the paper's ReduceLROnPlateau on the validation score), or
            "constant".
        clip: largest norm of the gradient.
        ema: decay of the moving average of the weights that is validated and shipped.
        accumulate: batches whose gradients are added before a step.
    """

    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    warmup: float = 0.03
    schedule: Literal["cosine", "plateau", "constant"] = "cosine"
    clip: float = 1.0
    ema: float = 0.999
    accumulate: int = 1


@dataclass(frozen=True)
class RunConfig:
    """One training run.

    Attributes:
        model: the spec of the network.
        data, loss, optimiser: see their own classes.
        seed: of weights and of every draw.
        steps: length of the run in steps; 0 leaves the length to `minutes`.
        minutes: length of the run in minutes, over all its sessions; 0 leaves it to `steps`.
        validate_minutes: pause between validations.
        checkpoint_minutes: pause between checkpoints.
        precision: "bf16" by autocast, or "fp32".
    """

    model: ModelSpec = GRAYSAM
    data: DataConfig = field(default_factory=DataConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    seed: int = 0
    steps: int = 0
    minutes: float = 0.0
    validate_minutes: float = 12.0
    checkpoint_minutes: float = 3.0
    precision: Literal["bf16", "fp32"] = "bf16"

    def __post_init__(self) -> None:
        if not self.steps and not self.minutes:
            raise ConfigError("config: neither steps nor minutes is set, so the run would never end; set one.")

    def to_dict(self) -> dict[str, Any]:
        """Give plain values, for the run folder and the checkpoint."""
        return {**asdict(self), "model": self.model.to_dict()}


def read_config(path: Path, **overrides: Any) -> RunConfig:
    """Read a TOML file; keyword arguments that are not None replace its top-level values.

    Raises:
        ConfigError: an unknown key, or a value of the wrong type.
    """
    values = tomllib.loads(path.read_text())
    values.update({key: value for key, value in overrides.items() if value is not None})
    return config_from(values, str(path))


def config_from(values: Mapping[str, Any], origin: str) -> RunConfig:
    """Build a config from nested plain values; `origin` names them in error messages."""
    plain = dict(values)
    if "model" in plain:
        plain["model"] = ModelSpec.from_dict(plain["model"])
    config = _fill(RunConfig, plain, origin)
    assert isinstance(config, RunConfig)
    return config


def _fill(kind: type[Any], values: Mapping[str, Any], origin: str) -> Any:
    known = {each.name for each in fields(kind)}
    if unknown := sorted(set(values) - known):
        raise ConfigError(f"{origin}: unknown keys {unknown} for {kind.__name__}; known are {sorted(known)}.")
    hints = get_type_hints(kind)
    filled = {}
    for key, value in values.items():
        nested = is_dataclass(hints[key]) and isinstance(value, Mapping)
        filled[key] = _fill(hints[key], value, origin) if nested else value
    return kind(**filled)
