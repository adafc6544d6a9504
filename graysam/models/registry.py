"""Which image encoders and mask decoders there are: owns the names that a spec may give, and where each is found.

A new encoder or decoder is a file under `encoders/` or `decoders/` and one line here. The places are dotted names,
imported when they are needed: nothing here imports torch, so that OpenVINO can predict without it.
"""

from __future__ import annotations

import pkgutil
from dataclasses import dataclass, field
from typing import Final

from graysam.models.options import EncoderOptions, SwinOptions, VitOptions


@dataclass(frozen=True)
class EncoderEntry:
    """Where an image encoder is, and what it takes from a spec.

    Attributes:
        place: dotted name of a subclass of `graysam.models.network.Encoder`.
        widths: how many numbers `encoder_widths` must have; None for an encoder whose widths are fixed.
        options: what reads the spec's `encoder_options`.
        is_quick: whether embedding an image takes less time than loading the model.
    """

    place: str
    widths: int | None = None
    options: type[EncoderOptions] = EncoderOptions
    is_quick: bool = False


@dataclass(frozen=True)
class DecoderEntry:
    """Where a mask decoder is, what it is fed, and what it takes from a spec.

    Attributes:
        place: dotted name of a subclass of `graysam.models.network.Decoder`.
        frame: dotted name of a subclass of `graysam.models.frames.PromptFrame`, in a file that imports no torch.
        widths: how many numbers `decoder_widths` must have; None for a decoder whose widths are fixed.
        switches: fields of the spec that are True or False and that this decoder knows.
    """

    place: str
    frame: str
    widths: int | None = None
    switches: frozenset[str] = field(default_factory=frozenset)


ENCODERS: Final[dict[str, EncoderEntry]] = {
    "conv": EncoderEntry("graysam.models.encoders.conv.ConvEncoder", widths=5, is_quick=True),
    "efficientvit_l0": EncoderEntry("graysam.models.encoders.efficientvit.EfficientViTEncoder"),
    "swin": EncoderEntry("graysam.models.encoders.swin.SwinEncoder", options=SwinOptions),
    "tiny_vit": EncoderEntry("graysam.models.encoders.tiny_vit.TinyViTEncoder"),
    "vit": EncoderEntry("graysam.models.encoders.vit.ViTEncoder", options=VitOptions),
}

DECODERS: Final[dict[str, DecoderEntry]] = {
    "box_frame": DecoderEntry(
        "graysam.models.decoders.box_frame.BoxDecoder",
        "graysam.models.frames.ViewFrame",
        widths=4,
        switches=frozenset({"memory", "hints", "ellipse_gate"}),
    ),
    "sam": DecoderEntry("graysam.models.decoders.sam.SamDecoder", "graysam.models.frames.CanvasFrame"),
    "sam_skips": DecoderEntry(
        "graysam.models.decoders.sam_skips.SkipDecoder", "graysam.models.scribbles.ScribbleFrame"
    ),
}


def resolve(place: str) -> object:
    """Import what a dotted name of an entry names."""
    found: object = pkgutil.resolve_name(place)
    return found
