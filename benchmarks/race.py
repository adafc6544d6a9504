"""Trains several designs for the same time on the same data, and puts their quality and cost into one table.

    python -m benchmarks.race --store S --out runs/race --minutes 20 --designs graysam graysam-narrow l0 l0-lean

    python -m benchmarks.race --list

A design is the name of a config in train/configs, or the path of one; `--list` shows those of the field's systems, and
where their weights come from. Given again, the command goes on where it was
stopped. The folder gets a run for each design, race.md with the table, race.json, and curves.csv with every validation
of every design.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from benchmarks.model_cost import ModelCost, measure_model
from benchmarks.recorded import read_figures
from benchmarks.rows import CONFIGS, listing
from evaluation.prompts import (
    BASELINES,
    BOX_KIND_TITLES,
    BOX_KINDS,
    BoxKind,
    engine_answer,
    means_by_kind,
    validation_prompts,
)
from evaluation.tables import markdown_table
from graysam.api import Segmenter
from graysam.console import run_command
from graysam.errors import GraySamError
from graysam.store import open_store
from train.config import read_config
from train.run_folder import read_rows

logger = logging.getLogger("benchmarks")

REPOSITORY = Path(__file__).resolve().parent.parent
# Passive waiting and an allocator that keeps its memory (docs/train.md): without, a run may be 7 times slower.
CPU_SETTINGS = {
    "OMP_WAIT_POLICY": "passive",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "100000000000",
    "MALLOC_TOP_PAD_": "268435456",
    "MALLOC_ARENA_MAX": "1",
    "OMP_NUM_THREADS": "1",
}
BOX_COUNTS = (1, 8)
TIMED_REPEATS = 10
Baselines = Mapping[str, Mapping[BoxKind, tuple[float, float]]]
CURVE_POINTS = 4  # validations of a learning curve, the last one at the end


class RaceError(GraySamError):
    """A design could not be trained."""


@dataclass(frozen=True)
class Entry:
    """A design's figures.

    Attributes:
        design: name of its config.
        minutes, images: of training.
        million_parameters: of the whole model.
        gmac_encode, gmac_box: multiply-accumulates of an image and of a box, in thousand millions.
        ms_encode, ms_box, ms_box_of_8: medians in fp32; a box alone, and its share when eight go together.
        scores: (DSC, NSD) over the modalities, by kind of box.
    """

    design: str
    minutes: float
    images: int
    million_parameters: float
    gmac_encode: float
    gmac_box: float
    ms_encode: float
    ms_box: float
    ms_box_of_8: float
    scores: dict[BoxKind, tuple[float, float]]


def config_path(design: str) -> Path:
    """Find a design's config.

    Raises:
        RaceError: there is none.
    """
    for path in (Path(design), CONFIGS / f"{design}.toml"):
        if path.is_file():
            return path
    known = ", ".join(sorted(each.stem for each in CONFIGS.glob("*.toml")))
    raise RaceError(f"design {design!r}: no such file, and not one of {known}.")


def training_command(
    config: Path, store: Path, folder: Path, *, minutes: float, processes: int, per_modality: int
) -> list[str]:
    """Give the command that trains one design."""
    options = ["--config", str(config), "--store", str(store), "--out", str(folder), "--minutes", str(minutes)]
    options += ["--validate-minutes", str(minutes / CURVE_POINTS), "--validate-prompts", str(per_modality)]
    if processes == 1:
        return [sys.executable, "-m", "train.run", *options]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return [*torchrun, "-m", "train.run", *options]


def train_design(config: Path, store: Path, folder: Path, *, minutes: float, processes: int, per_modality: int) -> None:
    """Train one design, or go on with it, in processes of their own.

    Raises:
        RaceError: the training failed.
    """
    paths = [path.resolve() for path in (config, store, folder)]  # the processes run in the repository's root
    command = training_command(*paths, minutes=minutes, processes=processes, per_modality=per_modality)
    done = subprocess.run(command, cwd=REPOSITORY, env={**os.environ, **CPU_SETTINGS})
    if done.returncode != 0:
        raise RaceError(f"{config.stem}: training ended with status {done.returncode}; the same command goes on.")


def judge(
    design: str, config: Path, store: Path, folder: Path, *, processes: int, threads: int, per_modality: int
) -> Entry:
    """Score a trained design on all validation prompts, and measure what it costs."""
    settings = read_config(config)
    spec = settings.model
    segmenter = Segmenter.load(folder / "best.pt", "torch", "fp32", threads)
    prompts = validation_prompts(open_store(store), per_modality=per_modality)
    means = means_by_kind(prompts, engine_answer(segmenter.engine))
    torch.set_num_threads(threads)
    cost = measure_model(spec, box_counts=BOX_COUNTS, repeats=TIMED_REPEATS)
    last = read_rows(folder / "validation.csv")[-1]
    images_per_step = settings.data.images_per_batch * settings.optimiser.accumulate * processes
    return entry_from(
        design,
        cost,
        minutes=last["minutes"],
        images=int(last["step"]) * images_per_step,
        scores={kind: means[kind]["mean"] for kind in means},
    )


def entry_from(
    design: str, cost: ModelCost, *, minutes: float, images: int, scores: dict[BoxKind, tuple[float, float]]
) -> Entry:
    """Put the figures of a design together."""
    encode, one, eight = cost.steps
    return Entry(
        design=design,
        minutes=minutes,
        images=images,
        million_parameters=round(cost.parameters / 1e6, 2),
        gmac_encode=encode.gmac,
        gmac_box=one.gmac,
        ms_encode=encode.ms_median,
        ms_box=one.ms_median,
        ms_box_of_8=round(eight.ms_median / BOX_COUNTS[1], 1),
        scores=scores,
    )


def race_table(entries: Sequence[Entry], baselines: Baselines) -> str:
    """Lay out the designs, best first, and the baselines below them; DSC/NSD in %."""
    header = ["design", "min", "images", "M params", "GMAC image + box", "ms image; box; box of 8"]
    rows = [
        [
            each.design,
            f"{each.minutes:.1f}",
            each.images,
            f"{each.million_parameters:.2f}",
            f"{each.gmac_encode:.2f} + {each.gmac_box:.2f}",
            f"{each.ms_encode:.0f}; {each.ms_box:.0f}; {each.ms_box_of_8:.1f}",
            *_by_kind(each.scores),
        ]
        for each in sorted(entries, key=lambda each: each.scores["tight"][0], reverse=True)
    ]
    rows += [[name, *[""] * (len(header) - 1), *_by_kind(scores)] for name, scores in baselines.items()]
    return markdown_table([*header, *BOX_KIND_TITLES.values()], rows) + "\n"


def _by_kind(scores: Mapping[BoxKind, tuple[float, float]]) -> list[str]:
    return [_percent(scores[kind]) for kind in BOX_KINDS]


def _percent(score: tuple[float, float]) -> str:
    return f"{100 * score[0]:.1f}/{100 * score[1]:.1f}"


def write_results(folder: Path, entries: Sequence[Entry], baselines: Baselines) -> None:
    """Write race.md, race.json and curves.csv."""
    (folder / "race.md").write_text(race_table(entries, baselines))
    figures = {"entries": [asdict(entry) for entry in entries], "baselines": baselines}
    (folder / "race.json").write_text(json.dumps(figures, indent=1) + "\n")
    columns = ("step", "minutes", *(f"{kind}_mean_{metric}" for kind in BOX_KINDS for metric in ("dsc", "nsd")))
    with (folder / "curves.csv").open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(("design", *columns))
        for entry in entries:
            for row in read_rows(folder / entry.design / "validation.csv"):
                writer.writerow((entry.design, *(row[column] for column in columns)))


def run_race(options: argparse.Namespace) -> list[Entry]:
    """Train and judge every design that has not been judged yet."""
    entries: list[Entry] = []
    for design in options.designs:
        config = config_path(design)
        folder: Path = options.out / config.stem
        judged = folder / "race_entry.json"
        if not judged.exists():
            folder.mkdir(parents=True, exist_ok=True)
            train_design(
                config,
                options.store,
                folder,
                minutes=options.minutes,
                processes=options.processes,
                per_modality=options.per_modality,
            )
            entry = judge(
                config.stem,
                config,
                options.store,
                folder,
                processes=options.processes,
                threads=options.threads,
                per_modality=options.per_modality,
            )
            judged.write_text(json.dumps(asdict(entry)) + "\n")
        entries.append(_read_entry(judged))
        logger.info("race: %s judged", config.stem)
    return entries


def _read_entry(path: Path) -> Entry:
    values = read_figures(path)
    scores = {kind: (float(values["scores"][kind][0]), float(values["scores"][kind][1])) for kind in BOX_KINDS}
    return Entry(**{**values, "scores": scores})


class ListRows(argparse.Action):
    """Shows the rows and ends the program, whatever else was given, as `--help` does."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Print a line for each row."""
        print(listing())
        parser.exit()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the race and print its table; exit status 2 when a design could not be trained."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action=ListRows, nargs=0, help="show the systems of the field, and do nothing else")
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder for runs and results")
    parser.add_argument("--minutes", type=float, required=True, help="of training for each design")
    parser.add_argument("--designs", nargs="+", required=True, help="names in train/configs, or files")
    parser.add_argument("--processes", type=int, default=2, help="training processes of one thread (default: 2)")
    parser.add_argument("--threads", type=int, default=2, help="threads for the timings (default: 2)")
    parser.add_argument("--per-modality", type=int, default=55, help="validation prompts (default: 55)")
    options = parser.parse_args(argv)
    return run_command(lambda: race(options))


def race(options: argparse.Namespace) -> None:
    """Run the race, write its files and print its table."""
    entries = run_race(options)
    prompts = validation_prompts(open_store(options.store), per_modality=options.per_modality)
    baselines = {
        name: {kind: means["mean"] for kind, means in means_by_kind(prompts, answer).items()}
        for name, answer in BASELINES.items()
    }
    write_results(options.out, entries, baselines)
    print(race_table(entries, baselines))


if __name__ == "__main__":
    raise SystemExit(main())
