"""Reads and writes the JSON files of figures, those of benchmarks/results and those of a user's own measurements.

Figures come from the benchmarks, and go to the README and the model card; files with earlier names of the kinds of
boxes are read as if they had today's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks import ROOT
from evaluation.prompts import box_kind, means_with_mean
from graysam.errors import GraySamError
from graysam.files import written_whole

RESULTS: Final = ROOT / "benchmarks" / "results"
"""The recorded figures."""
OWN: Final = "graysam"
PEER: Final = "litemedsam"
"""Under which names the figures have our model, and the one that it is compared with."""


class BenchmarkError(GraySamError):
    """Something cannot be measured, or figures cannot be read."""


def read_figures(path: Path) -> dict[str, Any]:
    """Read a file of figures.

    Raises:
        BenchmarkError: it is not there, or is no JSON object.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BenchmarkError(f"{path}: cannot be read ({error.strerror}); give a file of a benchmark.") from error
    except ValueError as error:
        raise BenchmarkError(f"{path}: is no JSON ({error}); give a file of a benchmark.") from error
    if not isinstance(values, dict):
        raise BenchmarkError(f"{path}: wanted a JSON object, got a {type(values).__name__}.")
    return {key: with_present_names(value) for key, value in values.items()}


def rounded_means(by_modality: Mapping[str, Sequence[Sequence[float]]]) -> dict[str, list[float]]:
    """Average rows of numbers per modality, and under "mean" over the modalities, to five places, for a file."""
    means = means_with_mean(by_modality)
    return {name: [round(float(value), 5) for value in values] for name, values in means.items()}


def split_of(figures: Mapping[str, Any]) -> str:
    """Give the split of the store that figures of `benchmarks.validate` are of; earlier files are of "val"."""
    return str(figures.get("split", "val"))


def with_present_names(values: object) -> object:
    """Give nested figures with every kind of box under its present name."""
    if isinstance(values, Mapping):
        return {box_kind(key) or key: with_present_names(value) for key, value in values.items()}
    return [with_present_names(each) for each in values] if isinstance(values, list) else values


def write_figures(path: Path, figures: Mapping[str, Any]) -> None:
    """Write a file of figures, whole or not at all, and its folder where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
