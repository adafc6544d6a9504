"""Owns how predictions are checked as a challenge takes them, and packed into the flat zip that CodaBench wants."""

from __future__ import annotations

import argparse
import logging
import sys
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from graysam.console import run_command
from graysam.errors import CaseError
from graysam.files import written_whole
from graysam.formats.npz import find_cases, read_case, read_label_shape, read_labels

logger = logging.getLogger("evaluation.submission")  # also when run from a starting kit

# The oldest date that zip knows: the same predictions give the same file, whenever they are packed.
ZIP_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class SubmissionCheck:
    """What was found in a folder of predictions."""

    files: tuple[Path, ...]
    """The predictions to pack, one for each case that has one."""
    problems: tuple[str, ...]
    """What has to be mended, one line each; none means that the folder is fit to be sent."""
    notes: tuple[str, ...]
    """What is worth knowing: files that are left out."""


def check_submission(segs: Path, inputs: Path) -> SubmissionCheck:
    """Compare a folder of predictions with the cases that were to be segmented.

    Raises:
        CaseError: one of the folders cannot be listed, or ``inputs`` holds no case.
    """
    cases = find_cases(inputs)
    if not cases:
        raise CaseError(f"{inputs}: no .npz case, so nothing to compare with.")
    predictions = {path.name: path for path in find_cases(segs)}
    problems: list[str] = []
    for case in cases:
        path = predictions.get(case.name)
        if path is None:
            problems.append(f"{case.name}: missing; wanted a file of this name in {segs}.")
        else:
            problems += check_prediction(path, case)
    wanted = {case.name for case in cases}
    problems += [f"{name}: no case of this name in {inputs}." for name in sorted(set(predictions) - wanted)]
    left_out = sorted(path.name for path in segs.iterdir() if path.name not in predictions)
    return SubmissionCheck(
        files=tuple(predictions[name] for name in sorted(wanted & set(predictions))),
        problems=tuple(problems),
        notes=tuple(f"{name}: not a prediction, left out." for name in left_out),
    )


def check_prediction(path: Path, case_path: Path) -> list[str]:
    """Check one prediction's key, dtype, shape and labels against its case; [] when all is well."""
    try:
        labels = read_labels(path, "segs")
    except CaseError as error:
        return [str(error)]
    problems = []
    if labels.dtype not in (np.uint8, np.uint16):
        problems.append(f"{path.name}: 'segs' has dtype {labels.dtype}, wanted uint8 or uint16.")
    shape: tuple[int, ...] | None
    boxes: int | None
    try:
        case = read_case(case_path)
        shape, boxes = case.label_shape, len(case.boxes)
    except CaseError:
        # A case with unusable boxes still has an image, and its prediction still has to have that shape.
        shape, boxes = read_label_shape(case_path), None
    if shape is None:
        problems.append(f"{case_path.name}: the case itself cannot be read, so its prediction cannot be checked.")
    elif labels.shape != shape:
        problems.append(f"{path.name}: 'segs' has shape {labels.shape}, wanted {shape} as the case's image.")
    highest = int(labels.max()) if labels.size else 0
    if boxes is not None and highest > boxes:
        problems.append(f"{path.name}: label {highest}, but the case has {boxes} boxes; box i has label i + 1.")
    return problems


def write_flat_zip(out: Path, files: Iterable[Path]) -> None:
    """Pack files without folders, in order of name, whole or not at all; equal files give equal bytes.

    They are stored as they are, because an .npz is compressed already.

    Raises:
        CaseError: the zip cannot be written.
    """
    with written_whole(out, CaseError) as temporary:
        out.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            for path in sorted(files, key=lambda path: path.name):
                add_to_zip(archive, path.name, path.read_bytes())


def add_to_zip(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    """Add a file under a name, with a fixed date and readable by everyone."""
    entry = zipfile.ZipInfo(name, ZIP_DATE)
    entry.compress_type = archive.compression
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, content)


def main(argv: Sequence[str] | None = None) -> int:
    """Check and pack; 0 when the zip was written, 1 when there are problems, 2 when a folder cannot be used."""
    parser = argparse.ArgumentParser(
        prog="submission",
        description="Check predictions against the cases and pack them into a flat zip. With problems, every one of "
        "them is listed, nothing is written, and the exit status is 1.",
    )
    parser.add_argument("--segs", type=Path, required=True, metavar="DIR", help="predictions: .npz with segs")
    parser.add_argument("--inputs", type=Path, required=True, metavar="DIR", help="the cases: .npz with imgs, boxes")
    parser.add_argument("--out", type=Path, metavar="ZIP", help="zip to write; without, the folder is only checked")
    options = parser.parse_args(argv)
    return run_command(lambda: _check_and_pack(options.segs, options.inputs, options.out))


def _check_and_pack(segs: Path, inputs: Path, out: Path | None) -> int:
    """Check, log what was found, write the zip where one is wanted, and give the exit status."""
    check = check_submission(segs, inputs)
    for note in check.notes:
        logger.info("note: %s", note)
    for problem in check.problems:
        logger.error("problem: %s", problem)
    if check.problems:
        logger.error("%d problems; nothing was written.", len(check.problems))
        return 1
    if out is None:
        logger.info("all %d predictions are in order.", len(check.files))
        return 0
    write_flat_zip(out, check.files)
    logger.info("wrote %s: %d predictions, %.1f MiB", out, len(check.files), out.stat().st_size / 2**20)
    return 0


if __name__ == "__main__":
    sys.exit(main())
