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
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.loading import LoadedSource, load_source
from data_prep.naming import case_name, identities_of
from data_prep.objects import Drops, ObjectMask, SpeckRule, image_box, objects_of, paint, volume_box
from data_prep.parallel import run_jobs
from data_prep.sources import Source
from graysam.boxes import Box, VolumeBox
from graysam.errors import GraySamError, PrepareError
from graysam.formats.npz import write_case, write_reference
from graysam.formats.readers import SoftMasks
from graysam.image.windows import parse_window
from graysam.noisy_boxes import loosened

logger = logging.getLogger(__name__)

INPUTS, REFERENCES, MANIFEST = "inputs", "gts", "manifest.jsonl"


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
