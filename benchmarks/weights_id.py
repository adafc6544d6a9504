"""Says which weights figures are of, so that figures of earlier weights are not published with newer ones."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from benchmarks.recorded import BenchmarkError
from graysam.engines.select import checkpoint_of

KEY: Final = "weights_sha256"


def weights_id(weights: Path) -> dict[str, str]:
    """Give the entry of a file of figures: the SHA-256 of a checkpoint, or of that in a folder; {} where there is none.

    Every other file of such a folder is made from the checkpoint.
    """
    checkpoint = checkpoint_of(weights)
    return {KEY: hashlib.sha256(checkpoint.read_bytes()).hexdigest()} if checkpoint.is_file() else {}


def check_weights(figures: Mapping[str, Any], weights: Path, where: object) -> None:
    """Refuse figures of other weights; those that do not say whose they are, as earlier ones, are taken.

    Raises:
        BenchmarkError: they are of other weights.
    """
    own = weights_id(weights).get(KEY)
    if KEY in figures and figures[KEY] != own:
        raise BenchmarkError(
            f"{where}: holds figures of other weights ({KEY} {figures[KEY][:12]}) than those in {weights} "
            f"({str(own)[:12]}); measure them anew."
        )
