"""Find the images and label maps under a folder, pair them, and list what does not fit, each with a remedy.

A *data set* is a folder with one of these:

* `images/` next to `masks/` (or imgs, imagesTr, ... next to labels, labelsTr, gts, ...): pairs share their
  name, after `_0000`, `_image`, `_mask` and the like are taken off; sub-folders (one per patient, say) count to the
  name on both sides;
* `volumes/`, or the folder itself, with `x_image.nii.gz` next to `x_label.nii.gz` (or x.png next
  to x_mask.png);
* DICOM: a folder per series (its files may lie deeper), or a file per picture, with its labels as a volume file or
  picture of that name.

`dataset.json` beside them may state `modality` and `labels` (see objects.py); those of the Medical Segmentation
Decathlon and of nnU-Net are understood. What the user says on the command line wins over it. `index.csv` in the root,
or up to two folders above it, has the columns dataset, case, group, split.
"""

from __future__ import annotations

import csv
import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from data_prep.objects import LABEL_KINDS, LabelKind
from graysam.cases import modality_of
from graysam.errors import PrepareError
from graysam.formats.readers import (
    DICOM_SUFFIXES,
    IMAGE_SUFFIXES,
    VOLUME_SUFFIXES,
    dicom_files,
    is_dicom,
    stem_of,
    suffix_of,
)

INDEX_NAME = "index.csv"
DATASET_NAME = "dataset.json"
IMAGE_FOLDERS = ("images", "imgs", "image", "img", "imagestr")
LABEL_FOLDERS = (
    "masks", "labels", "mask", "label", "labelstr", "gts", "gt", "annotations", "annotation", "segmentations",
    "segmentation", "segs", "seg", "groundtruth", "ground_truth",
)  # fmt: skip
# Test images of the Decathlon and nnU-Net come without labels, unless their maker adds a folder for them.
TEST_FOLDERS = {"imagests": "labelsts", "imagesval": "labelsval"}
_IMAGE_MARK = re.compile(r"(^|[_-])(image|img|0000)$", re.IGNORECASE)
_LABEL_MARK = re.compile(
    r"(^|[_-])(labels?|masks?|seg|segmentation|gt|ground[_-]?truth|annotation|lesion)$", re.IGNORECASE
)
_CHANNEL = re.compile(r"_(\d{4})$")  # nnU-Net: one file per channel of an image
_NOT_DATA = re.compile(r"^(readme|licen[cs]e|index\.csv|dataset\.json|thumbs\.db)|^\.|\.(md|part)$", re.IGNORECASE)
LEVELS_ABOVE = 2  # "<root>/<Modality>/<data set>"

# A note says what was done; --strict makes warnings and errors fatal, not notes.
Severity = Literal["error", "warning", "note"]

# What the Decathlon and nnU-Net call their channels.
_FOREIGN_MODALITIES = (("MR", re.compile(r"^(mri?|t1|t2|flair|adc|dwi|pd|swi)", re.IGNORECASE)),)


@dataclass(frozen=True)
class Problem:
    """Something in the source data that somebody should look at.

    Attributes:
        severity: an "error" keeps a case out; a "warning" does not, but somebody should look; a "note" says what was
            done.
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
        stop = "" if self.what.endswith(("?", ".")) else "."
        return f"{self.severity}: {self.where}: {self.what}{stop} {self.remedy}"


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
        ignored_labels: numbers that mean "leave out" (nnU-Net's label `ignore`); they become background.
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
    ignored_labels: tuple[int, ...] = ()

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
    """What the user says about the data sets; it wins over what their files say.

    Attributes:
        modality: canonical modality, "" for none.
        labels: what is one object, None for none.
    """

    modality: str = ""
    labels: LabelKind | None = None


@dataclass
class _Findings:
    """What is collected on the way through the folders."""

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
    for folder in _dataset_folders(root, findings):
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
        with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            rows = list(csv.DictReader(file))
        wanted = {"dataset", "case", "group", "split"}
        if rows and not wanted <= set(rows[0]):
            raise PrepareError(f"{path.name}: wanted the columns {sorted(wanted)}, got {sorted(rows[0])}.")
        return folder, {(row["dataset"], row["case"]): row for row in rows}
    return root, {}


def _dataset_folders(folder: Path, findings: _Findings) -> Iterator[Path]:
    """Yield folders that hold data, top down; nothing is looked for inside one."""
    entries = _entries(folder)
    folders = [entry for entry in entries if entry.is_dir()]
    names = {entry.name.lower() for entry in folders}
    if (
        (folder / DATASET_NAME).is_file()
        or "volumes" in names
        or (names & {*IMAGE_FOLDERS} and names & {*LABEL_FOLDERS})
    ):
        yield folder
        return
    loose = [entry for entry in entries if entry.is_file() and suffix_of(entry) in (*IMAGE_SUFFIXES, *VOLUME_SUFFIXES)]
    if any(_LABEL_MARK.search(stem_of(entry)) for entry in loose):
        yield folder
        return
    below = [found for entry in folders for found in _dataset_folders(entry, findings)]
    lone = [entry for entry in folders if entry.name.lower() in (*IMAGE_FOLDERS, *LABEL_FOLDERS)]
    elsewhere = [found for found in below if not any(found.is_relative_to(entry) for entry in lone)]
    if not elsewhere:
        if loose or lone:
            yield folder
        return
    if loose:  # a preview or a figure beside the data sets
        what = f"{len(loose)} files ({loose[0].name}) beside folders of data sets, without label maps"
        findings.report("note", "skipped", folder, what, "Put them into images/ and masks/ if they are data.")
    for entry in lone:
        what = "a folder without its counterpart (images/ or masks/) beside folders of data sets"
        findings.report("warning", "skipped", entry, what, "Put both into a folder of their own if they are data.")
    yield from elsewhere


def _entries(folder: Path) -> list[Path]:
    return [entry for entry in sorted(folder.iterdir()) if not entry.name.startswith(".")]


# --- one data set ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Facts:
    """What is known of a data set before its files are looked at.

    Attributes:
        modality: canonical name, "" when nothing tells it.
        labels: what is one object.
        window: see `Source.window`.
        ignored: see `Source.ignored_labels`.
        has_channels: whether names end with nnU-Net's number of a channel.
    """

    modality: str
    labels: LabelKind
    window: str = ""
    ignored: tuple[int, ...] = ()
    has_channels: bool = False


def _sources_in(folder: Path, dataset: str, assumptions: Assumptions, findings: _Findings) -> Iterator[Source]:
    facts = _facts_of(folder, dataset, assumptions, findings)
    if facts is None:
        return
    images, masks = _collect(folder, findings, has_channels=facts.has_channels)
    for case in sorted(images.keys() | masks.keys()):
        pair = _pair(case, images.get(case, []), masks.get(case, []), findings)
        if pair is None:
            continue
        image, mask = pair
        is_picture = suffix_of(image) in IMAGE_SUFFIXES and not image.is_dir()
        is_file_that_tells = image.is_dir() or suffix_of(image) not in (*IMAGE_SUFFIXES, *VOLUME_SUFFIXES)
        if not facts.modality and not is_file_that_tells:
            findings.report(
                "error",
                "modality unknown",
                image,
                "neither dataset.json nor a folder's name tells the modality",
                'Write dataset.json with "modality", or give --modality.',
            )
            continue
        yield Source(
            dataset,
            case.replace("/", "_"),
            case.split("/")[0],
            "",
            facts.modality,
            facts.labels,
            image,
            mask,
            not is_picture,
            window=facts.window,
            ignored_labels=facts.ignored,
        )


def _facts_of(folder: Path, dataset: str, assumptions: Assumptions, findings: _Findings) -> _Facts | None:
    """Give what dataset.json, the folder's name and the user say; None when they make no sense."""
    stated = _read_facts(folder, findings)
    labels = assumptions.labels or stated.get("labels")
    ignored: tuple[int, ...] = ()
    if isinstance(labels, dict):  # the Decathlon's and nnU-Net's names of classes
        labels, ignored = "classes", _ignored_labels(stated["labels"])
    elif isinstance(stated.get("labels"), dict):
        ignored = _ignored_labels(stated["labels"])
    if labels is not None and labels not in LABEL_KINDS:
        findings.report(
            "error",
            "labels field",
            folder / DATASET_NAME,
            f"labels {labels!r} is none of {', '.join(LABEL_KINDS)}",
            "Correct the field, or give --labels.",
        )
        return None
    if labels is None:
        findings.report(
            "warning",
            "labels not stated",
            folder,
            "nothing says what one object is; each number is taken as one",
            'Write dataset.json with "labels", or give --labels classes | components | instances | nested.',
        )
        labels = "classes"
    channels = stated.get("channel_names", stated.get("modality"))
    is_nnunet = isinstance(stated.get("channel_names"), dict)
    return _Facts(
        _modality_for(channels if isinstance(channels, dict) else stated.get("modality"), dataset, assumptions),
        cast("LabelKind", labels),
        str(stated.get("window", "")),
        ignored,
        is_nnunet,
    )


def _ignored_labels(names: dict[str, Any]) -> tuple[int, ...]:
    """Give the numbers of a label called `ignore`: nnU-Net writes {name: number}, the Decathlon {number: name}."""
    found = []
    for key, value in names.items():
        number, name = (value, key) if isinstance(value, int) else (key, value)
        if str(name).lower() == "ignore" and str(number).isdigit() and int(number) > 0:
            found.append(int(number))
    return tuple(found)


def _read_facts(folder: Path, findings: _Findings) -> dict[str, Any]:
    path = folder / DATASET_NAME
    if not path.is_file():
        return {}
    try:
        facts = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        findings.report("error", "dataset.json", path, f"no readable JSON: {error}", "Correct the file.")
        return {}
    return facts if isinstance(facts, dict) else {}


def _modality_for(stated: object, dataset: str, assumptions: Assumptions) -> str:
    """Give the canonical modality: the user's, else dataset.json's (a word, or channels' names), else the folder's."""
    if assumptions.modality:
        return modality_of(assumptions.modality) or assumptions.modality
    words = [str(word) for word in stated.values()] if isinstance(stated, dict) else [str(stated or "")]
    for word in words:
        for modality, pattern in _FOREIGN_MODALITIES:
            if pattern.search(word):
                return modality
        if modality_of(word):
            return str(modality_of(word))
    if words[0] and not isinstance(stated, dict):
        return words[0]
    for part in dataset.split("/"):
        found = modality_of(part)
        if found:
            return found
    return ""


Named = dict[str, list[Path]]


def _collect(folder: Path, findings: _Findings, *, has_channels: bool) -> tuple[Named, Named]:
    """Give image and label files of a data set by case name; a sub-folder stands in it before a "/"."""
    images: Named = {}
    masks: Named = {}
    children = [entry for entry in _entries(folder) if entry.is_dir()]
    by_name = {entry.name.lower(): entry for entry in children}
    image_folders = [entry for entry in children if entry.name.lower() in IMAGE_FOLDERS]
    label_folders = [entry for entry in children if entry.name.lower() in LABEL_FOLDERS]
    for tests, labels in TEST_FOLDERS.items():
        if tests in by_name and labels in by_name:
            image_folders.append(by_name[tests])
            label_folders.append(by_name[labels])
        elif tests in by_name and image_folders:
            findings.report(
                "note", "skipped", by_name[tests], "test images without labels", f"Add {labels}/ to use them."
            )
    mixed = [entry for entry in children if entry.name.lower() == "volumes"]
    for part in image_folders:
        for found in _data_entries(part, findings):
            images.setdefault(found.case(_IMAGE_MARK), []).append(found.path)
    for part in label_folders:
        for found in _data_entries(part, findings):
            masks.setdefault(found.case(_LABEL_MARK), []).append(found.path)
    loose = mixed if mixed or image_folders or label_folders else [folder]
    for part in loose:
        for found in _data_entries(part, findings, deep=part is not folder):
            is_label = _LABEL_MARK.search(found.name) or ".seg." in suffix_of(found.path)
            case = found.case(_LABEL_MARK if is_label else _IMAGE_MARK, alone=found.path.parent.name)
            (masks if is_label else images).setdefault(case, []).append(found.path)
    if has_channels:
        images = _first_channels(images, masks, findings)
    return images, masks


@dataclass(frozen=True)
class _Entry:
    """A file, or a folder of a DICOM series.

    Attributes:
        prefix: the sub-folders before it, each with a "/".
        name: its name without suffix; of a series that lies deeper, the upper folder's.
        path: where it is.
    """

    prefix: str
    name: str
    path: Path

    def case(self, mark: re.Pattern[str], *, alone: str = "") -> str:
        """Give the case's name without its mark; where the name is nothing but a mark, the sub-folder's, or `alone`."""
        # macOS writes an accent as a letter of its own: image and mask may differ in that alone.
        bare = mark.sub("", self.name)
        whole = self.prefix + (bare or alone or self.name) if bare or not self.prefix else self.prefix.rstrip("/")
        return unicodedata.normalize("NFC", whole)


def _first_channels(images: Named, masks: Named, findings: _Findings) -> Named:
    """Give the images of nnU-Net with the first channel of each case alone."""
    kept: Named = {}
    for case, entries in images.items():
        match = _CHANNEL.search(case)
        if match and case not in masks and case[: match.start()] in masks:
            if match[1] != "0000":
                what = f"channel {match[1]} is left out; a case has one channel, the first"
                findings.report(
                    "warning", "channel left out", entries[0], what, "Make a data set of it if it is wanted."
                )
                continue
            case = case[: match.start()]
        kept.setdefault(case, []).extend(entries)
    return kept


def _data_entries(folder: Path, findings: _Findings, *, deep: bool = True, prefix: str = "") -> Iterator[_Entry]:
    """Yield files that can be read and folders of DICOM files; report the rest.

    Args:
        folder: where to look.
        findings: gets what is skipped.
        deep: whether sub-folders are looked into.
        prefix: names of the folders above, each with a "/".
    """
    loose_dicom: list[Path] = []
    for entry in _entries(folder):
        if _NOT_DATA.search(entry.name):
            continue
        if entry.is_dir():
            yield from _folder_entries(entry, findings, prefix, deep=deep)
            continue
        suffix = suffix_of(entry)
        if suffix in (*IMAGE_SUFFIXES, *VOLUME_SUFFIXES):
            yield _Entry(prefix, stem_of(entry), entry)
        elif suffix in (*DICOM_SUFFIXES, "") and is_dicom(entry):
            loose_dicom.append(entry)
        elif suffix not in (".raw", ".zraw") and not _is_voxels(entry):
            findings.report(
                "warning",
                "wrong suffix",
                entry,
                f"{suffix or 'no suffix'!r} is no format that is read here",
                _suffix_remedy(suffix),
            )
    if loose_dicom:
        yield from (_Entry(prefix, stem_of(entry), entry) for entry in _loose_pictures(folder, loose_dicom, findings))


def _is_voxels(entry: Path) -> bool:
    """Tell whether "x.raw.gz" belongs to an .nhdr beside it."""
    return entry.name.lower().endswith(".raw.gz")


def _folder_entries(folder: Path, findings: _Findings, prefix: str, *, deep: bool) -> Iterator[_Entry]:
    """Yield the DICOM series of a folder, however deep it lies, or else what its files are."""
    if dicom_files(folder):
        yield _Entry(prefix, folder.name, folder)
        return
    nested = [below for below in _folders_below(folder) if dicom_files(below)]
    if len(nested) == 1:
        yield _Entry(prefix, folder.name, nested[0])
    elif nested:
        shown = ", ".join(below.relative_to(folder).as_posix() for below in nested[:4])
        what = f"{len(nested)} DICOM series below this folder ({shown}); nothing tells which one has the labels"
        findings.report("error", "several series", folder, what, "Keep one series in each folder.")
    elif deep:
        yield from _data_entries(folder, findings, prefix=f"{prefix}{folder.name}/")
    else:
        findings.report("note", "skipped", folder, "a folder beside loose files", "Put it elsewhere if it is data.")


def _folders_below(folder: Path) -> Iterator[Path]:
    for entry in _entries(folder):
        if entry.is_dir() and not entry.is_symlink():
            yield entry
            yield from _folders_below(entry)


def _loose_pictures(folder: Path, files: Sequence[Path], findings: _Findings) -> Iterator[Path]:
    """Yield DICOM files that are a picture each; report slices of one series that lie among others."""
    for uid, paths in dicom_files(folder).items():
        mates = [path for path in paths if path in files]
        if len(mates) > 1 and uid:
            what = f"{len(mates)} slices of one DICOM series lie loose ({mates[0].name} to {mates[-1].name})"
            findings.report("error", "loose series", mates[0], what, "Put each DICOM series into a folder of its own.")
        else:
            yield from mates


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
