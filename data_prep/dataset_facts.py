"""What is known of a data set before its files are read: the word of the user, of dataset.json or of its folder."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from data_prep.findings import Findings
from data_prep.objects import LABEL_KINDS, LabelKind
from graysam.cases import modality_of

DATASET_NAME = "dataset.json"

# What the Decathlon and nnU-Net call their channels.
_FOREIGN_MODALITIES = (("MR", re.compile(r"^(mri?|t1|t2|flair|adc|dwi|pd|swi)", re.IGNORECASE)),)


@dataclass(frozen=True)
class Assumptions:
    """What the user says about the data sets; it wins over what their files say.

    Attributes:
        modality: canonical modality, "" for none.
        labels: what is one object, None for none.
    """

    modality: str = ""
    labels: LabelKind | None = None


@dataclass(frozen=True)
class DatasetFacts:
    """What is known of a data set before its files are looked at.

    Attributes:
        modality: canonical name, "" when nothing tells it.
        labels: what is one object.
        window: see `Source.window`.
        ignored: see `Source.ignored_labels`.
        has_channels: whether names end with nnU-Net's number of a channel.
    """

    modality: str
    labels: LabelKind
    window: str = ""
    ignored: tuple[int, ...] = ()
    has_channels: bool = False


def facts_of(folder: Path, dataset: str, assumptions: Assumptions, findings: Findings) -> DatasetFacts | None:
    """Give what dataset.json, the folder's name and the user say; None when they make no sense."""
    stated = _read_facts(folder, findings)
    labels = assumptions.labels or stated.get("labels")
    ignored: tuple[int, ...] = ()
    if isinstance(labels, dict):  # the Decathlon's and nnU-Net's names of classes
        labels, ignored = "classes", _ignored_labels(stated["labels"])
    elif isinstance(stated.get("labels"), dict):
        ignored = _ignored_labels(stated["labels"])
    if labels is not None and labels not in LABEL_KINDS:
        findings.report(
            "error",
            "labels field",
            folder / DATASET_NAME,
            f"labels {labels!r} is none of {', '.join(LABEL_KINDS)}",
            "Correct the field, or give --labels.",
        )
        return None
    if labels is None:
        findings.report(
            "warning",
            "labels not stated",
            folder,
            "nothing says what one object is; each number is taken as one",
            'Write dataset.json with "labels", or give --labels classes | components | instances | nested.',
        )
        labels = "classes"
    channels = stated.get("channel_names", stated.get("modality"))
    is_nnunet = isinstance(stated.get("channel_names"), dict)
    return DatasetFacts(
        _modality_for(channels if isinstance(channels, dict) else stated.get("modality"), dataset, assumptions),
        cast("LabelKind", labels),
        str(stated.get("window", "")),
        ignored,
        is_nnunet,
    )


def _ignored_labels(names: dict[str, Any]) -> tuple[int, ...]:
    """Give the numbers of a label called `ignore`: nnU-Net writes {name: number}, the Decathlon {number: name}."""
    found = []
    for key, value in names.items():
        number, name = (value, key) if isinstance(value, int) else (key, value)
        if str(name).lower() == "ignore" and str(number).isdigit() and int(number) > 0:
            found.append(int(number))
    return tuple(found)


def _read_facts(folder: Path, findings: Findings) -> dict[str, Any]:
    path = folder / DATASET_NAME
    if not path.is_file():
        return {}
    try:
        facts = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        findings.report("error", "dataset.json", path, f"no readable JSON: {error}", "Correct the file.")
        return {}
    return facts if isinstance(facts, dict) else {}


def _modality_for(stated: object, dataset: str, assumptions: Assumptions) -> str:
    """Give the canonical modality: the user's, else dataset.json's (a word, or channels' names), else the folder's."""
    if assumptions.modality:
        return modality_of(assumptions.modality) or assumptions.modality
    words = [str(word) for word in stated.values()] if isinstance(stated, dict) else [str(stated or "")]
    for word in words:
        for modality, pattern in _FOREIGN_MODALITIES:
            if pattern.search(word):
                return modality
        if modality_of(word):
            return str(modality_of(word))
    if words[0] and not isinstance(stated, dict):
        return words[0]
    for part in dataset.split("/"):
        found = modality_of(part)
        if found:
            return found
    return ""
