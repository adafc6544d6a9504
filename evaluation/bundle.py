"""Owns the CodaBench competition bundle, with which a lab runs its own challenge: references, cases, scorer, pages.

The layout follows docs.codabench.org, "Competition Bundle Structure" and "YAML Structure" (version 2). What
the scoring program imports is found in its sources and copied along, so that it runs in CodaBench's own
Python image, which has NumPy and SciPy; the scorer's modules import nothing else.
"""

from __future__ import annotations

import ast
import datetime
import json
import math
import tempfile
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from evaluation.codabench import column_key
from evaluation.labels import read_reference
from evaluation.metrics import ranked_scores
from evaluation.policy import MODES, Mode
from evaluation.rank.read import UNKNOWN_MODALITY
from evaluation.submission import add_to_zip, write_flat_zip
from evaluation.surface_dice import TOLERANCE
from graysam.cases import VolumeCase, modality_of
from graysam.errors import ScoreError
from graysam.formats.archives import Archive, write_archive
from graysam.formats.npz import (
    find_cases,
    read_case,
    read_spacing_as_stored,
    write_labels,
    write_reference,
)
from graysam.inference.baselines import BaselineSegmenter

ROOT = Path(__file__).resolve().parent.parent
OWN_PACKAGES = ("evaluation", "graysam")
PUBLIC_KEYS = ("imgs", "boxes", "spacing")
# The image on python:3.12-slim with NumPy 1.26 and SciPy 1.11 (github.com/codalab/codalab-dockers); ours need
# Python 3.11.
DOCKER_IMAGE = "codalab/codalab-legacy:py312"
EXECUTION_LIMIT_S = 7200
COMMAND = "python3 /app/program/scoring.py /app/input/ /app/output/"
SCORING = '''"""Scores a submission as metadata.yaml says: python scoring.py INPUT OUTPUT."""

import sys
from pathlib import Path

from evaluation.codabench import main

if __name__ == "__main__":
    sys.exit(main([*sys.argv[1:], str(Path(__file__).with_name("settings.json"))]))
'''
CHECKER = '''"""Check predictions and pack them for upload; python check_submission.py --help."""

import sys

from evaluation.submission import main

if __name__ == "__main__":
    sys.exit(main())
'''
MODE_TEXTS: dict[Mode, str] = {
    "official": "number for number that of the challenge Segment Anything in Medical Images on Laptop (CVPR 2024).",
    "honest": "true contours in two dimensions, spacing in the order of the axes, labels by presence.",
}


@dataclass(frozen=True)
class BundleOptions:
    """What the organisers decide."""

    title: str = "Segment anything in medical images"
    description: str = "Segment the objects that the boxes mark."
    mode: Mode = "official"
    """The scorer's mode, official or honest."""
    docker_image: str = DOCKER_IMAGE
    start: datetime.date = datetime.date(2026, 1, 1)
    submissions_per_day: int = 5
    contact: str | None = None

    def __post_init__(self) -> None:
        """Raise ValueError for a mode that the scorer lacks, and for less than one submission a day."""
        if self.mode not in MODES or self.submissions_per_day < 1:
            raise ValueError(f"wanted mode official or honest and at least 1 submission a day; got {self}")


def write_bundle(out: Path, *, inputs: Path, references: Path, options: BundleOptions) -> tuple[str, ...]:
    """Write the competition as one zip, whole or not at all, and give notes for the organisers.

    Raises:
        ScoreError: cases and references do not fit together, or a reference cannot be scored in this mode.
        CaseError: a file cannot be read, or the zip not be written.
    """
    names = _matching_names(inputs, references)
    modalities = Counter(modality_of(name) or UNKNOWN_MODALITY for name in names)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".bundle-") as staging:
        folder = Path(staging)
        notes = _stage_data(folder, names, inputs=inputs, references=references, mode=options.mode)
        sample = folder / "sample_submission.zip"
        write_flat_zip(sample, sorted((folder / "sample").iterdir()))
        finished = folder / "bundle.zip"
        with zipfile.ZipFile(finished, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in bundle_texts(options, modalities).items():
                add_to_zip(archive, name, content.encode())
            add_to_zip(archive, "logo.png", draw_logo())
            add_to_zip(archive, "starting_kit/sample_submission.zip", sample.read_bytes())
            for part in ("reference_data", "public_data"):
                for path in sorted((folder / part).iterdir()):
                    add_to_zip(archive, f"{part}/{path.name}", path.read_bytes())
        finished.replace(out)
    return tuple(notes)


def _matching_names(inputs: Path, references: Path) -> list[str]:
    """Give the file names that both folders have; a name that only one has is an error."""
    cases, truths = ({path.name for path in find_cases(folder)} for folder in (inputs, references))
    if cases != truths or not cases:
        alone = [f"{name} (no reference)" for name in sorted(cases - truths)]
        alone += [f"{name} (no case)" for name in sorted(truths - cases)]
        raise ScoreError(
            f"{inputs} and {references} must hold the same .npz names, at least one; found {len(cases)} "
            f"cases and "
            f"{len(truths)} references; alone: {', '.join(alone[:10]) or 'none'}."
        )
    return sorted(cases)


def _stage_data(folder: Path, names: Sequence[str], *, inputs: Path, references: Path, mode: Mode) -> list[str]:
    """Write the references without images, the cases without references, and the sample predictions; give notes."""
    for part in ("reference_data", "public_data", "sample"):
        (folder / part).mkdir()
    notes, dropped, unscorable = [], Counter[str](), []
    for name in names:
        case, labels = read_case(inputs / name), read_reference(references / name, mode=mode)
        if labels.shape != case.label_shape:
            raise ScoreError(f"{name}: 'gts' has shape {labels.shape}, the case's image {case.label_shape}.")
        present = np.unique(labels[labels > 0])
        if mode == "official" and (not len(present) or len(present) != present[-1]):
            unscorable.append(name)
        spacing = read_spacing_as_stored(references / name) or read_spacing_as_stored(inputs / name)
        if isinstance(case, VolumeCase) and spacing is None:
            raise ScoreError(f"{name}: a volume is scored in mm and needs 'spacing', in the reference or in the case.")
        if len(present) and int(present[-1]) > len(case.boxes):
            notes.append(f"{name}: label {present[-1]} in the reference, but {len(case.boxes)} boxes in the case.")
        write_reference(folder / "reference_data" / name, labels, spacing_mm=spacing[::-1] if spacing else None)
        dropped.update(_write_public(inputs / name, folder / "public_data" / name))
        # filled boxes, later ones over earlier ones: the least a method should beat
        write_labels(folder / "sample" / name, BaselineSegmenter("box").segment_case(case, overlap="last"))
    if unscorable:
        raise ScoreError(
            f"official mode has no score for references that are empty or leave out a label "
            f"({', '.join(unscorable[:5])}; "
            f"{len(unscorable)} in all): number their labels 1, 2, 3 without gaps, or take --mode honest."
        )
    return notes + [
        f"'{key}' was left out of the public copy of {count} cases." for key, count in sorted(dropped.items())
    ]


def _write_public(source: Path, target: Path) -> list[str]:
    """Copy a case with only what a participant may see; give the keys that were left out."""
    with Archive(source) as archive:
        secret = [key for key in archive.keys if key not in PUBLIC_KEYS]
        write_archive(target, {key: archive.read(key) for key in archive.keys if key in PUBLIC_KEYS})
    return secret


# --- texts and programs
# -------------------------------------------------------------------------------------------


def bundle_texts(options: BundleOptions, modalities: Mapping[str, int]) -> dict[str, str]:
    """Give every text file of the bundle: path in the zip -> content."""
    texts = {"competition.yaml": competition_yaml(options, sorted(modalities))}
    assets = ROOT / "evaluation/assets/bundle"
    # Markdown: what the organisers write stays as it is.
    pages = Environment(
        loader=FileSystemLoader(assets), undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False
    )
    facts = {
        "title": options.title,
        "description": options.description,
        "modalities": ", ".join(sorted(modalities)),
        "n_cases": str(sum(modalities.values())),
        "counts": ", ".join(f"{modality} {count}" for modality, count in sorted(modalities.items())),
        "mode": options.mode,
        "mode_text": MODE_TEXTS[options.mode],
        "tolerance": f"{TOLERANCE:g}",
    }
    for page in ("overview", "evaluation", "data", "terms"):
        texts[f"pages/{page}.md"] = pages.get_template(f"{page}.md").render(facts)
    texts["scoring_program/metadata.yaml"] = f"command: {COMMAND}\n"
    texts["scoring_program/settings.json"] = json.dumps({"mode": options.mode}) + "\n"
    texts["scoring_program/scoring.py"] = SCORING
    texts["starting_kit/README.md"] = (assets / "starting_kit.md").read_text(encoding="utf-8")
    texts["starting_kit/check_submission.py"] = CHECKER
    for program, entries in (
        ("scoring_program", ("evaluation.codabench",)),
        ("starting_kit", ("evaluation.submission",)),
    ):
        texts |= {f"{program}/{path}": content for path, content in needed_sources(entries).items()}
    return texts


def needed_sources(entries: Sequence[str]) -> dict[str, str]:
    """Give the sources of our own modules that some modules need, themselves and packages included: path -> content.

    Imports are read from the syntax tree wherever they stand, also within functions; of a package's __init__ only those
    that run on import, because a package may offer, on demand, far more than is wanted here.
    """
    found: dict[str, str] = {}
    pending = [*entries]
    while pending:
        module = pending.pop()
        path = ROOT / Path(*module.split("."))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        relative = path.relative_to(ROOT).as_posix()
        if relative in found or not path.is_file():  # not a file: a name imported from a module
            continue
        found[relative] = path.read_text(encoding="utf-8")
        if "." in module:
            pending.append(module.rpartition(".")[0])
        tree = ast.parse(found[relative])
        for node in tree.body if path.name == "__init__.py" else ast.walk(tree):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            pending += [name for name in names if name.split(".")[0] in OWN_PACKAGES]
    return dict(sorted(found.items()))


def competition_yaml(options: BundleOptions, modalities: Sequence[str]) -> str:
    """Give competition.yaml, version 2."""
    document: dict[str, Any] = {
        "version": 2,
        "title": options.title,
        "description": options.description,
        "image": "logo.png",
        "terms": "pages/terms.md",
        "registration_auto_approve": False,
        "docker_image": options.docker_image,
        "make_programs_available": True,
        "enable_detailed_results": True,
        **({"contact_email": options.contact} if options.contact else {}),
        "pages": [
            {"title": title, "file": f"pages/{title.lower()}.md"} for title in ("Overview", "Evaluation", "Data")
        ],
        "tasks": [
            {
                "index": 0,
                "name": options.title,
                "description": options.description,
                "scoring_program": "scoring_program",
                "reference_data": "reference_data",
            }
        ],
        "solutions": [{"index": 0, "path": "starting_kit/sample_submission.zip", "tasks": [0]}],
        "phases": [
            {
                "index": 0,
                "name": "Test",
                "description": "Upload the predictions of all cases.",
                "start": datetime.datetime.combine(options.start, datetime.time()),
                "max_submissions_per_day": options.submissions_per_day,
                "execution_time_limit": EXECUTION_LIMIT_S,
                "accepts_only_result_submissions": True,
                "starting_kit": "starting_kit",
                "public_data": "public_data",
                "tasks": [0],
            }
        ],
        "leaderboards": [
            {
                "title": "Results",
                "key": "main",
                "submission_rule": "Force_Best",
                "columns": _leaderboard_columns(modalities),
            }
        ],
    }
    # Long texts stay on one line, and keep their letters.
    return str(yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=math.inf))


def _leaderboard_columns(modalities: Sequence[str]) -> list[dict[str, Any]]:
    """Give the columns of the competition's leaderboard; the first one ranks."""
    better = {True: "desc", False: "asc"}
    columns = [
        (f"{metric.label} ({where})", column_key(metric.key, modality), better[metric.higher_is_better], 4)
        for modality, where in ((None, "mean of modalities"), *((each, each) for each in modalities))
        for metric in ranked_scores()
    ]
    columns.append(("Missing predictions", "missing", "asc", 0))
    return [
        {"title": title, "key": key, "index": index, "sorting": sorting, "precision": precision}
        for index, (title, key, sorting, precision) in enumerate(columns)
    ]


def draw_logo(size: int = 400) -> bytes:
    """Draw the competition's picture: a box round an object on a dark slice; PNG."""
    picture = np.full((size, size, 3), (38, 28, 20), np.uint8)  # blue, green, red
    centre = (size // 2, size // 2)
    cv2.ellipse(picture, centre, (int(size * 0.38), int(size * 0.44)), 0, 0, 360, (74, 62, 52), -1, cv2.LINE_AA)
    cv2.ellipse(picture, centre, (int(size * 0.2), int(size * 0.14)), 25, 0, 360, (122, 154, 36), -1, cv2.LINE_AA)
    corner = (int(size * 0.28), int(size * 0.33)), (int(size * 0.72), int(size * 0.67))
    cv2.rectangle(picture, *corner, (60, 176, 255), max(2, size // 60), cv2.LINE_AA)
    done, data = cv2.imencode(".png", picture)
    assert done, "OpenCV always encodes 8-bit PNG"
    return bytes(data.tobytes())
