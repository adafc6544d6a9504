"""Reads labelled cases into a packed store: whatever data_prep reads, and .npz cases with their references.

A folder comes in; a store of slices with objects goes to `train.adapt.folds`. What cannot be adapted to is refused
here, with a remedy.
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.dataset_facts import Assumptions
from data_prep.objects import LabelKind, SpeckRule, objects_of
from data_prep.pack import PackSettings, pack
from data_prep.sources import Source, find_sources
from data_prep.split import find_leaks, group_by_pattern
from graysam.cases import VolumeCase
from graysam.console import tracked
from graysam.errors import CaseError, GraySamError
from graysam.formats.npz import find_cases, read_case, read_labels
from graysam.store import PackedStore, StoreEntry, StoreWriter, encode_image, encode_runs, open_store

logger = logging.getLogger("adapt")

FEWEST_CASES = 5
MOST_CASES = 500
MOST_SLICES = 1500
"""Of all volumes together: they are held in memory, and minutes of training see no more."""
SLICES_TOGETHER = 2
"""Thinned volumes keep pairs of slices, as the model is shown the neighbouring one."""
WHOLE_IMAGE_SHARE = 0.95
MOST_OBJECTS = 1000
"""On a slice; more are the noise of a picture that is no label map."""
INPUTS, REFERENCES = "inputs", "gts"


class AdaptError(GraySamError):
    """The weights cannot be adapted to these cases, or not so."""


@dataclass(frozen=True)
class Gathered:
    """The cases of a folder.

    Attributes:
        store: their slices with objects; every entry is of the split "train".
        given: the split that index.csv gives a case, by data set and case; empty where it gives none.
        notes: what was left out or looks wrong, a sentence each.
    """

    store: PackedStore
    given: dict[tuple[str, str], str]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Reading:
    """How a folder is to be read.

    Attributes:
        modality: of all cases, "" where they say it themselves.
        labels: what one object is; None where dataset.json says it.
        patients: a regular expression that finds the patient in a case's name; "" where every case is a patient's only.
        workers: processes that read; 0 for this one.
    """

    modality: str = ""
    labels: LabelKind | None = None
    patients: str = ""
    workers: int = 0


def gather(folder: Path, path: Path, reading: Reading) -> Gathered:
    """Pack the labelled cases of a folder into a store at `path`, or open the one that an earlier call made of it.

    Raises:
        AdaptError: fewer than 5 cases, more than 500, a patient on both sides of a given split, or masks that are no
            labels.
        GraySamError: the folder cannot be read.
    """
    facts = path.with_suffix(".json")
    if not facts.is_file():
        pairs = list(_npz_pairs(folder)) if folder.is_dir() else []
        given, notes = _pack_npz(pairs, path, reading) if pairs else _pack_sources(folder, path, reading)
        record = {"given": [[*case, split] for case, split in given.items()], "notes": notes}
        facts.write_text(json.dumps(record), encoding="utf-8")
    record = json.loads(facts.read_text(encoding="utf-8"))
    store = open_store(path)
    _refuse_unfit(store, record["notes"])
    entries, notes = thinned(store.entries), list(record["notes"])
    if len(entries) < len(store.entries):
        notes.append(f"of {len(store.entries)} slices of the volumes {len(entries)} are used, in pairs.")
    given = {(dataset, case): split for dataset, case, split in record["given"]}
    return Gathered(store.with_entries(entries), given, tuple(notes))


# --- data sets as data_prep reads them --------------------------------------------------------------------------------


def _pack_sources(folder: Path, path: Path, reading: Reading) -> tuple[dict[tuple[str, str], str], list[str]]:
    inventory = find_sources(folder, Assumptions(reading.modality, reading.labels))
    sources = list(inventory.sources)
    told = [f"{each.where}: {each.what}." for each in inventory.problems if each.severity == "error"]
    if not sources:
        first = str(inventory.problems[0]) if inventory.problems else "no image with a label map."
        raise AdaptError(f"{folder}: no labelled case; {first} `python -m data_prep inspect {folder}` says more.")
    if reading.patients:
        sources = group_by_pattern(sources, reading.patients)
    if leaks := find_leaks(sources):
        raise AdaptError(f"{folder}: the splits of index.csv leak: {leaks[0]}. Give every patient one split.")
    given = {(each.dataset, each.case): each.split for each in sources if each.split}
    report = pack([replace(each, split="train") for each in sources], path, PackSettings(), workers=reading.workers)
    return given, [*told, *report.errors, *report.warnings, *_without_objects(path, sources, report.errors)]


def _without_objects(path: Path, sources: Sequence[Source], errors: Sequence[str]) -> list[str]:
    packed = {(each.dataset, each.case) for each in open_store(path).entries}
    return [
        f"{each.name}: the label map has no object."
        for each in sources
        if (each.dataset, each.case) not in packed and not any(line.startswith(f"{each.name}:") for line in errors)
    ]


# --- .npz cases -------------------------------------------------------------------------------------------------------


def _npz_pairs(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Give each case with the file that holds its `gts`: itself, or one of its name in gts/ beside inputs/."""
    inputs = folder / INPUTS
    if inputs.is_dir() and (folder / REFERENCES).is_dir():
        yield from ((case, folder / REFERENCES / case.name) for case in find_cases(inputs))
    else:
        yield from ((case, case) for case in find_cases(folder))


def _pack_npz(
    pairs: Sequence[tuple[Path, Path]], path: Path, reading: Reading
) -> tuple[dict[tuple[str, str], str], list[str]]:
    notes = []
    groups = _patients_of([case.stem for case, _ in pairs], reading.patients)
    with StoreWriter(path) as writer:
        for case, reference in tracked(pairs, total=len(pairs), what="read"):
            try:
                slices = list(_slices_of(case, reference, reading))
            except GraySamError as error:
                notes.append(f"{case.name}: {error}")
                continue
            for values in slices:
                writer.add(**values, group=groups[case.stem])
            if not slices:
                notes.append(f"{case.name}: the label map has no object.")
    return {}, notes


def _patients_of(names: Sequence[str], pattern: str) -> dict[str, str]:
    """Give the patient of every case, by its name."""
    if not pattern:
        return {name: name for name in names}
    nowhere = Path()
    sources = [Source("npz", name, name, "", "", "classes", nowhere, nowhere, is_volume=False) for name in names]
    return {each.case: each.group for each in group_by_pattern(sources, pattern)}


def _slices_of(path: Path, reference: Path, reading: Reading) -> Iterator[dict[str, Any]]:
    """Give the arguments of `StoreWriter.add` for every slice with an object, but for the group."""
    case, labels = read_case(path, need_boxes=False), read_labels(reference, "gts")
    if labels.shape != case.label_shape:
        raise CaseError(f"'gts' has shape {labels.shape}, wanted that of the image, {case.label_shape}.")
    if float(case.image.max()) > 255 or float(case.image.min()) < 0:
        raise CaseError("'imgs' has values beyond 0 to 255; bring them there as for a screen.")
    is_volume = isinstance(case, VolumeCase)
    modality = reading.modality or case.modality or "unknown"
    for z in range(len(labels) if is_volume else 1):
        image, flat = (case.image[z], labels[z]) if is_volume else (case.image, labels)
        objects, _ = objects_of(_unsigned(flat), reading.labels or "classes", rule=SpeckRule())
        if objects:
            eight_bit: NDArray[np.uint8] = np.rint(image).astype(np.uint8)
            yield {
                "encoded_image": encode_image(np.ascontiguousarray(eight_bit)),
                "objects": [encode_runs(found.in_full(flat.shape)) for found in objects],
                "dataset": f"{modality}/npz",
                "modality": modality,
                "case": path.stem,
                "split": "train",
                "size_hw": flat.shape,
                "z": z if is_volume else -1,
            }


def _unsigned(labels: NDArray[np.integer[Any]]) -> NDArray[np.uint32]:
    return np.ascontiguousarray(labels).astype(np.uint32)


# --- what is refused --------------------------------------------------------------------------------------------------


def _refuse_unfit(store: PackedStore, notes: Sequence[str]) -> None:
    by_case: dict[tuple[str, str], list[StoreEntry]] = defaultdict(list)
    for entry in store.entries:
        by_case[entry.dataset, entry.case].append(entry)
    left_out = f" Left out: {' '.join(notes[:3])}" if notes else ""
    if len(by_case) < FEWEST_CASES:
        raise AdaptError(
            f"{len(by_case)} labelled cases; at least {FEWEST_CASES} are wanted, to learn from some and judge by "
            f"others.{left_out}"
        )
    if len(by_case) > MOST_CASES:
        raise AdaptError(
            f"{len(by_case)} cases; `graysam adapt` takes at most {MOST_CASES}. Train on more with `train.run --init`."
        )
    crowded = [case for case, entries in by_case.items() if max(len(each.objects) for each in entries) > MOST_OBJECTS]
    whole = [case for case, entries in by_case.items() if _covers_all(store, entries[len(entries) // 2])]
    for odd, what in (
        (crowded, f"have more than {MOST_OBJECTS} objects on a slice"),
        (whole, "hold one object that covers the whole image"),
    ):
        if len(odd) > len(by_case) / 2:
            raise AdaptError(
                f"the masks are no labels: {len(odd)} of {len(by_case)} cases, such as {odd[0][1]!r}, {what}. Wanted 0 "
                "for the background and one whole number for each object; --labels says what one object is."
            )


def _covers_all(store: PackedStore, entry: StoreEntry) -> bool:
    return any(mask.mean() > WHOLE_IMAGE_SHARE for mask in store.masks(entry)[:3])


def thinned(entries: Sequence[StoreEntry]) -> list[StoreEntry]:
    """Leave out slices of volumes, evenly and in pairs, so that all cases have at most `MOST_SLICES` together."""
    by_case: dict[tuple[str, str], list[StoreEntry]] = defaultdict(list)
    for entry in sorted(entries, key=lambda each: each.z):
        by_case[entry.dataset, entry.case].append(entry)
    most = max(SLICES_TOGETHER, MOST_SLICES // len(by_case))
    kept: list[StoreEntry] = []
    for slices in by_case.values():
        if len(slices) <= most:
            kept += slices
            continue
        pairs = [slices[start : start + SLICES_TOGETHER] for start in range(0, len(slices), SLICES_TOGETHER)]
        chosen = np.linspace(0, len(pairs) - 1, most // SLICES_TOGETHER).round().astype(int)
        kept += [entry for number in np.unique(chosen) for entry in pairs[number]]
    return kept
