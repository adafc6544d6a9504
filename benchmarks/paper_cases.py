"""Times whole cold processes on the shapes and numbers of objects that the challenge's papers publish seconds of.

    python -m benchmarks.paper_cases --out paper_cases.json
    python -m benchmarks.paper_cases --out paper_cases.json --cases US_0525 X-Ray_0053 --runs 3

The 14 cases are those of the efficiency tables of the challenge's entries: their shapes and numbers of objects, with
drawn ellipses as objects, each over a third of a volume's slices. Every run is a fresh `python predict.py` on a folder
with one case, without a compile cache; the rows take turns on each case. Given again, the command goes on where it was
stopped; `benchmarks.peers` lays the figures out.

A row is a folder of weights: by default the shipped ones and those of `make weights-litemedsam`, run by the same
engine, which encodes each slice once. The published code of LiteMedSAM encodes it again for each object.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks import ROOT
from benchmarks.machine import machine_facts
from benchmarks.recorded import OWN, PEER, RESULTS, BenchmarkError, read_figures, write_figures
from benchmarks.startup import Row, run_once
from evaluation.tables import markdown_table
from graysam.boxes import Box, VolumeBox
from graysam.console import run_command
from graysam.formats.npz import write_case

logger = logging.getLogger("benchmarks")

OUT: Final = RESULTS / "paper_cases.json"
ROWS: Final = {name: ROOT / "weights" / name for name in (OWN, PEER)}
RATIO: Final = f"{PEER} / {OWN}"
SLICES_SHARE: Final = 1 / 3
"""Of a volume's slices, those that each object spans."""


@dataclass(frozen=True)
class PaperCase:
    """A case whose seconds are published: its short name, the shape of its image, and how many boxes it has."""

    name: str
    shape: tuple[int, ...]
    objects: int

    @property
    def is_volume(self) -> bool:
        """Tell whether it is (D, H, W); an image is (H, W, 3)."""
        return self.shape[-1] != 3


PAPER_CASES: Final = (
    PaperCase("US_0525", (256, 256, 3), 1),
    PaperCase("Endoscopy_0086", (480, 560, 3), 1),
    PaperCase("X-Ray_0053", (320, 640, 3), 34),
    PaperCase("Fundus_0003", (2048, 2048, 3), 1),
    PaperCase("Dermoscopy_0003", (3024, 4032, 3), 1),
    PaperCase("Microscope_0008", (1536, 2040, 3), 19),
    PaperCase("Microscope_0016", (1920, 2560, 3), 241),
    PaperCase("PET_0001", (264, 200, 200), 1),
    PaperCase("MR_0179", (84, 512, 512), 1),
    PaperCase("CT_0860", (246, 512, 512), 1),
    PaperCase("MR_0121", (64, 290, 320), 6),
    PaperCase("MR_0621", (115, 400, 400), 6),
    PaperCase("CT_0888", (237, 512, 512), 6),
    PaperCase("CT_0566", (287, 512, 512), 6),
)
"""Shapes and numbers as in the efficiency table of QMedSAM (github.com/AVC2-UESTC/QMedSAM), images first."""


def draw_case(case: PaperCase, folder: Path) -> Path:
    """Write a case as the challenge has them: bright ellipses on dark noise, on a grid of places of equal size."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 60, case.shape, np.uint8)
    size_hw = case.shape[1:] if case.is_volume else case.shape[:2]
    depth = case.shape[0]
    folder.mkdir(parents=True, exist_ok=True)
    boxes: list[Box | VolumeBox] = []
    for number in range(case.objects):
        box = _place(number, case.objects, (size_hw[0], size_hw[1]))
        if not case.is_volume:
            _fill(image, box)
            boxes.append(box)
            continue
        span = max(1, round(depth * SLICES_SHARE))
        first = round((depth - span) * (number + 1) / (case.objects + 1))
        for plane in image[first : first + span]:
            _fill(plane, box)
        boxes.append(VolumeBox(box, first, first + span - 1))
    prefix, spacing = ("3DBox", (1.0, 1.0, 1.0)) if case.is_volume else ("2DBox", None)
    path = folder / f"{prefix}_{case.name}.npz"
    write_case(path, image=image, boxes=tuple(boxes), spacing_mm=spacing)  # type: ignore[arg-type]
    return path


def _place(number: int, count: int, size_hw: tuple[int, int]) -> Box:
    """Give the middle three fifths of a place of a grid that holds `count` of them."""
    columns = int(np.ceil(np.sqrt(count)))
    rows = int(np.ceil(count / columns))
    height, width = size_hw[0] / rows, size_hw[1] / columns
    top, left = (number // columns) * height, (number % columns) * width
    return Box(
        *(float(int(side)) for side in (left + width / 5, top + height / 5, left + width * 0.8, top + height * 0.8))
    )


def _fill(plane: NDArray[np.uint8], box: Box) -> None:
    """Brighten the ellipse in a box."""
    rows, columns = slice(int(box.y_min), int(box.y_max) + 1), slice(int(box.x_min), int(box.x_max) + 1)
    y, x = np.linspace(-1, 1, rows.stop - rows.start)[:, None], np.linspace(-1, 1, columns.stop - columns.start)
    plane[rows, columns][y**2 + x**2 <= 1] += 120


def measure(options: argparse.Namespace) -> None:
    """Time every row on every case that lacks runs; the file is written after each case.

    Raises:
        BenchmarkError: weights that are not there, or a process that fails.
    """
    rows = chosen_rows(options.weights)
    cases = [case for case in PAPER_CASES if not options.cases or case.name in options.cases]
    figures = read_figures(options.out) if options.out.exists() else {"cases": {}}
    figures |= {"command": "python -m benchmarks.paper_cases", "slices_share": round(SLICES_SHARE, 3)}
    for case in cases:
        done = figures["cases"].setdefault(case.name, {"shape": list(case.shape), "objects": case.objects, "rows": {}})
        missing = {name: path for name, path in rows.items() if done["rows"].get(name, {}).get("n", 0) < options.runs}
        if not missing:
            continue
        done["rows"] |= timed(case, missing, options)
        write_figures(options.out, figures)
        logger.info("%s: %s", case.name, {name: row["seconds_median"] for name, row in done["rows"].items()})
    print(table(figures))


def chosen_rows(given: Sequence[str] | None) -> dict[str, Path]:
    """Give the folder of weights of each row: NAME=DIR as given, or those of ROWS that are there.

    Raises:
        BenchmarkError: one that was given is not there, or none is.
    """
    if given:
        rows = {name: Path(path) for name, _, path in (each.partition("=") for each in given)}
    else:
        rows = {name: path for name, path in ROWS.items() if (path / "spec.json").is_file()}
    for name, path in rows.items():
        if not (path / "spec.json").is_file():
            raise BenchmarkError(f"row {name}: wanted NAME=DIR with exported weights, {path} holds no spec.json.")
    if not rows:
        raise BenchmarkError("no weights found; give --weights NAME=DIR.")
    return rows


def timed(case: PaperCase, rows: Mapping[str, Path], options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Time fresh processes of all rows on one case, in turn; give the figures of each row."""
    took = {name: Row(case.name, "openvino", options.precision) for name in rows}
    load = os.getloadavg()[0]
    environment = {**os.environ, "GRAYSAM_CACHE": ""}
    with tempfile.TemporaryDirectory() as scratch:
        inputs = Path(scratch) / "inputs"
        draw_case(case, inputs)
        for _ in range(options.runs):
            for name, weights in rows.items():
                command = [sys.executable, "predict.py", "-q", "-i", str(inputs), "-o", str(Path(scratch) / "out")]
                command += ["--engine", "openvino", "--precision", options.precision]
                if options.threads:
                    command += ["--threads", str(options.threads)]
                run_once(took[name], [*command, "--weights", str(weights.resolve())], environment)
    facts = {
        "load_average_before": round(load, 2),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine_facts(("numpy", "opencv-python-headless", "openvino")),
    }
    return {name: {**_without_case(row.to_dict()), **facts} for name, row in took.items()}


def _without_case(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != "case"}


def table(figures: Mapping[str, Any]) -> str:
    """Lay out seconds of ours, LiteMedSAM's, their ratio, and those of other rows; a dash where one was not timed."""
    found_names = {name for case in figures["cases"].values() for name in case["rows"]}
    compared = [name for name in ROWS if name in found_names]
    ratio = [RATIO] if len(compared) == len(ROWS) else []
    columns = [*compared, *ratio, *sorted(found_names - set(compared))]
    lines = []
    for case in PAPER_CASES:
        found = figures["cases"].get(case.name)
        if found is None:
            continue
        seconds = {name: row["seconds_median"] for name, row in found["rows"].items()}
        shown = {name: f"{took:.2f}" for name, took in seconds.items()}
        if {OWN, PEER} <= seconds.keys():
            shown[RATIO] = f"{seconds[PEER] / seconds[OWN]:.1f}"
        shape = " x ".join(map(str, case.shape))
        lines.append([case.name, shape, str(case.objects), *(shown.get(column, "-") for column in columns)])
    titles = [column if column == RATIO else f"{column}, s" for column in columns]
    return markdown_table(["case", "shape", "boxes", *titles], lines)


def conditions(figures: Mapping[str, Any]) -> str:
    """Say where, when, how often and beside what else the figures were measured."""
    rows = [row for case in figures["cases"].values() for row in case["rows"].values()]
    machines = sorted({f"{row['machine']['cpu']}, {row['machine']['cores']} cores" for row in rows})
    dates = sorted({row["date"][:10] for row in rows})
    loads = [row["load_average_before"] for row in rows]
    runs = sorted({row["n"] for row in rows})
    return (
        f"{'; '.join(machines)}; {' to '.join(dict.fromkeys((dates[0], dates[-1])))}; medians of "
        f"{' to '.join(str(n) for n in dict.fromkeys((runs[0], runs[-1])))} runs; load average before them "
        f"{median(loads):.1f} (up to {max(loads):.1f})"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, write and print; exit status 2 when a process fails or weights are missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=Path, default=OUT, metavar="FILE", help="JSON file, which the command goes on with"
    )
    parser.add_argument("--weights", nargs="+", metavar="NAME=DIR", help="rows (default: those of ours that are there)")
    parser.add_argument("--cases", nargs="+", choices=[case.name for case in PAPER_CASES], metavar="NAME", help="some")
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="of each row and case (3)")
    parser.add_argument("--precision", default="auto", choices=("auto", "fp32", "bf16", "int8"))
    parser.add_argument("--threads", type=int, metavar="N")
    options = parser.parse_args(argv)
    return run_command(lambda: measure(options))


if __name__ == "__main__":
    sys.exit(main())
