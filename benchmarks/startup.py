"""Times whole cold processes, from their start to the written file, as the challenge does.

    python -m benchmarks.startup --weights weights/graysam

Each run is a fresh `python predict.py` on a folder with one drawn case. Runs of all rows take turns, so that a change
of the machine's load falls on all of them. CPU seconds are given as well, since other programs on the
machine disturb them less. The compile cache is off: the challenge runs each case in a new container.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import ROOT
from benchmarks.machine import machine_facts
from benchmarks.process_cost import process_cost
from benchmarks.recorded import RESULTS, write_figures
from benchmarks.weights_id import weights_id
from graysam.boxes import Box, VolumeBox
from graysam.console import run_command
from graysam.formats.npz import write_case

LIMITS = {"2d": {"seconds": 1.0, "mebibytes": 500}, "3d": {"seconds": 8.0, "mebibytes": 1500}}
DESCRIPTIONS = {"2d": "512 x 512 x 3, one box", "3d": "60 x 512 x 512, 3 objects over all slices"}


@dataclass
class Row:
    """One kind of case on one engine; lists hold one number for each run."""

    kind: str
    engine: str
    precision: str
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    mebibytes: list[float] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for JSON."""
        return {
            "case": self.kind,
            "engine": self.engine,
            "precision": self.precision,
            "n": len(self.seconds),
            "seconds_median": round(statistics.median(self.seconds), 3),
            "seconds_min": round(min(self.seconds), 3),
            "seconds_max": round(max(self.seconds), 3),
            "cpu_seconds_median": round(statistics.median(self.cpu_seconds), 3),
            "peak_mebibytes": round(max(self.mebibytes), 1),
        }


def draw_cases(folder: Path) -> None:
    """Write one case of each kind, each into a folder of its own: bright blocks on dark noise."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 60, (512, 512, 3)).astype(np.uint8)
    image[200:300, 150:330] += 120
    volume = rng.integers(0, 60, (60, 512, 512)).astype(np.uint8)
    corners = ((100, 100), (100, 300), (300, 300))
    for x, y in corners:
        volume[:, y : y + 80, x : x + 100] += 120
    for kind in LIMITS:
        (folder / kind).mkdir()
    write_case(folder / "2d" / "2DBox_US_drawn.npz", image=image, boxes=(Box(150, 200, 329, 299),))
    write_case(
        folder / "3d" / "3DBox_CT_drawn.npz",
        image=volume,
        boxes=tuple(VolumeBox(Box(x, y, x + 99, y + 79), 0, 59) for x, y in corners),
        spacing_mm=(2.0, 1.0, 1.0),
    )


def run_once(row: Row, command: Sequence[str], environment: dict[str, str]) -> None:
    """Run a process to its end, and enter what it took."""
    cost = process_cost(command, environment)
    row.seconds.append(cost.seconds)
    row.cpu_seconds.append(cost.cpu_seconds)
    row.mebibytes.append(cost.mebibytes)


def main(argv: Sequence[str] | None = None) -> int:
    """Read the command line and measure; exit status 2 when a process fails."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--weights", type=Path, default=ROOT / "weights" / "graysam", metavar="DIR")
    parser.add_argument("--runs", type=int, default=7, metavar="N", help="runs of each row (7)")
    parser.add_argument(
        "--rows",
        nargs="+",
        default=["openvino/auto", "openvino/fp32", "openvino/bf16", "openvino/int8"],
        metavar="ENGINE/PRECISION",
    )
    parser.add_argument("--kinds", nargs="+", choices=tuple(LIMITS), default=list(LIMITS))
    parser.add_argument("--out", type=Path, default=RESULTS / "startup.json", metavar="FILE")
    options = parser.parse_args(argv)
    return run_command(lambda: measure(options))


def measure(options: argparse.Namespace) -> None:
    """Let the rows take turns, write the figures and print them."""
    rows = [Row(kind, *name.split("/")) for kind in options.kinds for name in options.rows]
    environment = {**os.environ, "GRAYSAM_CACHE": ""}
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        draw_cases(folder)
        for turn in range(options.runs + 1):
            for row in rows:
                command = [sys.executable, "predict.py", "-q", "-i", str(folder / row.kind)]
                command += ["-o", str(folder / "out"), "--engine", row.engine, "--precision", row.precision]
                run_once(row, [*command, "--weights", str(options.weights.resolve())], environment)
            if turn == 0:  # the first turn brings files into the page cache, as docker load does for an image
                for row in rows:
                    row.seconds, row.cpu_seconds, row.mebibytes = [], [], []
    result = {
        "command": "python -m benchmarks.startup",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine_facts(("numpy", "opencv-python-headless", "openvino", "torch")),
        "load_average_before": round(load_before, 2),
        "measured": "python predict.py on one case: process start to exit, n runs in turn after one unmeasured",
        "cases": DESCRIPTIONS,
        "limits": LIMITS,
        **weights_id(options.weights),
        "rows": [row.to_dict() for row in rows],
    }
    write_figures(options.out, result)
    for row in rows:
        facts = row.to_dict()
        print(
            f"{row.kind} {row.engine} {row.precision}: {facts['seconds_median']} s (min {facts['seconds_min']}), "
            f"CPU {facts['cpu_seconds_median']} s, {facts['peak_mebibytes']} MiB"
        )


if __name__ == "__main__":
    sys.exit(main())
