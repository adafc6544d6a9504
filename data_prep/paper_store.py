"""The paper's training store, in files that execute nothing: PNG of 256x256 and run lengths in JSON.

Files are imgs/<name>.png and gts/<name>.json. Every image is shrunk or enlarged by its longest side to 256
and padded with zeros on the right and below. Its label map is brought to the same size by nearest neighbour
and stored as [start, length, value] runs over the rows, values above 0 only, starts counted from 0.
`index.jsonl` names data set, modality, case, group, split and slice of every entry.

The authors' own store has the same runs as Python pickles, starts counted from 1. A pickle can run any
program when it is opened, so `read_paper_pickle` reads it with an unpickler that knows numbers, lists and
tuples, and stands plain records in for NumPy's integers and arrays; every other name is refused before
anything is called.
"""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from data_prep.convert import load_source
from data_prep.objects import LabelKind, SpeckRule, objects_of, paint
from data_prep.pack import describe_failure, labelled_slices
from data_prep.parallel import run_jobs
from data_prep.sources import Source
from graysam.cases import label_dtype, modality_of
from graysam.errors import GraySamError, PrepareError
from graysam.files import written_whole
from graysam.formats.readers import SoftMasks, check_labels, read_image
from graysam.image.geometry import CanvasFit
from graysam.store import StoreWriter, encode_image, encode_runs

SIDE_PX = 256
FORMAT = "graysam-runs-1"
IMAGES, LABELS, INDEX, SETTINGS = "imgs", "gts", "index.jsonl", "settings.json"
# The authors keep a pickle only if it is smaller than the 2-byte label map, 128 KiB; eight times that is
# generous.
LARGEST_PICKLE_BYTES = 1 << 20

Run = tuple[int, int, int]


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


# --- runs --------------------------------------------------------------------------------------------------


def runs_from_labels(labels: NDArray[Any]) -> list[Run]:
    """Give (start, length, value) of every run of a value above 0, over the rows of (H, W) labels."""
    flat = labels.ravel()
    if not flat.size:
        return []
    starts = np.flatnonzero(np.concatenate([[True], flat[1:] != flat[:-1]]))
    lengths = np.diff(np.append(starts, flat.size))
    values = flat[starts]
    return [
        (int(start), int(length), int(value))
        for start, length, value in zip(starts, lengths, values, strict=True)
        if value
    ]


def labels_from_runs(runs: Sequence[Sequence[int]], size_hw: tuple[int, int]) -> NDArray[Any]:
    """Give the (H, W) label map of `runs_from_labels`, uint8 while it fits, else uint16.

    Raises:
        PrepareError: a run that is no three whole numbers, reaches over the image, or overlaps another.
    """
    try:
        table = np.array([[int(number) for number in run] for run in runs], np.int64).reshape(-1, 3)
    except (TypeError, ValueError, OverflowError) as error:
        raise PrepareError("runs: wanted a list of (start, length, value), each a whole number.") from error
    total = size_hw[0] * size_hw[1]
    starts, lengths, values = table[:, 0], table[:, 1], table[:, 2]
    if len(table) > total or (table < 0).any() or (starts > total).any() or (lengths > total - starts).any():
        raise PrepareError(f"runs: one reaches over the image of {size_hw[0]} x {size_hw[1]} pixels.")
    order = np.argsort(starts, kind="stable")
    if (starts[order][1:] < (starts + lengths)[order][:-1]).any():
        raise PrepareError("runs: two of them overlap.")
    highest = int(values.max(initial=0))
    if highest > np.iinfo(np.uint16).max:
        raise PrepareError(f"runs: label {highest} does not fit into 16 bits.")
    flat = np.zeros(total, label_dtype(highest))
    for start, length, value in table.tolist():
        flat[start : start + length] = value
    return flat.reshape(size_hw)


# --- the store ---------------------------------------------------------------------------------------------


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


def _write_index(folder: Path, entries: Sequence[StoredSlice]) -> None:
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
    _write_index(folder, entries)
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


# --- the authors' pickles ----------------------------------------------------------------------------------


class _Dtype:
    """Stands in for numpy.dtype: knows the little-endian integers that a label map can have."""

    _KNOWN = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8")

    def __init__(self, code: object, *_: object) -> None:
        if code not in self._KNOWN:
            raise pickle.UnpicklingError("a dtype other than integers")
        self.code = str(code)

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", "|"):
            raise pickle.UnpicklingError("a dtype that is not little-endian")

    def read(self, content: object) -> NDArray[Any]:
        if not isinstance(content, bytes):
            raise pickle.UnpicklingError("numbers that are no bytes")
        return np.frombuffer(content, "<" + self.code)


class _Scalar:
    """Stands in for numpy's `scalar`, a function that gives one number."""

    def __call__(self, dtype: object, content: object) -> int:
        if not isinstance(dtype, _Dtype):
            raise pickle.UnpicklingError("a number without a dtype")
        numbers = dtype.read(content)
        if numbers.size != 1:
            raise pickle.UnpicklingError("a number of the wrong length")
        return int(numbers[0])

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("a function with a state")  # without this, a file could set attributes


class _Array:
    """Stands in for numpy.ndarray and its `_reconstruct`; holds nothing but what its state says."""

    def __init__(self, *_: object) -> None:
        self.values: NDArray[Any] = np.zeros(0, np.int64)

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise pickle.UnpicklingError("an array of an unknown kind")
        _, shape, dtype, is_fortran, content = state
        if not isinstance(dtype, _Dtype) or not isinstance(shape, tuple) or len(shape) > 2:
            raise pickle.UnpicklingError("an array of an unknown kind")
        numbers = dtype.read(content)
        self.values = numbers.reshape(shape, order="F" if is_fortran else "C")


class _RunsUnpickler(pickle.Unpickler):
    """Opens the authors' runs; nothing of NumPy or Python is called at a file's bidding, only the above."""

    def find_class(self, module: str, name: str) -> object:
        """Give a harmless stand-in for the few names that the runs need; refuse all others."""
        if (module, name) == ("numpy", "dtype"):
            return _Dtype
        if module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            if name == "scalar":
                return _Scalar()
            if name == "_reconstruct":
                return _Array
        if (module, name) == ("numpy", "ndarray"):
            return _Array
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which run lengths do not need")

    def persistent_load(self, pid: object) -> object:
        """Refuse."""
        raise pickle.UnpicklingError("it refers to something outside the file")


def read_paper_pickle(path: Path, size_hw: tuple[int, int] = (SIDE_PX, SIDE_PX)) -> NDArray[Any]:
    """Read the authors' run lengths as (H, W) labels, executing nothing.

    Raises:
        PrepareError: too large, damaged, asking for anything but numbers, or no runs of that size.
    """
    if path.stat().st_size > LARGEST_PICKLE_BYTES:
        raise PrepareError(
            f"{path.name}: wanted at most {LARGEST_PICKLE_BYTES} bytes, as the authors write; not opened."
        )
    try:
        runs = _RunsUnpickler(io.BytesIO(path.read_bytes())).load()
    except Exception as error:  # a damaged pickle raises nearly anything, from EOFError to TypeError
        raise PrepareError(f"{path.name}: refused, no plain run lengths: {error}.") from error
    if isinstance(runs, _Array):
        runs = runs.values.tolist()
    if not isinstance(runs, (list, tuple)):
        raise PrepareError(f"{path.name}: wanted a list of (start, length, value), got {type(runs).__name__}.")
    if len(runs) > size_hw[0] * size_hw[1] or not all(isinstance(run, (list, tuple)) and len(run) == 3 for run in runs):
        raise PrepareError(f"{path.name}: wanted a list of (start, length, value).")
    if not all(type(number) is int for run in runs for number in run):
        raise PrepareError(f"{path.name}: wanted whole numbers in each run.")
    return labels_from_runs([(start - 1, length, value) for start, length, value in runs if value], size_hw)


@dataclass(frozen=True, eq=False)
class _ImportJob:
    image: Path
    labels: Path
    folder: Path


def _import_one(job: _ImportJob) -> str:
    """Import one entry that is not there yet; give what went wrong, "" when nothing."""
    name = job.image.stem
    if (job.folder / LABELS / f"{name}.json").is_file():
        return ""
    try:
        image = read_image(job.image)
        if job.labels.suffix == ".npy":
            labels = check_labels(np.load(job.labels, allow_pickle=False), job.labels.name)
        else:
            labels = read_paper_pickle(job.labels, (image.shape[0], image.shape[1]))
        write_entry(job.folder, name, image, labels)
    except (GraySamError, OSError, ValueError) as error:
        return f"{name}: {error}"
    return ""


def _import_crashed(job: _ImportJob, reason: str) -> str:
    return f"{job.image.stem}: {reason}"


def import_paper_store(source: Path, folder: Path, *, workers: int) -> tuple[int, list[str]]:
    """Import imgs/*.png with gts/*.pkl (or .npy) as the authors leave them; give the number and the errors.

    The authors' files say nothing of patients: each entry is its own group, in no split; volumes' slices are
    named `<case>-<number>` and share one.
    """
    for part in (IMAGES, LABELS):
        (folder / part).mkdir(parents=True, exist_ok=True)
    jobs, errors = [], []
    for image in sorted((source / IMAGES).glob("*.png")):
        labels = next(
            (path for path in (source / LABELS / f"{image.stem}{end}" for end in (".pkl", ".npy")) if path.is_file()),
            None,
        )
        if labels is None:
            errors.append(f"{image.stem}: no run lengths in {LABELS}/; wanted {image.stem}.pkl or .npy")
        else:
            jobs.append(_ImportJob(image, labels, folder))
    entries = []
    for job, error in run_jobs(_import_one, jobs, workers=workers, what="imported", crashed=_import_crashed):
        if error:
            errors.append(error)
        else:
            entries.append(_imported_entry(job.image.stem))
    if not jobs and not errors:
        raise PrepareError(f"{source}: no {IMAGES}/*.png; wanted the folder that holds imgs/ and gts/.")
    _write_index(folder, entries)
    return len(entries), errors


def _imported_entry(name: str) -> StoredSlice:
    case, _, number = name.rpartition("-")
    is_slice = bool(case) and number.isdigit()
    group = case if is_slice else name
    dataset = "_".join(name.split("_")[:2])
    return StoredSlice(
        name,
        dataset,
        modality_of(name) or "unknown",
        group,
        group,
        "",
        "instances",
        int(number) if is_slice else -1,
        (SIDE_PX, SIDE_PX),
    )
