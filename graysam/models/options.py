"""What a spec says of single parts beyond the fields that all share: owns the names, defaults and checks of options.

A spec holds them as plain values: those of its encoder in `encoder_options`, which the class reads that the registry
names for that encoder, and those of its adapters in `adapters`. Free of torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, Self

ADAPTER_KINDS: Final = ("serial", "parallel", "prompted")
ADAPTER_ACTIVATIONS: Final = ("gelu", "relu")


@dataclass(frozen=True)
class Options:
    """Options of some part; subclasses have the fields, each with a default."""

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """Fill in what a spec gives.

        Raises:
            ValueError: an unknown name, or a value that does not fit; the text says what was wanted.
        """
        known: dict[str, Any] = {each.name: each.default for each in fields(cls)}
        for name, value in values.items():
            if name not in known:
                raise ValueError(f"{name} is unknown, known are {sorted(known)}")
            wanted = type(known[name])
            if type(value) is not wanted or (wanted is tuple and any(type(each) is not int for each in value)):
                raise ValueError(
                    f"{name} is {value!r}, wanted {'whole numbers' if wanted is tuple else wanted.__name__}"
                )
        return cls(**values)


@dataclass(frozen=True)
class AdapterOptions(Options):
    """Bottleneck adapters; see `graysam.models.adapters`.

    Attributes:
        kind: one of `ADAPTER_KINDS`.
        width: channels of the bottleneck.
        activation: what they have there, one of `ADAPTER_ACTIVATIONS`.
    """

    kind: str = "serial"
    width: int = 16
    activation: str = "gelu"

    def __post_init__(self) -> None:
        for name, known in (("kind", ADAPTER_KINDS), ("activation", ADAPTER_ACTIVATIONS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is {getattr(self, name)!r}, wanted one of {sorted(known)}")
        if self.width < 1:
            raise ValueError(f"width {self.width} must be at least 1")


@dataclass(frozen=True)
class EncoderOptions(Options):
    """The options of an encoder that has none; those of others are subclasses."""


@dataclass(frozen=True)
class VitOptions(EncoderOptions):
    """A vision transformer; the defaults are SAM's ViT-B.

    Attributes:
        width: numbers of each cell, in all blocks.
        depth: number of blocks.
        heads: of attention; they share the width evenly.
        patch: side in canvas pixels of the square that becomes a cell.
        window: side in cells of the squares that attention stays within.
        global_blocks: which blocks, counted from 0, look at all cells instead.
    """

    width: int = 768
    depth: int = 12
    heads: int = 12
    patch: int = 16
    window: int = 14
    global_blocks: tuple[int, ...] = (2, 5, 8, 11)

    def __post_init__(self) -> None:
        least = min(self.width, self.depth, self.heads, self.patch, self.window)
        if least < 1 or self.width % self.heads:
            raise ValueError(f"all must be at least 1, and width {self.width} a multiple of heads {self.heads}")
        if any(not 0 <= each < self.depth for each in self.global_blocks):
            raise ValueError(f"global_blocks is {self.global_blocks}, wanted numbers from 0 to {self.depth - 1}")


@dataclass(frozen=True)
class SwinOptions(EncoderOptions):
    """The tiny Swin transformer of Swin-LiteMedSAM; the defaults are the published ones.

    Attributes:
        widths: numbers of each pixel before the first stage, then of each cell after the first, the second and the
            last two stages.
        depths: blocks of each stage, in pairs.
        heads: of attention in each stage, of 32 numbers each.
        embedding: channels of the embedding, without the stages' maps that are packed behind it.
    """

    widths: tuple[int, ...] = (64, 128, 160, 320)
    depths: tuple[int, ...] = (2, 2, 6, 2)
    heads: tuple[int, ...] = (2, 4, 5, 10)
    embedding: int = 256

    def __post_init__(self) -> None:
        for name in ("widths", "depths", "heads"):
            numbers = getattr(self, name)
            if len(numbers) != 4 or min(numbers) < 1:
                raise ValueError(f"{name} is {numbers}, wanted 4 numbers of at least 1")
        if any(depth % 2 for depth in self.depths) or self.widths[0] % 2 or self.embedding < 1:
            raise ValueError(
                f"depths {self.depths} must be even, widths[0] too, and embedding {self.embedding} above 0"
            )
