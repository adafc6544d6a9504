"""The paper's training store, in files that execute nothing: PNG of 256x256 and run lengths in JSON.

Files are imgs/<name>.png and gts/<name>.json. Every image is shrunk or enlarged by its longest side to 256
and padded with zeros on the right and below. Its label map is brought to the same size by nearest neighbour
and stored as runs (`data_prep.label_runs`).
`index.jsonl` names data set, modality, case, group, split and slice of every entry.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from data_prep.label_runs import labels_from_runs, runs_from_labels
from data_prep.loading import load_source
from data_prep.objects import LabelKind, SpeckRule, objects_of, paint
from data_prep.pack import describe_failure, labelled_slices
from data_prep.parallel import run_jobs
from data_prep.sources import Source
from graysam.errors import PrepareError
from graysam.files import written_whole
from graysam.formats.readers import SoftMasks, read_image
from graysam.image.geometry import CanvasFit
from graysam.store import StoreWriter, encode_image, encode_runs

SIDE_PX = 256
FORMAT = "graysam-runs-1"
IMAGES, LABELS, INDEX, SETTINGS = "imgs", "gts", "index.jsonl", "settings.json"


@dataclass(frozen=True)
class StoredSlice:
    """A line of index.jsonl.

    Attributes:
        name: file name in imgs/ and gts/, without suffix.
        dataset, modality, case, group, split: see `sources.Source`.
        labels: what is one object in the label map; "nested" or "instances".
        z: number of the slice, -1 for an image.
        source_hw: size before it was brought to 256.
        window: the intensity window and why it was chosen, "" for imported entries.
    """

    name: str
    dataset: str
    modality: str
    case: str
    group: str
    split: str
    labels: LabelKind
    z: int
    source_hw: tuple[int, int]
    window: str = ""


def to_square(image: NDArray[np.uint8], labels: NDArray[Any]) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """Bring an image and its labels to 256x256: longest side 256, zeros on the right and below."""
    fit = CanvasFit.for_image((image.shape[0], image.shape[1]), SIDE_PX)
    height, width = fit.content_hw
    small = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    return fit.pad(fit.to_content(image)).astype(np.uint8), fit.pad(small)


def write_entry(folder: Path, name: str, image: NDArray[np.uint8], labels: NDArray[Any]) -> None:
    """Write imgs/<name>.png and gts/<name>.json of a 256x256 image, each whole or not at all."""
    if image.shape[:2] != (SIDE_PX, SIDE_PX) or labels.shape != (SIDE_PX, SIDE_PX):
        raise PrepareError(f"{name}: wanted {SIDE_PX} x {SIDE_PX}, got image {image.shape} and labels {labels.shape}.")
    code = {"format": FORMAT, "size_hw": list(labels.shape), "runs": runs_from_labels(labels)}
    _write_whole(folder / IMAGES / f"{name}.png", encode_image(image))
    _write_whole(folder / LABELS / f"{name}.json", json.dumps(code, separators=(",", ":")).encode())


def _write_whole(path: Path, content: bytes) -> None:
    with written_whole(path, PrepareError) as temporary:
        temporary.write_bytes(content)


def read_entry(folder: Path, name: str) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """Give image and labels that `write_entry` wrote.

    Raises:
        PrepareError: a file is missing, damaged, or of another format.
    """
    image = read_image(folder / IMAGES / f"{name}.png")
    path = folder / LABELS / f"{name}.json"
    try:
        code = json.loads(path.read_text(encoding="utf-8"))
        if code["format"] != FORMAT:
            raise PrepareError(f"{path.name}: wanted format {FORMAT!r}, got {code['format']!r}.")
        size_hw = (int(code["size_hw"][0]), int(code["size_hw"][1]))
        runs = code["runs"]
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise PrepareError(f"{path.name}: no readable run lengths: {error}; make the store again.") from error
    if size_hw != image.shape[:2]:
        raise PrepareError(
            f"{name}: image {image.shape[:2]} and labels {size_hw} differ in size; make the store again."
        )
    return image, labels_from_runs(runs, size_hw)


def read_index(folder: Path) -> list[StoredSlice]:
    """Give the entries of a store.

    Raises:
        PrepareError: no index, or a damaged one.
    """
    path = folder / INDEX
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
        return [StoredSlice(**{**line, "source_hw": tuple(line["source_hw"])}) for line in lines]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise PrepareError(f"{path}: no index of a training store: {error}.") from error


def write_index(folder: Path, entries: Sequence[StoredSlice]) -> None:
    """Write the index, whole or not at all."""
    _write_whole(folder / INDEX, "".join(json.dumps(asdict(entry)) + "\n" for entry in entries).encode())


@dataclass(frozen=True, eq=False)
class _Job:
    source: Source
    folder: Path
    window: str
    specks: SpeckRule
    soft_masks: SoftMasks
    strict: bool


@dataclass(frozen=True)
class _Stored:
    """What became of a source: its entries and warnings, or why there are none."""

    entries: tuple[StoredSlice, ...] = ()
    warnings: tuple[str, ...] = ()
    error: str = ""


def _crashed(job: _Job, reason: str) -> _Stored:
    return _Stored(error=f"{job.source.name}: {reason}")


def _store_source(job: _Job) -> _Stored:
    """Write the slices of one source that are not there yet."""
    source = job.source
    try:
        loaded = load_source(source, window=job.window, soft_masks=job.soft_masks, strict=job.strict)
        slices, _ = labelled_slices(loaded, source, job.specks)
        entries = []
        for part in slices:
            name = f"{source.dataset.replace('/', '_')}_{source.case}" + (f"-{part.z:03d}" if part.z >= 0 else "")
            size_hw = (part.image.shape[0], part.image.shape[1])
            kind: LabelKind = "nested" if source.labels == "nested" else "instances"
            entries.append(
                StoredSlice(
                    name,
                    source.dataset,
                    loaded.modality,
                    source.case,
                    source.group,
                    source.split,
                    kind,
                    part.z,
                    size_hw,
                    f"{loaded.window.name} ({loaded.window.why})",
                )
            )
            if not (job.folder / LABELS / f"{name}.json").is_file():  # written last, so the image is there too
                write_entry(job.folder, name, *to_square(part.image, paint(part.objects, size_hw)))
    except Exception as error:  # one odd file must not end a run over thousands
        return _Stored(error=describe_failure(source, error))
    return _Stored(tuple(entries), tuple(f"{source.name}: {what}" for what in loaded.warnings))


def make_store(
    sources: Sequence[Source],
    folder: Path,
    *,
    workers: int,
    window: str = "auto",
    specks: SpeckRule | None = None,
    soft_masks: SoftMasks = "refuse",
    strict: bool = False,
) -> tuple[int, list[str], list[str]]:
    """Write the store of all sources, keeping entries that are there; give their number, the errors and warnings."""
    for part in (IMAGES, LABELS):
        (folder / part).mkdir(parents=True, exist_ok=True)
    entries: list[StoredSlice] = []
    errors: list[str] = []
    warnings: list[str] = []
    rule = specks or SpeckRule()
    settings: dict[str, Any] = {"window": window, "specks": asdict(rule)}
    if soft_masks != "refuse":
        settings["soft_masks"] = soft_masks
    _settle(folder, settings)
    jobs = [_Job(source, folder, window, rule, soft_masks, strict) for source in sources]
    for _, stored in run_jobs(_store_source, jobs, workers=workers, what="stored", crashed=_crashed):
        entries += stored.entries
        warnings += stored.warnings
        if stored.error:
            errors.append(stored.error)
    write_index(folder, entries)
    return len(entries), errors, warnings


def _settle(folder: Path, settings: dict[str, Any]) -> None:
    """Write the settings beside the entries, or refuse to mix them with entries of other settings."""
    path = folder / SETTINGS
    if path.is_file() and json.loads(path.read_text(encoding="utf-8")) != settings:
        raise PrepareError(f"{folder}: holds entries made with other settings; choose another folder.")
    _write_whole(path, json.dumps(settings, indent=1).encode())


def pack_store(folder: Path, out: Path) -> int:
    """Pack a store into one file (graysam/store.py) and give the number of slices; entries need a split."""
    entries = read_index(folder)
    unplaced = [entry.name for entry in entries if not entry.split]
    if unplaced:
        raise PrepareError(f"{folder}: {len(unplaced)} entries are in no split, for example {unplaced[0]}.")
    count = 0
    with StoreWriter(out) as writer:
        for entry in entries:
            image, labels = read_entry(folder, entry.name)
            objects, _ = objects_of(labels, entry.labels, rule=SpeckRule(pixels=1))
            if objects:
                count += 1
                writer.add(
                    encode_image(image),
                    [encode_runs(found.in_full(labels.shape)) for found in objects],
                    dataset=entry.dataset,
                    modality=entry.modality,
                    case=entry.case,
                    group=entry.group,
                    split=entry.split,
                    size_hw=(image.shape[0], image.shape[1]),
                    z=entry.z,
                )
    return count
