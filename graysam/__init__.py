"""GraySAM: box-prompted segmentation of medical images on a CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from graysam.api import Segmenter

__version__ = "0.1.0"
__all__ = ["Segmenter", "__version__"]


def __getattr__(name: str) -> object:
    """Import `Segmenter` when it is first asked for: importing the package must cost nothing."""
    if name == "Segmenter":
        from graysam.api import Segmenter

        return Segmenter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
