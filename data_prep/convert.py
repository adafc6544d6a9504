"""Make challenge cases: `inputs/2DBox_<Modality>_<id>.npz`, and the labels under the same name in `gts/`.

`manifest.jsonl` next to them says of every case where it came from, which intensity window was used and why,
how the axes run, and what was dropped. Its first line holds the settings. A run that was cut short is
continued by the same command: cases whose line and files are there are left alone, and other settings are
refused.
"""

from __future__ import annotations

import json
import logging
import os
import re
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.objects import Drops, ObjectMask, SpeckRule, image_box, objects_of, paint, volume_box
from data_prep.parallel import run_jobs
from data_prep.sources import Source
from graysam.boxes import Box, VolumeBox
from graysam.errors import GraySamError, PrepareError
from graysam.formats.image_volume import DICOM_MODALITIES
from graysam.formats.npz import write_case, write_reference
from graysam.formats.readers import (
    ShapeMismatchError,
    SoftMasks,
    Units,
    read_label_picture,
    read_label_volume,
    read_picture,
    read_volume,
)
from graysam.image.windows import Window, apply_window, choose_window, doubts, parse_window
from graysam.noisy_boxes import loosened

logger = logging.getLogger(__name__)

# A file's name may have 255 bytes; dimension, modality, sum and suffix are added.
LONGEST_IDENTITY = 200
INPUTS, REFERENCES, MANIFEST = "inputs", "gts", "manifest.jsonl"

# The challenge's own word where it differs from the canonical one (peers' name tables).
_NAME_IN_FILES = {"Microscopy": "Microscope"}


@dataclass(frozen=True)
class CaseSettings:
    """How cases are made.

    Attributes:
        box_margin: boxes are moved outwards by a random 0..this many pixels of a 256-pixel image on each
            side.
        seed: of the random margins; each case draws its own from this and its name, whatever the order.
        window: "auto", or what `windows.parse_window` reads.
        specks: which pieces are dropped.
        soft_masks: whether a smoothed mask of one object is refused or cut at half.
        strict: whether a source with a warning gives no case.
    """

    box_margin: int = 5
    seed: int = 0
    window: str = "auto"
    specks: SpeckRule = field(default_factory=SpeckRule)
    soft_masks: SoftMasks = "refuse"
    strict: bool = False

    def __post_init__(self) -> None:
        if self.box_margin < 0:
            raise PrepareError(f"box margin {self.box_margin}: wanted 0 or more.")
        if self.window != "auto":
            parse_window(self.window)

    def as_record(self) -> dict[str, Any]:
        """Give what decides about a case's content; `soft_masks` only where it is not the usual."""
        record = asdict(self)
        del record["strict"]
        if self.soft_masks == "refuse":
            del record["soft_masks"]
        return record

    def random_for(self, name: str) -> np.random.Generator:
        """Give a generator that depends on the seed and the name alone."""
        return np.random.default_rng([self.seed, zlib.crc32(os.fsencode(name))])


@dataclass(frozen=True, eq=False)
class RawSource:
    """An image and its labels as the files have them.

    Attributes:
        image: (H, W), (H, W, 3) or (D, H, W), of the file's dtype and range.
        labels: (H, W) or (D, H, W) unsigned integers, on the image's grid.
        is_volume: whether the arrays are (D, H, W).
        modality: canonical name, "" when nothing tells it.
        units: what the values mean.
        spacing_mm: z, y, x; None for images.
        axes: see `grids.Grid.axes`; "" for images.
        notes: what was decided on the way.
        warnings: what looks wrong; `--strict` makes it fatal.
    """

    image: NDArray[Any]
    labels: NDArray[Any]
    is_volume: bool
    modality: str
    units: Units = "unknown"
    spacing_mm: tuple[float, float, float] | None = None
    axes: str = ""
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class LoadedSource:
    """A source ready for use: intensities as 0..255, labels beside them.

    Attributes:
        image: (H, W), (H, W, 3) or (D, H, W) uint8.
        labels, is_volume, modality, spacing_mm, axes, notes, warnings: see `RawSource`.
        window: how the intensities were brought to 0..255.
    """

    image: NDArray[np.uint8]
    labels: NDArray[Any]
    is_volume: bool
    modality: str
    spacing_mm: tuple[float, float, float] | None
    axes: str
    window: Window
    notes: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def read_source(source: Source, *, soft_masks: SoftMasks = "refuse") -> RawSource:
    """Read an image and its labels, untouched.

    Raises:
        ShapeMismatchError: they do not lie on one grid.
        PrepareError: unreadable, or a volume in colours.
    """
    raw = _read_volume_source(source, soft_masks) if source.is_volume else _read_picture_source(source, soft_masks)
    if raw.image.ndim == 4:
        raise PrepareError(f"{source.name}: a volume in colours, shape {raw.image.shape}; save one gray channel.")
    wanted = raw.image.shape if raw.is_volume else raw.image.shape[:2]
    if raw.labels.shape != wanted:
        turned = "".join(f" ({note})" for note in raw.notes if "EXIF" in note)
        raise ShapeMismatchError(
            f"{source.name}: image {wanted} and labels {raw.labels.shape} differ in shape{turned}; export both from "
            "one grid."
        )
    return _without_ignored(raw, source)


def _read_volume_source(source: Source, soft_masks: SoftMasks) -> RawSource:
    volume = read_volume(source.image)
    labels, label_notes, label_warnings = read_label_volume(source.label, volume, soft_masks=soft_masks)
    modality = source.modality or DICOM_MODALITIES.get(volume.modality, "")
    notes, warnings = (*volume.notes, *label_notes), (*volume.warnings, *label_warnings)
    # One DICOM picture (an X-ray, say) comes as a volume of one slice; it is an image.
    if volume.is_picture:
        return RawSource(volume.array[0], labels[0], False, modality, volume.units, notes=notes, warnings=warnings)
    return RawSource(
        volume.array, labels, True, modality, volume.units, volume.spacing_mm, volume.axes, notes, warnings
    )


def _read_picture_source(source: Source, soft_masks: SoftMasks) -> RawSource:
    picture = read_picture(source.image)
    mask = read_label_picture(source.label, soft_masks=soft_masks)
    notes, warnings = (*picture.notes, *mask.notes), (*picture.warnings, *mask.warnings)
    return RawSource(picture.array, mask.array, False, source.modality, notes=notes, warnings=warnings)


def _without_ignored(raw: RawSource, source: Source) -> RawSource:
    """Give the source with the numbers that mean "ignore" as background."""
    ignored = np.isin(raw.labels, source.ignored_labels) if source.ignored_labels else None
    if ignored is None or not ignored.any():
        return raw
    note = f"{int(ignored.sum())} pixels or voxels of the label 'ignore' taken as background"
    return replace(raw, labels=np.where(ignored, 0, raw.labels).astype(raw.labels.dtype), notes=(*raw.notes, note))


def load_source(
    source: Source, *, window: str = "auto", soft_masks: SoftMasks = "refuse", strict: bool = False
) -> LoadedSource:
    """Read an image and its labels, and bring the intensities to 0..255.

    Raises:
        PrepareError: see `read_source`; also for an unknown modality, and with `strict` for any warning.
    """
    raw = read_source(source, soft_masks=soft_masks)
    if not raw.modality:
        raise PrepareError(f"{source.name}: the modality is not known; give --modality or write dataset.json.")
    asked = window if window != "auto" else source.window
    chosen = parse_window(asked) if asked else window_for(raw, source)
    warnings = (*raw.warnings, *doubts_of(raw, source, chosen))
    if strict and warnings:
        raise PrepareError(f"{'; '.join(warnings)} (--strict makes this fatal)")
    image, applied = apply_window(raw.image, chosen)
    return LoadedSource(
        image, raw.labels, raw.is_volume, raw.modality, raw.spacing_mm, raw.axes, applied, raw.notes, warnings
    )


def window_for(raw: RawSource, source: Source) -> Window:
    """Choose the intensity window of a source that asks for none."""
    return choose_window(raw.image, modality=raw.modality, is_volume=raw.is_volume, named=source.name, units=raw.units)


def doubts_of(raw: RawSource, source: Source, window: Window) -> tuple[str, ...]:
    """Give what makes the intensities doubtful, in words; see `windows.doubts`."""
    return doubts(raw.image, modality=raw.modality, is_volume=raw.is_volume, units=raw.units, window=window)


# --- one case ----------------------------------------------------------------------------------------------


def case_name(source: Source, loaded: LoadedSource, identity: str = "") -> str:
    """Give the challenge's name: dimension, modality, and the identity (by default as `identity_of` gives it)."""
    token = _NAME_IN_FILES.get(loaded.modality, loaded.modality)
    return f"{'3D' if loaded.is_volume else '2D'}Box_{token}_{identity or identity_of(source)}"


def identity_of(source: Source) -> str:
    """Give data set and case in letters that any system takes.

    Letters beyond ASCII cannot be spelt so; a name that has some ends with a sum of the whole name, so that two names
    stay two.
    """
    name = f"{Path(source.dataset).name}_{source.case}"
    plain = _in_plain_letters(name)
    if len(plain) > LONGEST_IDENTITY:
        return f"{plain[:LONGEST_IDENTITY]}_{_sum_of(name)}"
    return plain if name.isascii() else f"{plain}_{_sum_of(source.case)}".strip("_")


def _in_plain_letters(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]+", "_", name).strip("_")


def _sum_of(name: str) -> str:
    return f"{zlib.crc32(os.fsencode(name)):08x}"


def identities_of(sources: Sequence[Source]) -> dict[str, str]:
    """Give each source's identity by its name; where two would be the same, those that were spelt anew get a sum."""
    groups: dict[tuple[bool, str, str], list[Source]] = defaultdict(list)
    for source in sources:
        groups[source.is_volume, source.modality, identity_of(source).lower()].append(source)
    identities = {}
    for group in groups.values():
        for source in group:
            plain = identity_of(source)
            as_it_is = plain == f"{Path(source.dataset).name}_{source.case}"
            spelt = plain if len(group) == 1 or as_it_is else f"{plain}_{_sum_of(source.name)}"
            identities[source.name] = spelt
    return identities


def boxes_for(
    objects: Sequence[ObjectMask],
    *,
    is_volume: bool,
    size_hw: tuple[int, int],
    margin: int,
    random: np.random.Generator,
) -> list[Box] | list[VolumeBox]:
    """Give the prompt of every object, in the same order: tight, then loosened by the random margin."""
    if not is_volume:
        return [loosened(image_box(found), margin=margin, size_hw=size_hw, rng=random) for found in objects]
    tight = [volume_box(found) for found in objects]
    return [
        VolumeBox(loosened(box.box, margin=margin, size_hw=size_hw, rng=random), box.z_min, box.z_max) for box in tight
    ]


@dataclass(frozen=True)
class CaseRecord:
    """A line of the manifest.

    Attributes:
        source: "<data set>/<case>".
        case: name of the file made, "" when none was.
        group, split: see `sources.Source`.
        error: why there is no case, "" when there is one.
        details: window, axes, spacing, objects and drops, as plain values.
    """

    source: str
    case: str = ""
    group: str = ""
    split: str = ""
    error: str = ""
    details: dict[str, Any] = field(default_factory=dict)


def make_case(source: Source, out: Path, settings: CaseSettings, identity: str = "") -> CaseRecord:
    """Write one case and its reference; a source that gives none is recorded with the reason, not raised."""
    try:
        loaded = load_source(source, window=settings.window, soft_masks=settings.soft_masks, strict=settings.strict)
        objects, drops = objects_of(loaded.labels, source.labels, rule=settings.specks, spacing_mm=loaded.spacing_mm)
        if not objects:
            reason = "every object is smaller than a speck" if drops.objects else "the label map is empty"
            return CaseRecord(source.name, "", source.group, source.split, f"no object: {reason}", _drops_record(drops))
        name = case_name(source, loaded, identity)
        size_hw = (loaded.labels.shape[-2], loaded.labels.shape[-1])
        boxes = boxes_for(
            objects,
            is_volume=loaded.is_volume,
            size_hw=size_hw,
            margin=settings.box_margin,
            random=settings.random_for(name),
        )
        image = loaded.image
        if not loaded.is_volume and image.ndim == 2:
            image = np.repeat(image[:, :, None], 3, axis=2)  # the challenge's images always have three channels
        file_name = f"{name}.npz"
        # The reference goes first: a case in inputs/ is then never without one.
        write_reference(out / REFERENCES / file_name, paint(objects, loaded.labels.shape), spacing_mm=loaded.spacing_mm)
        write_case(out / INPUTS / file_name, image=image, boxes=boxes, spacing_mm=loaded.spacing_mm)
        details = _details(loaded, objects, drops)
    except GraySamError as error:
        return CaseRecord(source.name, "", source.group, source.split, str(error))
    except Exception as error:  # one odd file must not end a run over thousands; the record tells it
        return CaseRecord(source.name, "", source.group, source.split, f"{type(error).__name__}: {error}")
    return CaseRecord(source.name, name, source.group, source.split, "", details)


def _details(loaded: LoadedSource, objects: Sequence[ObjectMask], drops: Drops) -> dict[str, Any]:
    return {
        "shape": list(loaded.image.shape),
        "spacing_mm_zyx": list(loaded.spacing_mm) if loaded.spacing_mm else None,
        "axes_xyz": loaded.axes,
        "window": loaded.window.as_record(),
        "source_values": [found.value for found in objects],
        "notes": list(loaded.notes),
        "warnings": list(loaded.warnings),
        **_drops_record(drops),
    }


def _drops_record(drops: Drops) -> dict[str, Any]:
    return {"dropped": asdict(drops)}


# --- many cases --------------------------------------------------------------------------------------------


def select(
    sources: Sequence[Source],
    *,
    split: str = "",
    limit: int | None = None,
    seed: int = 0,
    datasets: str = "*",
) -> list[Source]:
    """Choose sources of a split, of data sets whose name fits a pattern, and at most `limit` of a kind.

    A kind is a modality and dimension; its share is drawn at random, in turn from each of its data sets, so
    that a small share still shows many of them. The result keeps the order of `sources`.
    """
    chosen = [
        source for source in sources if (not split or source.split == split) and fnmatch(source.dataset, datasets)
    ]
    if limit is None:
        return chosen
    kept: set[str] = set()
    kinds: dict[tuple[str, bool], list[Source]] = defaultdict(list)
    for source in chosen:
        kinds[source.modality, source.is_volume].append(source)
    for kind in sorted(kinds):
        random = np.random.default_rng([seed, zlib.crc32(repr(kind).encode())])
        kept.update(source.name for source in _in_turn(kinds[kind], random)[:limit])
    return [source for source in chosen if source.name in kept]


def _in_turn(sources: Sequence[Source], random: np.random.Generator) -> list[Source]:
    """Give the sources so that data sets take turns, both in random order."""
    ranks: dict[str, int] = defaultdict(int)
    placed: list[tuple[int, int, Source]] = []
    for place in random.permutation(len(sources)):
        source = sources[int(place)]
        placed.append((ranks[source.dataset], len(placed), source))
        ranks[source.dataset] += 1
    return [source for _, _, source in sorted(placed, key=lambda item: item[:2])]


@dataclass(frozen=True, eq=False)
class _Job:
    source: Source
    out: Path
    settings: CaseSettings
    identity: str


def _run(job: _Job) -> CaseRecord:
    return make_case(job.source, job.out, job.settings, job.identity)


def _crashed(job: _Job, reason: str) -> CaseRecord:
    return CaseRecord(job.source.name, "", job.source.group, job.source.split, reason)


def make_cases(
    sources: Sequence[Source], out: Path, settings: CaseSettings, *, workers: int, overwrite: bool = False
) -> Iterator[CaseRecord]:
    """Write the cases of all sources into `out`; yield a record of each, also of those already there.

    Raises:
        PrepareError: `out` holds cases made with other settings, or two sources have one name.
    """
    for part in (INPUTS, REFERENCES):
        (out / part).mkdir(parents=True, exist_ok=True)
    _refuse_doubles(sources)
    identities = identities_of(sources)
    header = {"settings": settings.as_record()}
    done = {} if overwrite else _read_manifest(out, header)
    todo = []
    for source in sources:
        record = done.get(source.name)
        if record is not None and _is_there(out, record):
            yield record
        else:
            todo.append(_Job(source, out, settings, identities[source.name]))
    if done:
        logger.info("%d of %d cases were there already", len(sources) - len(todo), len(sources))
    mode = "a" if done else "w"
    with (out / MANIFEST).open(mode, encoding="utf-8") as manifest:
        if not done:
            manifest.write(json.dumps(header) + "\n")
        for _, record in run_jobs(_run, todo, workers=workers, what="cases", crashed=_crashed):
            manifest.write(json.dumps(asdict(record)) + "\n")
            manifest.flush()
            yield record


def _refuse_doubles(sources: Sequence[Source]) -> None:
    seen: dict[str, Source] = {}
    for source in sources:
        other = seen.setdefault(source.name, source)
        if other is not source:
            raise PrepareError(f"{source.image} and {other.image} are both called {source.name}; rename one of them.")


def _is_there(out: Path, record: CaseRecord) -> bool:
    if not record.case:
        return bool(record.error)
    return all((out / part / f"{record.case}.npz").is_file() for part in (INPUTS, REFERENCES))


def _read_manifest(out: Path, header: dict[str, Any]) -> dict[str, CaseRecord]:
    """Give the records of an earlier run by source; a line that was cut off in writing does not count."""
    path = out / MANIFEST
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8").split("\n")
    if not path.read_text(encoding="utf-8").endswith("\n"):
        path.write_text("\n".join(lines[:-1]) + ("\n" if len(lines) > 1 else ""), encoding="utf-8")
    records = [json.loads(line) for line in lines[:-1]]
    if records and records[0] != json.loads(json.dumps(header)):
        raise PrepareError(
            f"{out}: holds cases made with other settings; choose another folder, or --overwrite to make all anew."
        )
    return {record["source"]: CaseRecord(**record) for record in records[1:]}
