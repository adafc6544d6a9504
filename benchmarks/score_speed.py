"""Measures how long scoring a volume of 287 x 512 x 512 voxels with 6 labels takes: python -m benchmarks.score_speed.

The volume has the size of the challenge's CT_0566. It is made here, written as two case files, and scored by complete
processes, so that starting, reading and writing count. Given the folder with the challenge's compute_metrics.py and
SurfaceDice.py, and a Python whose NumPy is old enough for them (below 2), both scorers take turns and must agree.
"""

import argparse
import csv
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import ROOT
from benchmarks.process_cost import process_cost
from benchmarks.recorded import RESULTS
from graysam.console import run_command
from graysam.formats.npz import write_labels, write_reference
from graysam.machine import usable_cores

SHAPE = (287, 512, 512)
SPACING_MM = (2.5, 0.8, 0.8)
CASE = "3DBox_CT_speed.npz"
# Centre and radii in voxels (z, y, x): a liver, a spleen, two kidneys, an aorta, a stomach, roughly.
ORGANS = (
    ((150, 200, 150), (100, 90, 110)),
    ((140, 230, 380), (60, 70, 60)),
    ((120, 350, 180), (50, 45, 35)),
    ((120, 350, 330), (50, 45, 35)),
    ((143, 300, 256), (140, 25, 25)),
    ((200, 120, 300), (30, 50, 90)),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, write the JSON and give 0, or 1 where the two scorers disagree."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.score_speed", description=__doc__)
    parser.add_argument("--original", type=Path, help="folder of compute_metrics.py and SurfaceDice.py")
    parser.add_argument("--original-python", default=sys.executable, help="interpreter that can run them")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each scorer (default: %(default)s)")
    parser.add_argument("--note", default="", help="what else the machine was doing")
    parser.add_argument("--out", type=Path, default=RESULTS / "score_speed.json")
    options = parser.parse_args(argv)
    return run_command(lambda: measure(options))


def measure(options: argparse.Namespace) -> int:
    """Measure, write and print; 1 where the two scorers disagree."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_case(folder)
        result = _measure(folder, options)
    result["machine"] = _machine(options)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))
    return 0 if result.get("same_scores", True) else 1


def make_labels(*, seed: int) -> NDArray[np.uint8]:
    """Give (287, 512, 512) labels 0 to 6: uneven ellipsoids; another seed moves and stretches them a little."""
    rng = np.random.default_rng(seed)
    z, y, x = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    labels = np.zeros(SHAPE, np.uint8)
    for label, (centre, radii) in enumerate(ORGANS, 1):
        at, size = np.array(centre) + rng.normal(0, 1.2, 3), np.array(radii) * rng.uniform(0.97, 1.03, 3)
        waves = 0.03 * np.sin(z / 7 + rng.uniform(0, 6)) + 0.05 * np.sin(y / 9) * np.cos(x / 11)
        distance = ((z - at[0]) / size[0]) ** 2 + ((y - at[1]) / size[1]) ** 2 + ((x - at[2]) / size[2]) ** 2
        labels[distance + waves < 1] = label
    return labels


def _write_case(folder: Path) -> None:
    for name in ("gts", "segs"):
        (folder / name).mkdir()
    write_reference(folder / "gts" / CASE, make_labels(seed=1), spacing_mm=SPACING_MM)
    write_labels(folder / "segs" / CASE, make_labels(seed=2))


def _measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Let the scorers take turns, so that a change of the machine's load meets all of them."""
    gts, segs = str(folder / "gts"), str(folder / "segs")
    ours = [sys.executable, "-m", "evaluation.score", "--segs", segs, "--gts", gts]
    commands = {
        "official": [*ours, "--out", str(folder / "official.csv")],
        "honest": [*ours, "--mode", "honest", "--out", str(folder / "honest.csv")],
    }
    if options.original is not None:
        script = str((options.original / "compute_metrics.py").resolve())
        table = str(folder / "original.csv")
        # One case keeps one of its workers busy, whatever their number.
        commands["original"] = [
            options.original_python, script, "-s", segs, "-g", gts, "-csv_dir", table, "-num_workers", "2",
        ]  # fmt: skip
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in commands}
    for _ in range(options.rounds):
        for name, command in commands.items():
            runs[name].append(_run(command))
    result: dict[str, Any] = {
        "volume": list(SHAPE),
        "labels": len(ORGANS),
        "spacing_mm_zyx": list(SPACING_MM),
        "scores": {name: _scores(folder / f"{name}.csv") for name in commands},
        "median_seconds": {name: _median(runs[name], "seconds") for name in commands},
        "median_cpu_seconds": {name: _median(runs[name], "cpu_seconds") for name in commands},
        "runs": runs,
    }
    if "original" in commands:
        scores = result["scores"]
        result["same_scores"] = scores["official"] == scores["original"]
        for key in ("seconds", "cpu_seconds"):
            medians = result[f"median_{key}"]
            result[f"times_faster_{key}"] = round(medians["original"] / medians["official"], 1)
    return result


def _run(command: list[str]) -> dict[str, float]:
    """Run one command to its end; give wall seconds, CPU seconds with its children, and the load before."""
    load = os.getloadavg()[0]
    cost = process_cost(command)
    return {
        "seconds": round(cost.seconds, 2),
        "cpu_seconds": round(cost.cpu_seconds, 2),
        "load_average_before": round(load, 2),
    }


def _scores(table: Path) -> dict[str, float]:
    with table.open(newline="", encoding="utf-8") as stream:
        [row] = csv.DictReader(stream)
    return {"dsc": float(row["dsc"]), "nsd": float(row["nsd"])}


def _median(runs: list[dict[str, float]], key: str) -> float:
    return round(statistics.median(run[key] for run in runs), 2)


def _machine(options: argparse.Namespace) -> dict[str, Any]:
    """Give what the figures depend on, each scorer's own Python among it."""
    processors = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    interpreters = {"ours": sys.executable}
    if options.original is not None:
        interpreters["original"] = options.original_python
    ask = "import sys, numpy, scipy; print(sys.version.split()[0], numpy.__version__, scipy.__version__)"
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _answer(["git", "rev-parse", "--short", "HEAD"]),
        "processor": processors[0] if processors else platform.processor(),
        "cores": usable_cores(),
        "python_numpy_scipy": {name: _answer([path, "-c", ask]) for name, path in interpreters.items()},
        "note": options.note,
    }


def _answer(command: list[str]) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
