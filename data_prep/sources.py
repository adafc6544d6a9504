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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_prep.dataset_facts import DATASET_NAME, Assumptions, facts_of
from data_prep.dataset_files import IMAGE_FOLDERS, LABEL_FOLDERS, LABEL_MARK, collect_files, visible_entries
from data_prep.findings import Findings, Problem
from data_prep.objects import LabelKind
from graysam.errors import PrepareError
from graysam.formats.readers import IMAGE_SUFFIXES, VOLUME_SUFFIXES, stem_of, suffix_of

INDEX_NAME = "index.csv"
LEVELS_ABOVE = 2  # "<root>/<Modality>/<data set>"


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


def find_sources(root: Path, assumptions: Assumptions | None = None) -> Inventory:
    """Find every image with labels under `root`, sorted by data set and case.

    Raises:
        PrepareError: no such folder, or an index.csv without its columns.
    """
    root = root.resolve()
    if not root.is_dir():
        raise PrepareError(f"{root}: wanted a folder with images and labels, found none; check the path.")
    findings = Findings(root)
    anchor, index = _read_index(root)
    sources: list[Source] = []
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
            sources.append(_with_index(source, row))
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
    if not sources and not findings.problems:
        findings.report(
            "error",
            "nothing found",
            root,
            "no image with a label map below this folder",
            "Wanted images/ beside masks/, or x_image.nii.gz beside x_label.nii.gz (data_prep/sources.py).",
        )
    return Inventory(root, tuple(sources), tuple(findings.problems))


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


def _dataset_folders(folder: Path, findings: Findings) -> Iterator[Path]:
    """Yield folders that hold data, top down; nothing is looked for inside one."""
    entries = visible_entries(folder)
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
    if any(LABEL_MARK.search(stem_of(entry)) for entry in loose):
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


def _sources_in(folder: Path, dataset: str, assumptions: Assumptions, findings: Findings) -> Iterator[Source]:
    facts = facts_of(folder, dataset, assumptions, findings)
    if facts is None:
        return
    images, masks = collect_files(folder, findings, has_channels=facts.has_channels)
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


def _pair(case: str, images: Sequence[Path], masks: Sequence[Path], findings: Findings) -> tuple[Path, Path] | None:
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
