"""The confidence below which an object is flagged: it belongs to the weights, and lies with them.

A model predicts the IoU of its own mask. What that number is worth differs from model to model, so `confidence.json` in
the folder of weights says below which value a mask is likely to be poor. `python -m benchmarks.confidence` chooses the
value on validation data and writes the file; weights without it flag nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from graysam.errors import CheckpointError

CONFIDENCE_FILE: Final = "confidence.json"


@dataclass(frozen=True)
class FlagRule:
    """When an object is flagged.

    Attributes:
        below: the confidence, 0 to 1, below which it is.
        why: how that number was chosen, in words.
    """

    below: float
    why: str = ""

    def to_json(self) -> str:
        """Give the text of the file."""
        return json.dumps({"flag_below": self.below, "why": self.why}, indent=1) + "\n"


def read_flag_rule(weights: Path) -> FlagRule | None:
    """Give the rule that lies with weights, None for a checkpoint file and for a folder without one.

    Raises:
        CheckpointError: the file is damaged.
    """
    path = weights / CONFIDENCE_FILE
    if not path.is_file():
        return None
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        rule = FlagRule(float(facts["flag_below"]), str(facts.get("why", "")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: wanted a number 'flag_below' ({type(error).__name__}: {error}); make it anew with "
            "`python -m benchmarks.confidence`, or remove it."
        ) from error
    if not 0 <= rule.below <= 1:
        raise CheckpointError(f"{path}: 'flag_below' is {rule.below:g}, wanted 0 to 1.")
    return rule
