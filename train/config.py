"""Everything that a training run is told: read from a TOML file, checked, and handed to the trainer as dataclasses.

Values come from train/configs or a user's own file and from the command line; they go into the run folder and, the
spec alone, into every checkpoint. Types and ranges are checked by msgspec. Of three libraries it starts fastest:
importing and reading graysam.toml for the first time takes 42 + 10 ms, cattrs 140 + 32 ms, pydantic 143 + 364 ms
(medians of five runs each, in turn, on two busy cores, Python 3.11). Its errors name the place; the file, the value
and the remedy are added here. Unknown keys are refused here, since msgspec passes over those of dataclasses.
"""

from __future__ import annotations

import difflib
import logging
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from graysam.engines.select import read_cpu_facts
from graysam.errors import CheckpointError, GraySamError
from graysam.models.spec import GRAYSAM, ModelSpec

logger = logging.getLogger("train")

Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Count = Annotated[int, Meta(ge=1)]

REMEDIES: Final[dict[tuple[str, object], str]] = {
    ("data.augment", "boxes"): "write augment_share = 0.0 instead, which draws the same batches",
}
"""What to do about values that earlier versions took."""


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
        augment: how far images are changed: "full", or "strong" (bent, any angle, more contrast).
        augment_share: share of the images that are changed; 0 leaves the noise on the boxes alone, as the paper does.
        sampling: "balanced" over modality, data set, patient and slice, or "paper": epochs of `epoch_images` images
            of each modality, and of each data set of volumes, which the paper calls sub-modalities.
        epoch_images: see `sampling`.
        volumes: how often a data set of volumes is drawn, relative to the others of its modality.
        propagation: share of the prompts on slices of volumes that know of the object on a neighbouring slice, as
            propagation does: their box comes from there, and models with memory are shown it.
        others: share of the images whose prompts know the boxes of the slice's other objects.
        corrections: share of the prompts that hold clicks, most of them with the wrong answer that they correct.
        clicks: where these lie: "largest" on the largest errors, or "spread" over all that is right and wrong.
        fits: share of the prompts that say how their box fits, where a person would know.
        synthetic: share of the images that are drawn shapes instead of slices.
        superpixels: share of the prompts whose object is a superpixel of the slice instead of a labelled one.
        pseudo: share of the prompts whose object is a pseudo-object of the slice, one that a teacher found, as far as
            the slice has any; wants `train.run --pseudo`.
        soft: share of the other prompts whose target leans on the teacher's probabilities for the labelled object, as
            far as `train.pseudo --soft` kept them; wants `train.run --pseudo`. They ask without `propagation`.
        soft_weight: how much the probabilities count in such a target; the label counts the rest.
        workers: background processes that make batches; 0 makes them where they are used. The batches are the same.
    """

    images_per_batch: Count = 8
    prompts_per_image: Count = 2
    tight: Share = 0.45
    proportional: Share = 0.2
    outwards: Share = 0.1
    jitter_share: float = 0.08
    jitter_px: float = 6.0
    outwards_px: float = 5.0
    outwards_share: float = 0.15
    modality_weights: dict[str, float] = field(default_factory=dict)
    modality_tight: dict[str, Share] = field(default_factory=dict)
    augment: Literal["full", "strong"] = "full"
    augment_share: Share = 1.0
    sampling: Literal["balanced", "paper"] = "balanced"
    epoch_images: Count = 1000
    volumes: Annotated[float, Meta(gt=0.0)] = 1.0
    propagation: Share = 0.0
    others: Share = 0.5
    corrections: Share = 0.2
    clicks: Literal["largest", "spread"] = "largest"
    fits: Share = 0.7
    synthetic: Share = 0.0
    superpixels: Share = 0.0
    pseudo: Share = 0.0
    soft: Share = 0.0
    soft_weight: Share = 0.5
    workers: Annotated[int, Meta(ge=0)] = 0


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
    accumulate: Count = 1


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


def read_config(path: Path, **overrides: float | str | None) -> RunConfig:
    """Read a TOML file; keyword arguments that are not None replace its top-level values.

    Raises:
        ConfigError: no such file, no TOML, an unknown key, or a value that does not fit.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); train/configs has configs.") from error
    except ValueError as error:
        raise ConfigError(f"{path}: is no TOML: {error}.") from error
    values.update({key: value for key, value in overrides.items() if value is not None})
    return config_from(values, str(path))


def warn_of_slow_precision(config: RunConfig, device: str) -> None:
    """Say so where bfloat16 products are emulated: convolutions then take ten times as long as in fp32 (Zen 3)."""
    if config.precision == "bf16" and device == "cpu" and not read_cpu_facts().has_bf16:
        logger.warning("this CPU has no instructions for bf16, which is far slower than fp32: give --precision fp32")


def config_from(values: Mapping[str, Any], origin: str) -> RunConfig:
    """Build a config from nested plain values; `origin` names them in error messages.

    Raises:
        ConfigError: an unknown key, or a value that does not fit.
    """
    plain = dict(values)
    _refuse_unknown_keys(RunConfig, plain, origin)
    try:
        if isinstance(plain.get("loss"), Mapping):
            plain["loss"] = _with_preset(plain["loss"])
        model = _spec(plain.pop("model", None))
        return replace(msgspec.convert(plain, RunConfig), model=model)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{origin}: {_explained(error, plain)}") from error
    except (ConfigError, CheckpointError) as error:
        raise ConfigError(f"{origin}: {error}") from error


def _spec(values: object) -> ModelSpec:
    if values is None:
        return GRAYSAM
    if not isinstance(values, Mapping):
        raise ConfigError(f"model: wanted a table, got {values!r}; the spec of a model stands in [model].")
    return ModelSpec.from_dict(dict(values))


def _with_preset(values: Mapping[str, Any]) -> dict[str, Any]:
    """Put the values of a loss preset under those that the table itself gives."""
    own = dict(values)
    name = own.pop("preset", None)
    if name is not None and name not in LOSS_PRESETS:
        raise ConfigError(f"loss.preset: wanted one of {sorted(LOSS_PRESETS)}, got {name!r}.")
    return {**LOSS_PRESETS.get(name, {}), **own}


def _refuse_unknown_keys(kind: type, values: Mapping[str, Any], origin: str, table: str = "") -> None:
    hints = get_type_hints(kind)
    known = [each.name for each in fields(kind)] + (["preset"] if kind is LossConfig else [])
    for key, value in values.items():
        if key not in known:
            alike = difflib.get_close_matches(key, known, 1)
            meant = f"did you mean {alike[0]!r}?" if alike else f"known are {sorted(known)}."
            raise ConfigError(f"{origin}: {table}{key}: there is no such key; {meant}")
        if is_dataclass(hints.get(key)) and hints[key] is not ModelSpec and isinstance(value, Mapping):
            _refuse_unknown_keys(hints[key], value, origin, f"{key}.")


def _explained(error: msgspec.ValidationError, values: Mapping[str, Any]) -> str:
    """Put an error of msgspec, "<reason> - at `$.data.tight`", into our words: field, wanted, got, remedy."""
    reason, _, place = str(error).partition(" - at `$.")
    keys = place.rstrip("`").replace("[...]", "").split(".")
    hint: Any = RunConfig
    got: Any = values
    for key in keys:
        hint = get_type_hints(hint).get(key) if is_dataclass(hint) else None
        got = got.get(key) if isinstance(got, Mapping) else got
    wanted = f"one of {get_args(hint)}" if get_origin(hint) is Literal else _wanted(reason)
    remedy = REMEDIES.get((".".join(keys), got)) if isinstance(got, str) else None
    return f"{'.'.join(keys)}: wanted {wanted}, got {got!r}" + (f"; {remedy}." if remedy else ".")


def _wanted(reason: str) -> str:
    """Give what msgspec expected: "Expected `float` <= 1.0, got `str`" is "float <= 1.0"."""
    return reason.removeprefix("Expected ").split(", got")[0].replace("`", "")
