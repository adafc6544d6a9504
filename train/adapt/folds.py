"""Keeps the cases that a model learns from apart from those that it is judged by: whole patients on one side.

The slices come from `train.adapt.cases`. Cases that look the same count as one patient, so that nothing is judged by
what was learnt.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from data_prep.duplicates import fingerprint, similar_pairs
from data_prep.split import family_of
from graysam.store import PackedStore, StoreEntry
from train.adapt.cases import AdaptError, Gathered

MANY_PATIENTS = 20
"""From so many on one part is held out; with fewer every patient is judged once, by a model that did not see them."""
FOLDS = 3
"""Of a cross-validation; each takes minutes from the model that is kept."""
HELD_OUT_SHARE = 0.2
WATCHED_SHARE = 0.15
FEWEST_PATIENTS = FOLDS

Case = tuple[str, str]
Patient = tuple[Case, ...]
"""The cases, by data set and name, that stand on one side together."""


@dataclass(frozen=True)
class Fold:
    """One way to divide the cases.

    Attributes:
        train: slices to learn from.
        watched: slices to stop by, and to choose the share of the new weights by; none in cross-validation.
        held_out: slices to judge by.
    """

    train: tuple[StoreEntry, ...]
    watched: tuple[StoreEntry, ...]
    held_out: tuple[StoreEntry, ...]


@dataclass(frozen=True)
class Plan:
    """How the cases are divided.

    Attributes:
        folds: one, or as many as the cross-validation has.
        learnt: slices that the model which is kept learns from: all but those that index.csv holds out.
        patients: how many there are.
        notes: what is to be known of it, a sentence each.
    """

    folds: tuple[Fold, ...]
    learnt: tuple[StoreEntry, ...]
    patients: int
    notes: tuple[str, ...]


def plan_folds(gathered: Gathered, *, seed: int) -> Plan:
    """Divide the cases: as index.csv says, or by patients drawn from the seed.

    Raises:
        AdaptError: too few patients to hold any out, or a given split with look-alikes on both sides.
    """
    patients, joined = patients_of(gathered.store)
    notes = [f"cases that look the same count as one patient: {', '.join(names)}." for names in joined]
    if len(patients) < FEWEST_PATIENTS:
        raise AdaptError(
            f"the cases are of {len(patients)} patients, or look the same: judged by them, any model would look good. "
            f"At least {FEWEST_PATIENTS} patients are wanted; --patients says where a case's name has the patient."
        )
    by_case: dict[Case, list[StoreEntry]] = defaultdict(list)
    for entry in gathered.store.entries:
        by_case[entry.dataset, entry.case].append(entry)

    def slices(chosen: Sequence[Patient]) -> tuple[StoreEntry, ...]:
        return tuple(entry for patient in chosen for case in patient for entry in by_case[case])

    order = [patients[int(each)] for each in np.random.default_rng(seed).permutation(len(patients))]
    own = [each for each in order if _given(each, gathered.given) == "train"]
    others = [each for each in order if _given(each, gathered.given) not in ("", "train")]
    if own and others:
        watched = own[: round(WATCHED_SHARE * len(own))] if len(own) >= MANY_PATIENTS else []
        notes.append("the held-out cases are those that index.csv does not give to the split train.")
        fold = Fold(slices(own[len(watched) :]), slices(watched), slices(others))
        return Plan((fold,), slices(own), len(order), tuple(notes))
    if len(order) >= MANY_PATIENTS:
        held, watched_count = round(HELD_OUT_SHARE * len(order)), round(WATCHED_SHARE * len(order))
        parts = order[:held], order[held : held + watched_count], order[held + watched_count :]
        fold = Fold(slices(parts[2]), slices(parts[1]), slices(parts[0]))
        return Plan((fold,), slices(order), len(order), tuple(notes))
    folds = tuple(
        Fold(
            slices([each for place, each in enumerate(order) if place % FOLDS != number]),
            (),
            slices(order[number::FOLDS]),
        )
        for number in range(FOLDS)
    )
    return Plan(folds, slices(order), len(order), tuple(notes))


def _given(patient: Patient, given: Mapping[Case, str]) -> str:
    """Give the split that index.csv gives a patient; "" where it gives none.

    Raises:
        AdaptError: several.
    """
    splits = {given.get(case, "") for case in patient}
    if len(splits) > 1 and any(splits):
        names = ", ".join(case for _, case in patient)
        raise AdaptError(
            f"the splits of index.csv leak: {names} are of one patient or look the same, but are on several sides "
            f"({', '.join(sorted(each or 'none' for each in splits))}). Give them one split."
        )
    return splits.pop()


def patients_of(store: PackedStore) -> tuple[list[Patient], list[tuple[str, ...]]]:
    """Give the patients of a store, in order of their first case, and the names of cases that were joined by looks."""
    slices: dict[Case, list[StoreEntry]] = defaultdict(list)
    for entry in store.entries:
        slices[entry.dataset, entry.case].append(entry)
    cases = list(slices)
    middles = [slices[case][len(slices[case]) // 2] for case in cases]
    alike = similar_pairs([fingerprint(store.image(entry)) for entry in middles])
    owner = list(range(len(cases)))
    first_of: dict[tuple[str, str], int] = {}
    for number, entry in enumerate(middles):
        _join(owner, number, first_of.setdefault((family_of(entry.dataset), entry.group), number))
    joined: list[tuple[str, ...]] = []
    for first, second, _, _ in alike:
        if _root(owner, first) != _root(owner, second):
            joined.append((cases[first][1], cases[second][1]))
            _join(owner, first, second)
    members: dict[int, list[Case]] = defaultdict(list)
    for number, case in enumerate(cases):
        members[_root(owner, number)].append(case)
    return [tuple(each) for each in members.values()], joined


def _root(owner: Sequence[int], number: int) -> int:
    while owner[number] != number:
        number = owner[number]
    return number


def _join(owner: list[int], first: int, second: int) -> None:
    low, high = sorted((_root(owner, first), _root(owner, second)))
    owner[high] = low


def in_split(entries: Sequence[StoreEntry], split: str) -> list[StoreEntry]:
    """Give entries as of another split."""
    return [replace(entry, split=split) for entry in entries]
