"""Find the images and label maps under a folder, pair them, and list what does not fit, each with a remedy.

A *data set* is a folder with one of these:

* `images/` beside `masks/` (or imgs, imagesTr, ... beside labels, labelsTr, gts, ...): pairs share their
  name, after `_0000`, `_image`, `_mask` and the like are taken off;
* `volumes/`, or the folder itself, with `x_image.nii.gz` beside `x_label.nii.gz` (or x.png beside
  x_mask.png);
* DICOM: a folder per series, with its labels as a volume file of the folder's name.

`dataset.json` beside them may state `modality` and `labels` (see objects.py). `index.csv` in the root, or up
to two folders above it, has the columns dataset, case, group, split.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from data_prep.objects import LABEL_KINDS, LabelKind
from graysam.cases import modality_of
from graysam.errors import PrepareError
from graysam.formats.readers import IMAGE_SUFFIXES, VOLUME_SUFFIXES, dicom_series, stem_of, suffix_of

INDEX_NAME = "index.csv"
DATASET_NAME = "dataset.json"
IMAGE_FOLDERS = ("images", "imgs", "image", "img", "imagestr")
LABEL_FOLDERS = ("masks", "labels", "mask", "label", "labelstr", "gts", "gt", "annotations", "segmentations")
_IMAGE_MARK = re.compile(r"[_-](image|img|0000)$", re.IGNORECASE)
_LABEL_MARK = re.compile(r"[_-](labels?|masks?|seg|segmentation|gt|lesion)$", re.IGNORECASE)
_NOT_DATA = re.compile(r"^(readme|licen[cs]e|index\.csv|dataset\.json|thumbs\.db)|^\.|\.(md|part)$", re.IGNORECASE)
LEVELS_ABOVE = 2  # "<root>/<Modality>/<data set>"

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Problem:
    """Something in the source data that somebody should look at.

    Attributes:
        severity: an "error" keeps a case out; a "warning" does not.
        kind: a short name by which problems are counted.
        where: the file or folder, relative to the root.
        what: what is wrong.
        remedy: what to do about it.
    """

    severity: Severity
    kind: str
    where: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.where}: {self.what}. {self.remedy}"


@dataclass(frozen=True)
class Source:
    """An image with its labels, not yet read.

    Attributes:
        dataset: "<Modality>/<data set>": the data set's folder below the one with index.csv.
        case: its name, without marks and suffix.
        group: the patient or source image; the case's name where nothing says more.
        split: "train", "val" or any other name that index.csv gives; "" where nothing says.
        modality: canonical name, "" when only the file can tell (DICOM).
        labels: what is one object.
        image, label: the files; `image` is a folder for DICOM.
        is_volume: whether the suffix is a volume's.
        window: an intensity window that dataset.json asks for, "" for none.
    """

    dataset: str
    case: str
    group: str
    split: str
    modality: str
    labels: LabelKind
    image: Path
    label: Path
    is_volume: bool
    window: str = ""

    @property
    def name(self) -> str:
        """Give "<data set>/<case>"."""
        return f"{self.dataset}/{self.case}"


@dataclass(frozen=True)
class Inventory:
    """What lies under a root: pairs, and problems found without opening an image."""

    root: Path
    sources: tuple[Source, ...]
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class Assumptions:
    """What the user says about data sets that do not say it themselves.

    Attributes:
        modality: canonical modality, "" for none.
        labels: what is one object, None for none.
    """

    modality: str = ""
    labels: LabelKind | None = None


@dataclass
class _Findings:
    """What is collected while walking."""

    root: Path
    sources: list[Source] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def report(self, severity: Severity, kind: str, where: Path, what: str, remedy: str) -> None:
        shown = where.relative_to(self.root).as_posix() if where.is_relative_to(self.root) else where.name
        self.problems.append(Problem(severity, kind, shown if shown != "." else where.name, what, remedy))


def find_sources(root: Path, assumptions: Assumptions | None = None) -> Inventory:
    """Find every image with labels under `root`, sorted by data set and case.

    Raises:
        PrepareError: no such folder, or an index.csv without its columns.
    """
    root = root.resolve()
    if not root.is_dir():
        raise PrepareError(f"{root}: wanted a folder with images and labels, found none; check the path.")
    findings = _Findings(root)
    anchor, index = _read_index(root)
    seen: set[tuple[str, str]] = set()
    for folder in _dataset_folders(root):
        dataset = folder.relative_to(anchor).as_posix() if folder != anchor else folder.name
        for source in _sources_in(folder, dataset, assumptions or Assumptions(), findings):
            key = (dataset, source.case)
            seen.add(key)
            row = index.get(key)
            if index and row is None:
                findings.report(
                    "warning",
                    "not in index.csv",
                    source.image,
                    "the case has no line in index.csv",
                    "Add it with its group and split; until then it is its own group and in no split.",
                )
            findings.sources.append(_with_index(source, row))
    present = {dataset for dataset, _ in seen}
    for dataset, case in index:
        if (dataset, case) not in seen and (root == anchor or dataset in present):
            findings.report(
                "error",
                "missing",
                anchor / dataset / case,
                "index.csv names this case, but no image and label pair is there",
                "Restore the files or take the line out.",
            )
    if not findings.sources and not findings.problems:
        findings.report(
            "error",
            "nothing found",
            root,
            "no image with a label map below this folder",
            "Wanted images/ beside masks/, or x_image.nii.gz beside x_label.nii.gz (data_prep/sources.py).",
        )
    return Inventory(root, tuple(findings.sources), tuple(findings.problems))


def _with_index(source: Source, row: dict[str, str] | None) -> Source:
    if row is None:
        return source
    values = {**source.__dict__, "group": row["group"], "split": row["split"]}
    return Source(**values)


def _read_index(root: Path) -> tuple[Path, dict[tuple[str, str], dict[str, str]]]:
    """Give the folder that holds index.csv (the root if there is none), and its rows by data set and case."""
    for folder in (root, *list(root.parents)[:LEVELS_ABOVE]):
        path = folder / INDEX_NAME
        if not path.is_file():
            continue
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
        wanted = {"dataset", "case", "group", "split"}
        if rows and not wanted <= set(rows[0]):
            raise PrepareError(f"{path.name}: wanted the columns {sorted(wanted)}, got {sorted(rows[0])}.")
        return folder, {(row["dataset"], row["case"]): row for row in rows}
    return root, {}


def _dataset_folders(folder: Path) -> Iterator[Path]:
    """Yield folders that hold data, top down; nothing is looked for inside one."""
    entries = sorted(folder.iterdir())
    names = {entry.name.lower() for entry in entries if entry.is_dir()}
    has_files = any(entry.is_file() and suffix_of(entry) in (*IMAGE_SUFFIXES, *VOLUME_SUFFIXES) for entry in entries)
    if (folder / DATASET_NAME).is_file() or names & {*IMAGE_FOLDERS, *LABEL_FOLDERS, "volumes"} or has_files:
        yield folder
        return
    for entry in entries:
        if entry.is_dir() and not entry.name.startswith("."):
            yield from _dataset_folders(entry)


# --- one data set ------------------------------------------------------------------------------------------


def _sources_in(folder: Path, dataset: str, assumptions: Assumptions, findings: _Findings) -> Iterator[Source]:
    facts = _read_facts(folder, findings)
    modality = _modality_for(facts, dataset, assumptions)
    labels = facts.get("labels", assumptions.labels)
    if labels is not None and labels not in LABEL_KINDS:
        findings.report(
            "error",
            "labels field",
            folder / DATASET_NAME,
            f"labels {labels!r} is none of {', '.join(LABEL_KINDS)}",
            "Correct the field.",
        )
        return
    if labels is None:
        findings.report(
            "warning",
            "labels not stated",
            folder,
            "nothing says what one object is; each number is taken as one",
            'Write dataset.json with "labels", or give --labels classes | components | instances | nested.',
        )
        labels = "classes"
    images, masks = _collect(folder, findings)
    for case in sorted(images.keys() | masks.keys()):
        pair = _pair(case, images.get(case, []), masks.get(case, []), findings)
        if pair is None:
            continue
        image, mask = pair
        if not modality and not image.is_dir():
            findings.report(
                "error",
                "modality unknown",
                image,
                "neither dataset.json nor a folder's name tells the modality",
                'Write dataset.json with "modality", or give --modality.',
            )
            continue
        is_volume = image.is_dir() or suffix_of(image) in VOLUME_SUFFIXES
        yield Source(
            dataset,
            case,
            case,
            "",
            modality,
            cast("LabelKind", labels),
            image,
            mask,
            is_volume,
            window=str(facts.get("window", "")),
        )


def _read_facts(folder: Path, findings: _Findings) -> dict[str, Any]:
    path = folder / DATASET_NAME
    if not path.is_file():
        return {}
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        findings.report("error", "dataset.json", path, f"no readable JSON: {error}", "Correct the file.")
        return {}
    return facts if isinstance(facts, dict) else {}


def _modality_for(facts: dict[str, Any], dataset: str, assumptions: Assumptions) -> str:
    stated = str(facts.get("modality", "")) or assumptions.modality
    if stated:
        return modality_of(stated) or stated
    for part in dataset.split("/"):
        found = modality_of(part)
        if found:
            return found
    return ""


def _collect(folder: Path, findings: _Findings) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
    """Give image and label files of a data set by case name."""
    images: dict[str, list[Path]] = {}
    masks: dict[str, list[Path]] = {}
    children = [entry for entry in sorted(folder.iterdir()) if not entry.name.startswith(".")]
    image_folders = [entry for entry in children if entry.is_dir() and entry.name.lower() in IMAGE_FOLDERS]
    label_folders = [entry for entry in children if entry.is_dir() and entry.name.lower() in LABEL_FOLDERS]
    mixed = [entry for entry in children if entry.is_dir() and entry.name.lower() == "volumes"]
    for entry in (entry for part in image_folders for entry in _data_entries(part, findings)):
        images.setdefault(_IMAGE_MARK.sub("", _name_of(entry)), []).append(entry)
    for entry in (entry for part in label_folders for entry in _data_entries(part, findings)):
        masks.setdefault(_LABEL_MARK.sub("", _name_of(entry)), []).append(entry)
    loose: Iterable[Path] = (entry for part in mixed for entry in _data_entries(part, findings))
    if not (image_folders or label_folders or mixed):
        loose = _data_entries(folder, findings)
    for entry in loose:
        name = _name_of(entry)
        if _LABEL_MARK.search(name):
            masks.setdefault(_LABEL_MARK.sub("", name), []).append(entry)
        else:
            images.setdefault(_IMAGE_MARK.sub("", name), []).append(entry)
    return images, masks


def _name_of(entry: Path) -> str:
    return entry.name if entry.is_dir() else stem_of(entry)


def _data_entries(folder: Path, findings: _Findings) -> Iterator[Path]:
    """Yield files that can be read and folders of DICOM files; report the rest."""
    for entry in sorted(folder.iterdir()):
        if _NOT_DATA.search(entry.name):
            continue
        if entry.is_dir():
            if dicom_series(entry):
                yield entry
            continue
        suffix = suffix_of(entry)
        if suffix in (*IMAGE_SUFFIXES, *VOLUME_SUFFIXES):
            yield entry
        elif suffix not in (".raw", ".zraw"):  # the voxels of an .mhd or .nhdr beside it
            findings.report(
                "warning",
                "wrong suffix",
                entry,
                f"{suffix or 'no suffix'!r} is no format that is read here",
                _suffix_remedy(suffix),
            )


def _suffix_remedy(suffix: str) -> str:
    if suffix == ".npz":
        return "A challenge case needs no preparation; other arrays: save them as NIfTI or PNG."
    if suffix in (".dcm", ".ima", ""):
        return "Put each DICOM series into a folder of its own."
    return f"Save it as one of {' '.join((*VOLUME_SUFFIXES[:2], '.mha', '.nrrd', *IMAGE_SUFFIXES))}."


def _pair(case: str, images: Sequence[Path], masks: Sequence[Path], findings: _Findings) -> tuple[Path, Path] | None:
    """Give the image and label file of a case, or report why there is no one pair."""
    if len(images) == 1 and len(masks) == 1:
        return images[0], masks[0]
    if not masks:
        findings.report(
            "error",
            "image without labels",
            images[0],
            "no label map of this name",
            f"Wanted {case} with a suffix for labels beside it or in the folder for labels.",
        )
    elif not images:
        findings.report(
            "error",
            "labels without image",
            masks[0],
            "no image of this name",
            f"Wanted {case} in the folder for images.",
        )
    else:
        several = images if len(images) > 1 else masks
        findings.report(
            "error",
            "several files of one name",
            several[0],
            f"{len(images)} images and {len(masks)} label maps are called {case}",
            "Keep one of each, or join the masks of one image into one label map.",
        )
    return None
