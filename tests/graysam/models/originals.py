"""What the scripts that record outputs of public networks share: their command line, stand-ins, and files.

A script imports what it needs of an original inside its functions, after `checkouts_from`, which makes it importable.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import torch

DATA = Path(__file__).parent / "data"
TORCHVISION = (
    "torchvision",
    "torchvision.transforms",
    "torchvision.transforms.functional",
    "torchvision.ops",
    "torchvision.ops.boxes",
)
"""What the segment_anything package imports, and parity does not use."""


def checkouts_from(argv: Sequence[str] | None, doc: str | None, *names: str, files: Sequence[str] = ()) -> list[Path]:
    """Read `--NAME DIR` of checkouts, which become importable, and `--NAME FILE` of files; give all paths."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in (*names, *files):
        parser.add_argument(f"--{name}", type=Path, required=True)
    options = parser.parse_args(argv)
    paths = [Path(getattr(options, name.replace("-", "_"))) for name in (*names, *files)]
    sys.path[:0] = [str(path) for path in paths[: len(names)]]
    return paths


def stand_in(*names: str) -> None:
    """Put empty stand-ins in the place of packages that originals import and do not use here."""
    for name in names:
        sys.modules[name] = MagicMock()


def stand_in_for_timm() -> None:
    """Stand in for timm, of which nothing but initial values and training are used."""
    layers, registry = ModuleType("timm.models.layers"), ModuleType("timm.models.registry")
    parts: dict[str, Any] = {
        "DropPath": torch.nn.Identity,
        "to_2tuple": lambda side: (side, side),
        "trunc_normal_": torch.nn.init.trunc_normal_,
    }
    for name, part in parts.items():
        setattr(layers, name, part)
    registry.register_model = None  # type: ignore[attr-defined]
    for module in (ModuleType("timm"), ModuleType("timm.models"), layers, registry):
        sys.modules[module.__name__] = module


def as_float32(outputs: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """Give outputs as they are stored."""
    return {name: value.numpy().astype(np.float32) for name, value in outputs.items()}


def write_keys(name: str, state: dict[str, torch.Tensor]) -> None:
    """Write data/NAME_keys.txt: the name and shape of each tensor."""
    lines = [f"{key} {'x'.join(map(str, value.shape))}" for key, value in state.items()]
    DATA.mkdir(exist_ok=True)
    (DATA / f"{name}_keys.txt").write_text("\n".join(lines) + "\n")


def write_outputs(name: str, arrays: dict[str, np.ndarray]) -> None:
    """Write data/NAME_outputs.npz."""
    DATA.mkdir(exist_ok=True)
    np.savez_compressed(DATA / f"{name}_outputs.npz", **arrays)
