"""Everything that a training run is told, read from a TOML file and checked before any work starts."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from graysam.errors import GraySamError
from graysam.models.spec import GRAYSAM, ModelSpec

Settings = TypeVar("Settings")


class ConfigError(GraySamError):
    """A training config holds something that does not fit."""


@dataclass(frozen=True)
class DataConfig:
    """What is drawn for a batch.

    Attributes:
        images_per_batch: images of one process's batch.
        prompts_per_image: boxes drawn on each image; one encode serves them all.
        tight: share of the boxes that fit their object exactly.
        proportional: share of the boxes whose sides are off by a share of the box.
        outwards: share of the boxes whose sides are off outwards, as people draw them. What the three shares
            leave is off by pixels that do not depend on the box; shares beyond 1 in all are cut off, in this order.
        modality_tight: another `tight` for some modalities, as where objects are smaller than the shifts by pixels.
        jitter_share: largest shift of a side, as a share of the box, of the proportional kind of noise.
        jitter_px: largest shift of a side in canvas pixels, of the absolute kind of noise (the paper's).
        outwards_px: largest shift of a side in canvas pixels, of the outward kind of noise.
        outwards_share: largest shift of a side as a share of the box; one in three outward boxes is off so.
        modality_weights: how often a modality is drawn, relative to 1 for those not named.
        augment: "full", "strong" (bent, any angle, more contrast), or "boxes" for the paper's box noise alone.
        augment_share: share of the images that are changed; the others stay as they are.
        sampling: "balanced" over modality, data set, patient and slice, or "paper": epochs of `epoch_images` images
            of each modality, and of each data set of volumes, which the paper calls sub-modalities.
        epoch_images: see `sampling`.
        volumes: how often a data set of volumes is drawn, relative to the others of its modality.
        propagation: share of the prompts on slices of volumes that know of the object on a neighbouring slice, as
            propagation does: their box comes from there, and models with memory are shown it.
        others: share of the images whose prompts know the boxes of the slice's other objects.
        corrections: share of the prompts that hold clicks, most of them with the wrong answer that they correct.
        synthetic: share of the images that are drawn shapes instead of slices.
        superpixels: share of the prompts whose object is a superpixel of the slice instead of a labelled one.
        workers: background processes that make batches; 0 makes them where they are used. The batches are the same.
    """

    images_per_batch: int = 8
    prompts_per_image: int = 2
    tight: float = 0.45
    proportional: float = 0.2
    outwards: float = 0.1
    jitter_share: float = 0.08
    jitter_px: float = 6.0
    outwards_px: float = 5.0
    outwards_share: float = 0.15
    modality_weights: dict[str, float] = field(default_factory=dict)
    modality_tight: dict[str, float] = field(default_factory=dict)
    augment: Literal["full", "strong", "boxes"] = "full"
    augment_share: float = 1.0
    sampling: Literal["balanced", "paper"] = "balanced"
    epoch_images: int = 1000
    volumes: float = 1.0
    propagation: float = 0.0
    others: float = 0.5
    corrections: float = 0.2
    synthetic: float = 0.0
    superpixels: float = 0.0
    workers: int = 0

    def __post_init__(self) -> None:
        drawn = ("others", "corrections", "synthetic", "superpixels")
        names = ("tight", "proportional", "outwards", "augment_share", "propagation", *drawn)
        shares = {name: getattr(self, name) for name in names}
        shares |= {f"modality_tight.{modality}": tight for modality, tight in self.modality_tight.items()}
        for name, share in shares.items():
            if not 0.0 <= share <= 1.0:
                raise ConfigError(f"data.{name}: wanted a share from 0 to 1, got {share}.")
        if self.volumes <= 0:
            raise ConfigError(f"data.volumes: wanted a factor above 0, got {self.volumes}; 1 draws them as the others.")
        if min(self.images_per_batch, self.prompts_per_image, self.epoch_images) < 1 or self.workers < 0:
            raise ConfigError(
                "data: images_per_batch, prompts_per_image and epoch_images must be at least 1, workers 0."
            )


@dataclass(frozen=True)
class LossConfig:
    """Weights of the terms of the loss.

    Attributes:
        cross_entropy: of the binary cross-entropy over the decoder's grid.
        dice: of the soft Dice loss.
        dice_form: "squared" (Milletari et al. 2016) or "linear" sums in the denominator of the Dice loss.
        iou: of the squared error of the predicted IoU.
        boundary: extra weight of the cross-entropy near the contour; 0 weighs every cell alike.
    """

    cross_entropy: float = 1.0
    dice: float = 1.0
    iou: float = 0.1
    boundary: float = 3.0
    dice_form: Literal["squared", "linear"] = "squared"


LOSS_PRESETS: dict[str, dict[str, Any]] = {
    # LiteMedSAM's training script, which the paper follows: BCE, Dice and the squared error of the IoU, equally.
    "paper": {"cross_entropy": 1.0, "dice": 1.0, "iou": 1.0, "boundary": 0.0, "dice_form": "squared"},
    # nnU-Net and MedSAM: Dice and cross-entropy, equally; the predicted IoU is left to itself.
    "dice-ce": {"cross_entropy": 1.0, "dice": 1.0, "iou": 0.0, "boundary": 0.0, "dice_form": "linear"},
}
"""What `preset` in a config's [loss] stands for; other keys of the table replace its values."""


@dataclass(frozen=True)
class OptimiserConfig:
    """How the weights move.

    Attributes:
        learning_rate: peak of the schedule.
        weight_decay: decoupled (AdamW).
        warmup: share of the run over which the rate rises.
        schedule: "cosine" down to a hundredth, "one-cycle" (up over a third of the run, then down to nearly nothing),
            "plateau" (the paper's ReduceLROnPlateau, here on the validation score), or "constant".
        plateau_factor: what a plateau multiplies the rate with.
        plateau_patience: validations without a better score that a plateau bears.
        clip: largest norm of the gradient.
        ema: decay of the moving average of the weights that is validated and shipped.
        accumulate: batches whose gradients are added before a step.
    """

    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    warmup: float = 0.03
    schedule: Literal["cosine", "one-cycle", "plateau", "constant"] = "cosine"
    plateau_factor: float = 0.9
    plateau_patience: int = 5
    clip: float = 1.0
    ema: float = 0.999
    accumulate: int = 1


@dataclass(frozen=True)
class TuningConfig:
    """Which weights a run moves; by default all of them.

    Attributes:
        frozen: modules that stay as they are, by the start of their names, such as "encoder"; norms in
            them use their running statistics.
        freeze_norm: every BatchNorm uses its running statistics, and keeps them. Then a batch's gradient is the mean
            over its images, whatever process they are on.
        lora_rank: rank of the low-rank additions (Hu et al. 2021) to the convolutions and linear layers of
            `lora_parts`, whose own weights are frozen; 0 for none. They are merged into the weights of best.pt.
        lora_scale: the additions are multiplied with it divided by the rank.
        lora_parts: modules that get additions, by the start of their names.
    """

    frozen: tuple[str, ...] = ()
    freeze_norm: bool = False
    lora_rank: int = 0
    lora_scale: float = 8.0
    lora_parts: tuple[str, ...] = ("encoder",)


@dataclass(frozen=True)
class RunConfig:
    """One training run.

    Attributes:
        model: the spec of the network.
        data, loss, optimiser, tuning: see their own classes.
        seed: of weights and of every draw.
        steps: length of the run in steps; 0 leaves the length to `minutes`.
        minutes: of training, without validations, over all sessions of the run; 0 leaves its length to `steps`.
        validate_minutes: pause between validations.
        validate_prompts: prompts of each modality that a whole validation asks.
        validate_steps: steps between validations, instead of minutes; 0 leaves it to `validate_minutes`.
        checkpoint_minutes: pause between checkpoints.
        precision: "bf16" by autocast, or "fp32".
        compile: run the network through torch.compile; pays on a GPU, see docs/experiments.md.
    """

    model: ModelSpec = GRAYSAM
    data: DataConfig = field(default_factory=DataConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    tuning: TuningConfig = field(default_factory=TuningConfig)
    seed: int = 0
    steps: int = 0
    minutes: float = 0.0
    validate_minutes: float = 12.0
    validate_prompts: int = 55
    validate_steps: int = 0
    checkpoint_minutes: float = 3.0
    precision: Literal["bf16", "fp32"] = "bf16"
    compile: bool = False

    def __post_init__(self) -> None:
        if not self.steps and not self.minutes:
            raise ConfigError("config: neither steps nor minutes is set: the run would never end; set one.")

    def to_dict(self) -> dict[str, Any]:
        """Give plain values, for the run folder and the checkpoint."""
        return {**asdict(self), "model": self.model.to_dict()}


def read_config(path: Path, **overrides: float | None) -> RunConfig:
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
    if "loss" in plain:
        plain["loss"] = _with_preset(plain["loss"], origin)
    return _fill(RunConfig, plain, origin)


def _with_preset(values: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """Put the values of a loss preset under those that the table itself gives."""
    own = dict(values)
    name = own.pop("preset", None)
    if name is not None and name not in LOSS_PRESETS:
        raise ConfigError(f"{origin}: loss.preset {name!r} is unknown; known are {sorted(LOSS_PRESETS)}.")
    return {**LOSS_PRESETS.get(name, {}), **own}


def _fill(kind: type[Settings], values: Mapping[str, Any], origin: str) -> Settings:
    known = {each.name for each in fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(set(values) - known):
        raise ConfigError(f"{origin}: unknown keys {unknown} for {kind.__name__}; known are {sorted(known)}.")
    hints = get_type_hints(kind)
    filled = {}
    for key, value in values.items():
        if is_dataclass(hints[key]) and isinstance(value, Mapping):
            filled[key] = _fill(hints[key], value, origin)
        else:
            filled[key] = _checked(value, hints[key], f"{origin}: {kind.__name__}.{key}")
    return kind(**filled)


def _checked(value: object, hint: object, where: str) -> object:
    """Give a value in the type that a field wants; whole numbers serve as floats, lists as tuples."""
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise ConfigError(f"{where}: wanted one of {get_args(hint)}, got {value!r}.")
        return value
    if get_origin(hint) is tuple and isinstance(value, list | tuple):
        return tuple(value)
    if get_origin(hint) is dict and isinstance(value, Mapping):
        return {str(key): float(share) for key, share in value.items()}
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise ConfigError(f"{where}: wanted {getattr(hint, '__name__', hint)}, got {value!r}.")
    return value
