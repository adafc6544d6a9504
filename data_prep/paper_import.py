"""Imports the training store as its authors leave it: imgs/<name>.png with gts/<name>.pkl or .npy.

Their pickles hold the runs of `data_prep.label_runs`, starts counted from 1 and background runs among them. A pickle
can run any program when it is opened, so these are read by `graysam.formats.plain_pickle`, which runs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.label_runs import labels_from_runs
from data_prep.paper_store import IMAGES, LABELS, SIDE_PX, StoredSlice, write_entry, write_index
from data_prep.parallel import run_jobs
from graysam.cases import modality_of
from graysam.errors import GraySamError, PrepareError
from graysam.formats.plain_pickle import PickleError, read_plain
from graysam.formats.readers import check_labels, read_image

# The authors keep a pickle only if it is smaller than the 2-byte label map, 128 KiB; eight times that is generous.
LARGEST_PICKLE_BYTES = 1 << 20


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
        runs = read_plain(path.read_bytes())
    except PickleError as error:
        raise PrepareError(f"{path.name}: refused, no plain run lengths: {error}.") from error
    if isinstance(runs, np.ndarray):
        runs = runs.tolist()
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
    write_index(folder, entries)
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
