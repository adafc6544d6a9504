"""Pack sources into one training store (graysam/store.py): encoded slices, and objects as run lengths.

Images and labelled slices go in as they are, at the scale of the source, through the same windows as the
cases. Objects are those of the slice: a class is one object of the slice even if the volume has more of it
elsewhere.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from data_prep.loading import LoadedSource, load_source
from data_prep.objects import Drops, ObjectMask, SpeckRule, objects_of
from data_prep.parallel import run_jobs
from data_prep.sources import Source
from graysam.errors import GraySamError
from graysam.formats.readers import LOSSY_SUFFIXES, SoftMasks, is_stored_upright, suffix_of
from graysam.store import StoreWriter, encode_image, encode_runs

Codec = Literal["png", "jpeg"]


@dataclass(frozen=True, eq=False)
class LabelledSlice:
    """A slice with its objects.

    Attributes:
        z: number of the slice, -1 for an image.
        image: (H, W) or (H, W, 3) uint8.
        objects: in painting order, cut out of the slice.
    """

    z: int
    image: NDArray[np.uint8]
    objects: tuple[ObjectMask, ...]


@dataclass(frozen=True)
class PackSettings:
    """How a store is made.

    Attributes:
        codec: "png" is exact; "jpeg" is several times smaller, and takes JPEG sources over byte for byte.
        window: see `convert.CaseSettings`.
        specks: which pieces are dropped; the limits for images hold for slices too.
        soft_masks, strict: see `convert.CaseSettings`.
    """

    codec: Codec = "png"
    window: str = "auto"
    specks: SpeckRule = field(default_factory=SpeckRule)
    soft_masks: SoftMasks = "refuse"
    strict: bool = False


@dataclass(frozen=True, eq=False)
class PackedSource:
    """What a worker hands back for one source.

    Attributes:
        slices: arguments of `StoreWriter.add`, one set per slice.
        drops: what was left out.
        window: the intensity window and why it was chosen.
        error: why there is nothing, "" when all went well.
        warnings: what looks wrong, one line each with the source's name.
    """

    slices: tuple[dict[str, Any], ...]
    drops: Drops = field(default_factory=Drops)
    window: str = ""
    error: str = ""
    warnings: tuple[str, ...] = ()


def labelled_slices(loaded: LoadedSource, source: Source, rule: SpeckRule) -> tuple[list[LabelledSlice], Drops]:
    """Give every slice that has an object, in rising z, and what was dropped."""
    if not loaded.is_volume:
        objects, drops = objects_of(loaded.labels, source.labels, rule=rule)
        return ([LabelledSlice(-1, loaded.image, objects)] if objects else []), drops
    slices, total = [], Drops()
    for z in (int(z) for z in np.flatnonzero(loaded.labels.any(axis=(1, 2)))):
        objects, drops = objects_of(np.ascontiguousarray(loaded.labels[z]), source.labels, rule=rule)
        total += drops
        if objects:
            slices.append(LabelledSlice(z, loaded.image[z], objects))
    return slices, total


def pack_source(source: Source, settings: PackSettings) -> PackedSource:
    """Encode the slices of one source; a source that cannot be read gives an error, never raises one."""
    try:
        loaded = load_source(source, window=settings.window, soft_masks=settings.soft_masks, strict=settings.strict)
        slices, drops = labelled_slices(loaded, source, settings.specks)
        packed = tuple(
            {
                "encoded_image": _encode(part, source, loaded, settings.codec),
                "objects": [encode_runs(found.in_full(part.image.shape[:2])) for found in part.objects],
                "dataset": source.dataset,
                "modality": loaded.modality,
                "case": source.case,
                "group": source.group,
                "split": source.split,
                "size_hw": part.image.shape[:2],
                "z": part.z,
            }
            for part in slices
        )
    except Exception as error:  # one odd file must not end a run over thousands; the report tells it
        return PackedSource((), error=describe_failure(source, error))
    warnings = tuple(f"{source.name}: {what}" for what in loaded.warnings)
    return PackedSource(packed, drops, f"{loaded.window.name} ({loaded.window.why})", warnings=warnings)


def _encode(part: LabelledSlice, source: Source, loaded: LoadedSource, codec: Codec) -> bytes:
    is_jpeg = not loaded.is_volume and suffix_of(source.image) in LOSSY_SUFFIXES
    if codec == "jpeg" and is_jpeg and loaded.window.kind == "as_is" and is_stored_upright(source.image):
        return source.image.read_bytes()  # encoding a JPEG again would only lose
    return encode_image(np.ascontiguousarray(part.image), codec)


@dataclass(frozen=True, eq=False)
class _Job:
    source: Source
    settings: PackSettings


def _run(job: _Job) -> PackedSource:
    return pack_source(job.source, job.settings)


def _crashed(job: _Job, reason: str) -> PackedSource:
    return PackedSource((), error=f"{job.source.name}: {reason}")


@dataclass(frozen=True)
class PackReport:
    """What became of the sources.

    Attributes:
        slices, objects: how many the store holds.
        drops: what was left out.
        windows: how many sources of a data set went through which intensity window.
        errors: one line per source that could not be used.
        warnings: what looks wrong with sources that were used, a line each.
    """

    slices: int
    objects: int
    drops: Drops
    windows: dict[str, dict[str, int]]
    errors: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def pack(sources: Sequence[Source], out: Path, settings: PackSettings, *, workers: int) -> PackReport:
    """Write the store of all sources, each with a split, and `<store>.report.json` beside it.

    The store takes its name only when it is whole; the report holds the settings and what `PackReport` holds.
    """
    slices = objects = 0
    drops = Drops()
    errors: list[str] = []
    warnings: list[str] = []
    windows: dict[str, Counter[str]] = defaultdict(Counter)
    jobs = [_Job(source, settings) for source in sources]
    with StoreWriter(out) as writer:
        for job, packed in run_jobs(_run, jobs, workers=workers, what="packed", crashed=_crashed):
            drops += packed.drops
            warnings += packed.warnings
            if packed.error:
                errors.append(packed.error)
            else:
                windows[job.source.dataset][packed.window] += 1
            for arguments in packed.slices:
                writer.add(**arguments)
                slices += 1
                objects += len(arguments["objects"])
    counted = {dataset: dict(counts) for dataset, counts in windows.items()}
    report = PackReport(slices, objects, drops, counted, tuple(errors), tuple(warnings))
    record = {"settings": asdict(settings), **asdict(report)}
    out.with_name(out.name + ".report.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    return report


def describe_failure(source: Source, error: Exception) -> str:
    """Give a line that names the source and the cause; an error that is not ours is named by its type too."""
    cause = str(error) if isinstance(error, GraySamError) else f"{type(error).__name__}: {error}"
    return f"{source.name}: {cause}"
