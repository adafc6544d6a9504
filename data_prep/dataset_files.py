"""Find the images and label maps of one data set's folder and name the case of each; what is skipped is reported."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_prep.findings import Findings
from graysam.formats.readers import (
    DICOM_SUFFIXES,
    IMAGE_SUFFIXES,
    VOLUME_SUFFIXES,
    dicom_files,
    is_dicom,
    stem_of,
    suffix_of,
)

IMAGE_FOLDERS = ("images", "imgs", "image", "img", "imagestr")
LABEL_FOLDERS = (
    "masks", "labels", "mask", "label", "labelstr", "gts", "gt", "annotations", "annotation", "segmentations",
    "segmentation", "segs", "seg", "groundtruth", "ground_truth",
)  # fmt: skip
# Test images of the Decathlon and nnU-Net come without labels, unless their maker adds a folder for them.
TEST_FOLDERS = {"imagests": "labelsts", "imagesval": "labelsval"}
_IMAGE_MARK = re.compile(r"(^|[_-])(image|img|0000)$", re.IGNORECASE)
LABEL_MARK = re.compile(
    r"(^|[_-])(labels?|masks?|seg|segmentation|gt|ground[_-]?truth|annotation|lesion)$", re.IGNORECASE
)
_CHANNEL = re.compile(r"_(\d{4})$")  # nnU-Net: one file per channel of an image
_NOT_DATA = re.compile(r"^(readme|licen[cs]e|index\.csv|dataset\.json|thumbs\.db)|^\.|\.(md|part)$", re.IGNORECASE)

Named = dict[str, list[Path]]


def visible_entries(folder: Path) -> list[Path]:
    """Give files and folders of a folder by name, without hidden ones."""
    return [entry for entry in sorted(folder.iterdir()) if not entry.name.startswith(".")]


def collect_files(folder: Path, findings: Findings, *, has_channels: bool) -> tuple[Named, Named]:
    """Give image and label files of a data set by case name; a sub-folder stands in it before a "/"."""
    images: Named = {}
    masks: Named = {}
    children = [entry for entry in visible_entries(folder) if entry.is_dir()]
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
            masks.setdefault(found.case(LABEL_MARK), []).append(found.path)
    loose = mixed if mixed or image_folders or label_folders else [folder]
    for part in loose:
        for found in _data_entries(part, findings, deep=part is not folder):
            is_label = LABEL_MARK.search(found.name) or ".seg." in suffix_of(found.path)
            case = found.case(LABEL_MARK if is_label else _IMAGE_MARK, alone=found.path.parent.name)
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


def _first_channels(images: Named, masks: Named, findings: Findings) -> Named:
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


def _data_entries(folder: Path, findings: Findings, *, deep: bool = True, prefix: str = "") -> Iterator[_Entry]:
    """Yield files that can be read and folders of DICOM files; report the rest.

    Args:
        folder: where to look.
        findings: gets what is skipped.
        deep: whether sub-folders are looked into.
        prefix: names of the folders above, each with a "/".
    """
    loose_dicom: list[Path] = []
    for entry in visible_entries(folder):
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


def _folder_entries(folder: Path, findings: Findings, prefix: str, *, deep: bool) -> Iterator[_Entry]:
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
    for entry in visible_entries(folder):
        if entry.is_dir() and not entry.is_symlink():
            yield entry
            yield from _folders_below(entry)


def _loose_pictures(folder: Path, files: Sequence[Path], findings: Findings) -> Iterator[Path]:
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
