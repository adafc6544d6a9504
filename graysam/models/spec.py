"""What a set of weights is: owns the facts that travel with a checkpoint, and checks them against the registry.

Read from a checkpoint or from the spec.json of exported networks; every other part of the package is given it. Free of
torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any, Final

from graysam.errors import CheckpointError
from graysam.image.channels import CHANNEL_PRESETS
from graysam.models.options import AdapterOptions, EncoderOptions
from graysam.models.registry import DECODERS, ENCODERS

OPTIONS: Final = ("encoder_options", "adapters")
"""Fields that hold plain values by name, which a class of `graysam.models.options` checks."""


@dataclass(frozen=True)
class ModelSpec:
    """Everything that prediction must know of a model besides its weights.

    Attributes:
        name: short name, also the folder under weights/.
        encoder: which image encoder, a name of `registry.ENCODERS`.
        decoder: which mask decoder, a name of `registry.DECODERS`: "sam" and "sam_skips" answer on the whole canvas,
            "box_frame" on the enlarged box.
        canvas: side in pixels of the square that a slice is fitted to.
        channels: preset of `graysam.image.channels` that makes the three channels.
        neck_size: side of the embedding of an EfficientViT encoder (64 in the paper; 32 is the lean variant).
        encoder_widths: channels of a conv encoder at strides 2, 4, 8, 16 and 32.
        embedding_width: channels of the embedding, with all maps that its encoder packs behind it.
        view_size: side of the grid on which a box-frame decoder sees the enlarged box.
        decoder_widths: channels of a box-frame decoder at view_size / 2, / 4, / 8, / 16.
        memory: a box-frame decoder is also shown the neighbouring slice of a volume, and the object found there.
        hints: a box-frame decoder is also shown other boxes, clicks, an earlier answer and the place in a volume.
        ellipse_gate: a box-frame decoder may answer with the ellipse in the box instead of its own contour.
        norm_epsilon: of the LayerNorms in SAM's decoder: 1e-6 as the public loader of EfficientViT-SAM sets it, 1e-5 in
            SAM itself and in LiteMedSAM.
        adapters: kind, width and activation of bottleneck adapters, by name, see `AdapterOptions`; empty for none.
        encoder_options: what only this encoder takes, by name, see `graysam.models.options`; what is absent has its
            default there.
    """

    name: str
    encoder: str = "conv"
    decoder: str = "box_frame"
    canvas: int = 256
    channels: str = "graysam"
    neck_size: int = 64
    encoder_widths: tuple[int, ...] = (32, 48, 96, 160, 192)
    embedding_width: int = 64
    view_size: int = 128
    decoder_widths: tuple[int, ...] = (32, 64, 128, 192)
    memory: bool = False
    hints: bool = False
    ellipse_gate: bool = False
    norm_epsilon: float = 1e-6
    adapters: Mapping[str, int | str] = field(default_factory=dict, hash=False)
    encoder_options: Mapping[str, int | tuple[int, ...]] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        self._check_types()
        for name, known in (
            ("encoder", ENCODERS),
            ("decoder", DECODERS),
            ("channels", CHANNEL_PRESETS),
        ):
            if getattr(self, name) not in known:
                raise CheckpointError(
                    f"spec {self.name!r}: {name} is {getattr(self, name)!r}, wanted one of {sorted(known)}."
                )
        if self.canvas < 32 or self.canvas % 32 or self.view_size < 16 or self.view_size % 16:
            raise CheckpointError(
                f"spec {self.name!r}: canvas {self.canvas} must be a multiple of 32 "
                f"and view_size {self.view_size} a multiple of 16."
            )
        self._check_widths("encoder_widths", ENCODERS[self.encoder].widths)
        self._check_widths("decoder_widths", DECODERS[self.decoder].widths)
        _ = self.options, self.adapter_options  # refuse those that nobody knows
        for name in ("embedding_width", "neck_size"):
            if getattr(self, name) < 1:
                raise CheckpointError(f"spec {self.name!r}: {name} {getattr(self, name)} must be at least 1.")
        switched_on = {each.name for each in fields(self) if getattr(self, each.name) is True}
        if unknown := sorted(switched_on - DECODERS[self.decoder].switches):
            raise CheckpointError(
                f"spec {self.name!r}: the decoder {self.decoder!r} knows no {' and no '.join(unknown)}."
            )

    def _check_types(self) -> None:
        for each in fields(self):
            if each.name in OPTIONS:
                continue  # which check themselves
            wanted, value = str if each.default is MISSING else type(each.default), getattr(self, each.name)
            if type(value) is not wanted or (wanted is tuple and any(type(number) is not int for number in value)):
                kind = "whole numbers" if wanted is tuple else wanted.__name__
                raise CheckpointError(f"spec {self.name!r}: {each.name} is {value!r}, wanted {kind}.")

    def _check_widths(self, name: str, wanted: int | None) -> None:
        widths = getattr(self, name)
        if wanted is not None and (len(widths) != wanted or min(widths) < 1):
            raise CheckpointError(f"spec {self.name!r}: {name} is {widths}, wanted {wanted} numbers of at least 1.")

    @property
    def options(self) -> EncoderOptions:
        """The encoder's own options, defaults filled in: an instance of what the registry names for it."""
        with self._naming(f"encoder_options of the encoder {self.encoder!r}"):
            return ENCODERS[self.encoder].options.read(self.encoder_options)

    @property
    def adapter_options(self) -> AdapterOptions | None:
        """What `adapters` says, defaults filled in; None for no adapters."""
        with self._naming("adapters"):
            return AdapterOptions.read(self.adapters) if self.adapters else None

    @contextmanager
    def _naming(self, what: str) -> Iterator[None]:
        """Say which options of which spec are wrong."""
        try:
            yield
        except (TypeError, ValueError, AttributeError) as cause:
            raise CheckpointError(f"spec {self.name!r}: {what}: {cause}.") from cause

    def to_dict(self) -> dict[str, Any]:
        """Give plain values only, so that a checkpoint holding them can be read without executing anything.

        Options are left out where there are none, so that earlier versions can read what does not need them.
        """
        values = _listed(asdict(self))
        return {name: value for name, value in values.items() if value or name not in OPTIONS}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelSpec:
        """Read what `to_dict` gave, also in earlier versions.

        Raises:
            CheckpointError: a key that this version does not know, or `name` missing.
        """
        values = _with_grouped_adapters(values)
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown or "name" not in values:
            raise CheckpointError(
                f"model spec: unknown keys {unknown}, known are {sorted(known)}, 'name' is required. "
                "Was it written by a newer version of GraySAM?"
            )
        filled = _tupled(values)
        for name in OPTIONS:
            if isinstance(filled.get(name), dict):
                filled[name] = _tupled(filled[name])
        return cls(**filled)

    def to_json(self) -> str:
        """Give the spec as indented JSON, for the spec.json of a model folder."""
        return json.dumps(self.to_dict(), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> ModelSpec:
        """Read what `to_json` gave."""
        return cls.from_dict(json.loads(text))


def _listed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Turn tuples into lists, also one level down, as JSON has them."""
    return {
        key: _listed(value) if isinstance(value, Mapping) else list(value) if isinstance(value, tuple) else value
        for key, value in values.items()
    }


def _with_grouped_adapters(values: Mapping[str, Any]) -> dict[str, Any]:
    """Read adapters as they once stood in specs: `adapters` a kind or "none", `adapter_width`, `adapter_activation`."""
    rest = {name: value for name, value in values.items() if name not in ("adapter_width", "adapter_activation")}
    if not isinstance(values.get("adapters"), str):
        return dict(values)
    named = {name: values[f"adapter_{name}"] for name in ("width", "activation") if f"adapter_{name}" in values}
    return {**rest, "adapters": {} if values["adapters"] == "none" else {"kind": values["adapters"], **named}}


def _tupled(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


GRAYSAM = ModelSpec(name="graysam", memory=True, ellipse_gate=True)
L0 = ModelSpec(name="l0", encoder="efficientvit_l0", decoder="sam", channels="paper", neck_size=64, embedding_width=256)
L0_LEAN = ModelSpec(
    name="l0-lean",
    encoder="efficientvit_l0",
    decoder="sam",
    channels="paper",
    neck_size=32,
    embedding_width=256,
)
LITEMEDSAM = ModelSpec(
    name="litemedsam",
    encoder="tiny_vit",
    decoder="sam",
    channels="litemedsam",
    embedding_width=256,
    norm_epsilon=1e-5,
)
SWIN_LITEMEDSAM = ModelSpec(
    name="swin-litemedsam",
    encoder="swin",
    decoder="sam_skips",
    channels="litemedsam",
    embedding_width=1568,
    norm_epsilon=1e-5,
)
VIT_TINY = ModelSpec(
    name="vit-tiny",
    encoder="vit",
    decoder="sam",
    channels="plain",
    embedding_width=256,
    norm_epsilon=1e-5,
    encoder_options={"width": 192, "depth": 6, "heads": 3, "patch": 8, "window": 8, "global_blocks": (2, 5)},
)
VIT_B = ModelSpec(
    name="vit-b",
    encoder="vit",
    decoder="sam",
    canvas=1024,
    channels="plain",
    embedding_width=256,
    norm_epsilon=1e-5,
)
MEDFICIENTSAM_L0 = ModelSpec(
    name="medficientsam-l0",
    encoder="efficientvit_l0",
    decoder="sam",
    canvas=512,
    channels="plain",
    neck_size=64,
    embedding_width=256,
)
DAFT_L0 = ModelSpec(
    name="daft-l0",
    encoder="efficientvit_l0",
    decoder="sam",
    channels="litemedsam",
    neck_size=64,
    embedding_width=256,
)
SPECS = {
    spec.name: spec
    for spec in (GRAYSAM, L0, L0_LEAN, LITEMEDSAM, SWIN_LITEMEDSAM, VIT_TINY, VIT_B, MEDFICIENTSAM_L0, DAFT_L0)
}
