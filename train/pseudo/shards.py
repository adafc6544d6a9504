"""The files of a folder of pseudo-objects: what it was made from and by, and shards of run lengths.

    pseudo.json            hash of the store's index, the teacher, the seed, the rules: a folder is of one origin
    trust.json             agreement of the teacher with the labels, for each data set
    objects-00000000.npz   a shard, named by the place of its first slice in the order of visits; no images
    report.json            counts, for people

A shard is a NumPy archive that executes nothing when read: dataset, case and z name its slices, `objects` counts those
of each slice, `lengths` the runs of each object, `runs` holds them one after the other as `graysam.store` defines them;
`soft` counts the labelled objects of each slice whose probabilities are kept, see `train.pseudo.soft`.
"""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from graysam.errors import GraySamError
from graysam.files import remove_stale_temporaries, written_whole
from graysam.store import PackedStore, StoreEntry, encode_runs, index_hash
from train.pseudo.boxes import SOURCES
from train.pseudo.keep import PseudoObject
from train.pseudo.soft import SIDE, SoftTarget

ORIGIN_FILE: Final = "pseudo.json"
TRUST_FILE: Final = "trust.json"
REPORT_FILE: Final = "report.json"
SPLIT: Final = "train"
"""The only split whose slices a teacher is asked about."""

SliceName = tuple[str, str, int]
"""Data set, case and z: what names a slice of a store."""


class PseudoError(GraySamError):
    """A folder of pseudo-objects does not fit its store or teacher, or is damaged."""


def name_of(entry: StoreEntry) -> SliceName:
    """Give what names a slice, also in a store that was packed anew."""
    return entry.dataset, entry.case, entry.z


@dataclass
class Shard:
    """Slices that were visited one after the other, with what was found on each.

    Attributes:
        first: place of the first slice in the order of visits.
        slices: their names.
        objects: the run lengths of each slice's objects.
        sources: of each slice, the place in `boxes.SOURCES` for each object.
        scores: likewise predicted IoU, stability and agreement of the second answer.
        soft: of each slice, the teacher's probabilities for some labelled objects.
        dropped: how many answers were dropped for which reason.
        seconds: how long it took.
    """

    first: int
    slices: list[SliceName] = field(default_factory=list)
    objects: list[list[NDArray[np.uint32]]] = field(default_factory=list)
    sources: list[list[int]] = field(default_factory=list)
    scores: list[list[tuple[float, float, float]]] = field(default_factory=list)
    soft: list[list[SoftTarget]] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def __len__(self) -> int:
        return len(self.slices)

    def add(
        self,
        name: SliceName,
        found: Sequence[PseudoObject],
        dropped: Mapping[str, int],
        seconds: float,
        *,
        soft: Sequence[SoftTarget] = (),
    ) -> None:
        """Append a slice."""
        self.soft.append(list(soft))
        self.slices.append(name)
        self.objects.append([encode_runs(each.mask) for each in found])
        self.sources.append([SOURCES.index(each.source) for each in found])
        self.scores.append([(each.predicted_iou, each.stability, each.same_answer) for each in found])
        self.dropped.update(dropped)
        self.seconds += seconds


def write_shard(folder: Path, shard: Shard) -> Path:
    """Write a shard, whole or not at all; what a killed session was writing in its place is cleared away."""
    runs = [runs for objects in shard.objects for runs in objects]
    soft = [each for targets in shard.soft for each in targets]
    arrays: dict[str, Any] = {
        "dataset": np.array([dataset for dataset, _, _ in shard.slices]),
        "case": np.array([case for _, case, _ in shard.slices]),
        "z": np.array([z for _, _, z in shard.slices], np.int32),
        "objects": np.array([len(objects) for objects in shard.objects], np.int32),
        "lengths": np.array([each.size for each in runs], np.int32),
        "runs": np.concatenate(runs) if runs else np.zeros(0, np.uint32),
        "sources": np.array([each for slices in shard.sources for each in slices], np.uint8),
        "scores": np.array([each for slices in shard.scores for each in slices], np.float16).reshape(-1, 3),
        "soft": np.array([len(targets) for targets in shard.soft], np.int32),
        "soft_items": np.array([each.item for each in soft], np.int32),
        "soft_windows": np.array([each.window for each in soft], np.int32).reshape(-1, 4),
        "soft_values": np.array([each.values for each in soft], np.uint8).reshape(-1, SIDE, SIDE),
        "dropped": np.array(json.dumps(shard.dropped)),
        "seconds": np.array(shard.seconds),
    }
    path = folder / f"objects-{shard.first:08d}.npz"
    remove_stale_temporaries(folder, [path.name])
    with written_whole(path, PseudoError) as temporary, temporary.open("xb") as stream:
        np.savez_compressed(stream, **arrays)
    return path


def read_shard(path: Path) -> Shard:
    """Read what `write_shard` wrote.

    Raises:
        PseudoError: the file is damaged, or no shard.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        places = zip(arrays["dataset"], arrays["case"], arrays["z"], strict=True)
        shard = Shard(int(path.stem.rpartition("-")[2]), [(str(d), str(c), int(z)) for d, c, z in places])
        ends = np.cumsum(arrays["lengths"])[:-1]
        runs = np.split(arrays["runs"].astype(np.uint32), ends) if arrays["lengths"].size else []
        cuts = np.cumsum(arrays["objects"])[:-1]
        shard.objects = [[runs[each] for each in group] for group in np.split(np.arange(len(runs)), cuts)]
        shard.sources = [group.tolist() for group in np.split(arrays["sources"], cuts)]
        shard.scores = [[tuple(row) for row in group.tolist()] for group in np.split(arrays["scores"], cuts)]
        soft = zip(arrays["soft_items"], arrays["soft_windows"].tolist(), arrays["soft_values"], strict=True)
        targets = [SoftTarget(int(item), tuple(window), values) for item, window, values in soft]
        soft_cuts = np.cumsum(arrays["soft"])[:-1]
        shard.soft = [[targets[each] for each in group] for group in np.split(np.arange(len(targets)), soft_cuts)]
        shard.dropped = Counter(json.loads(str(arrays["dropped"])))
        shard.seconds = float(arrays["seconds"])
    except (OSError, ValueError, KeyError, IndexError, zipfile.BadZipFile) as cause:
        raise PseudoError(
            f"{path}: is no whole shard ({cause}); remove it, and give the same command again."
        ) from cause
    return shard


def read_shards(folder: Path) -> list[Shard]:
    """Read all shards of a folder, in the order of visits.

    Raises:
        PseudoError: one is damaged, or one is missing before a later one.
    """
    shards = [read_shard(path) for path in sorted(folder.glob("objects-*.npz"))]
    expected = 0
    for shard in shards:
        if shard.first != expected:
            raise PseudoError(
                f"{folder}: the shard objects-{expected:08d}.npz is missing; remove those after it, and give the same "
                "command again."
            )
        expected += len(shard)
    return shards


def claim_folder(folder: Path, origin: Mapping[str, Any]) -> None:
    """Make a folder one of this origin, or see that it is.

    Raises:
        PseudoError: it holds pseudo-objects of another origin; the message says what differs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    remove_stale_temporaries(folder, [ORIGIN_FILE, TRUST_FILE, REPORT_FILE])
    path, plain = folder / ORIGIN_FILE, json.loads(json.dumps(origin))
    if not path.exists():
        write_json(path, plain)
        return
    there = read_json(path)
    differing = sorted(key for key in {*plain, *there} if plain.get(key) != there.get(key))
    if differing:
        raise PseudoError(
            f"{path}: {', '.join(differing)} differ from this command's; use another folder, or remove this one."
        )


@dataclass(frozen=True)
class Found:
    """What a teacher found on the training slices of a store.

    Attributes:
        objects: the run lengths of each slice's pseudo-objects.
        soft: of each slice, by the number of a labelled object, the teacher's probabilities for it.
    """

    objects: Mapping[SliceName, Sequence[NDArray[np.uint32]]] = field(default_factory=dict)
    soft: Mapping[SliceName, Mapping[int, SoftTarget]] = field(default_factory=dict)


def read_found(folder: Path, store: PackedStore) -> Found:
    """Read a folder, to train on.

    Raises:
        PseudoError: made from another store, damaged, or about a slice that is not trained on.
    """
    path = folder / ORIGIN_FILE
    if not path.is_file():
        raise PseudoError(f"{folder}: holds no pseudo-objects; make some with `python -m train.pseudo`.")
    if read_json(path).get("store_index_sha256") != index_hash(store.path):
        raise PseudoError(f"{path}: made from another store than {store.path}; make them anew from this one.")
    sizes = {name_of(entry): entry.size_hw for entry in store.entries if entry.split == SPLIT}
    objects: dict[SliceName, list[NDArray[np.uint32]]] = {}
    soft: dict[SliceName, dict[int, SoftTarget]] = {}
    for shard in read_shards(folder):
        for name, found, targets in zip(shard.slices, shard.objects, shard.soft, strict=True):
            if name not in sizes:
                raise PseudoError(f"{folder}: slice {name} is not of the split {SPLIT!r}, which alone is learnt.")
            pixels = sizes[name][0] * sizes[name][1]
            if any(int(runs.sum(dtype=np.int64)) != pixels for runs in found):
                raise PseudoError(f"{folder}: an object of slice {name} is not of its size {sizes[name]}.")
            if found:
                objects[name] = found
            if targets:
                soft[name] = {each.item: each for each in targets}
    return Found(objects, soft)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write values for people and programs, whole or not at all."""
    with written_whole(path, PseudoError) as temporary:
        temporary.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Read what `write_json` wrote.

    Raises:
        PseudoError: the file is damaged.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as cause:
        raise PseudoError(f"{path}: is damaged ({cause}); remove the folder and begin anew.") from cause
    if not isinstance(values, dict):
        raise PseudoError(f"{path}: wanted a table, got {values!r}; remove the folder and begin anew.")
    return values
