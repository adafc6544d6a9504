"""Divide cases into train and val by patient, and check that no patient stands on both sides.

A patient is a *group* within a *family* of data sets. A family is the first word of the data sets' names (up
to "_"): so STS_CT, STS_MR_T1 and STS_PET, which show the same patients under the same numbers, are one
family, while patient "174" of a data set of bladders has nothing to do with image "174" of one of foetal
heads.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from data_prep.sources import Source
from graysam.errors import PrepareError
from graysam.files import written_whole

Patient = tuple[str, str]


@dataclass(frozen=True)
class Leak:
    """A patient in more than one split.

    Attributes:
        family, group: who it is.
        cases: names of the cases by split.
    """

    family: str
    group: str
    cases: Mapping[str, tuple[str, ...]]

    def __str__(self) -> str:
        sides = "; ".join(f"{split}: {', '.join(names[:3])}" for split, names in sorted(self.cases.items()))
        return f"group {self.group!r} of {self.family} is on several sides ({sides})"


def family_of(dataset: str) -> str:
    """Give the first word of a data set's own name: "CT/STS_CT" belongs to "STS"."""
    return Path(dataset).name.split("_")[0]


def patient_of(source: Source) -> Patient:
    """Give who is shown."""
    return family_of(source.dataset), source.group


def group_by_pattern(sources: Sequence[Source], pattern: str) -> list[Source]:
    r"""Give the sources with the group that a pattern finds in the case's name.

    The group is the pattern's first parenthesis, or all that it matched.

    Example: r"patient(\d+)" makes one group of patient012_frame01 and patient012_frame09.

    Raises:
        PrepareError: not a regular expression, or a case that it does not fit.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise PrepareError(f"group pattern {pattern!r}: no regular expression: {error}.") from error
    grouped = []
    for source in sources:
        match = expression.search(source.case)
        if match is None:
            raise PrepareError(f"group pattern {pattern!r} does not fit {source.name}; every case needs its patient.")
        grouped.append(replace(source, group=match[1] if expression.groups else match[0]))
    return grouped


def find_leaks(sources: Sequence[Source]) -> list[Leak]:
    """Give the patients that stand in more than one split; cases without a split do not count."""
    sides: dict[Patient, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for source in sources:
        if source.split:
            sides[patient_of(source)][source.split].append(source.name)
    return [
        Leak(family, group, {split: tuple(names) for split, names in by_split.items()})
        for (family, group), by_split in sorted(sides.items())
        if len(by_split) > 1
    ]


def assign_splits(sources: Sequence[Source], *, val_share: float, seed: int = 0) -> list[Source]:
    """Give the sources with a split each, drawn patient by patient within each family.

    Patients are taken in an order that depends on the seed and their name alone, and go to val while val then
    stays within its share of the family's cases; so adding a data set does not move the patients of another.
    A family of one patient is all train.

    Raises:
        PrepareError: a share that is not within 0..1.
    """
    if not 0 <= val_share < 1:
        raise PrepareError(f"val share {val_share}: wanted 0 or more and less than 1.")
    families: dict[str, dict[Patient, list[Source]]] = defaultdict(lambda: defaultdict(list))
    for source in sources:
        families[family_of(source.dataset)][patient_of(source)].append(source)
    held_out: set[Patient] = set()
    for patients in families.values():
        room = val_share * sum(len(cases) for cases in patients.values())
        for patient in sorted(patients, key=lambda patient: _draw(patient, seed)):
            if len(patients[patient]) <= room:
                held_out.add(patient)
                room -= len(patients[patient])
    return [replace(source, split="val" if patient_of(source) in held_out else "train") for source in sources]


def complete_splits(sources: Sequence[Source], *, val_share: float, seed: int = 0) -> list[Source]:
    """Give the sources with a split each: those that have one keep it, whatever its name; the others are drawn.

    A patient who stands in one split already stays there with all cases, so that completing makes no leak.

    Raises:
        PrepareError: a share that is not within 0..1.
    """
    known = {patient_of(source): source.split for source in sources if source.split}
    drawn = assign_splits(
        [source for source in sources if not source.split and patient_of(source) not in known],
        val_share=val_share,
        seed=seed,
    )
    placed = known | {patient_of(source): source.split for source in drawn}
    return [source if source.split else replace(source, split=placed[patient_of(source)]) for source in sources]


def _draw(patient: Patient, seed: int) -> str:
    return hashlib.sha256(f"{seed}/{patient[0]}/{patient[1]}".encode(errors="surrogateescape")).hexdigest()


def write_index(sources: Sequence[Source], path: Path) -> None:
    """Write index.csv with dataset, case, group and split, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        written_whole(path, PrepareError) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["dataset", "case", "group", "split"])
        writer.writerows([source.dataset, source.case, source.group, source.split] for source in sources)
