"""The designs of a race: finds them, trains them in processes of their own, and gives their exported weights.

A design is a system of `benchmarks.rows`, or what a config in train/configs describes. `benchmarks.race` runs them in
turn and judges what comes out.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from benchmarks import ROOT
from benchmarks.judge import export_random
from benchmarks.rows import CONFIGS, ORIGINS, ROWS, Origin
from graysam.engines.select import read_cpu_facts
from graysam.errors import GraySamError
from graysam.export import export
from train.config import read_config
from train.run_folder import read_rows

# Passive waiting and an allocator that keeps its memory (docs/train.md): without, a run may be 7 times slower.
CPU_SETTINGS = {
    "OMP_WAIT_POLICY": "passive",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "100000000000",
    "MALLOC_TOP_PAD_": "268435456",
    "MALLOC_ARENA_MAX": "1",
    "OMP_NUM_THREADS": "1",
}
CURVE_POINTS = 3  # validations of a learning curve, the last one at the end
TEACHER: Final = "litemedsam"
STAGE_ONE: Final = frozenset({"swin-litemedsam"})
"""Designs whose paper first teaches the encoder what the teacher's sees."""
TUNED: Final = "-tuned"

Way = Literal["as it is", "trained", "tuned", "random"]


class RaceError(GraySamError):
    """A design could not be trained, or its weights are not there."""


@dataclass(frozen=True)
class Entrant:
    """A design in the race.

    Attributes:
        name: of its folder and its row.
        way: where its weights come from: as they lie in the folder of weights, trained here from the start, trained
            here from those ("tuned"), or random.
        config: what trains it, and what its spec is.
        weights: name in the folder of weights; of those that are as they are or tuned.
    """

    name: str
    way: Way
    config: Path
    weights: str = ""


def entrants() -> dict[str, Entrant]:
    """Give the systems of the field as they stand in `benchmarks.rows`, by name, in its order."""
    ways: dict[Origin, Way] = {"repository": "trained", "race": "trained", "released": "as it is", "random": "random"}
    found = []
    for row in ROWS:
        name, config = row.spec.name, CONFIGS / f"{row.config}.toml"
        found.append(Entrant(name, ways[row.origin], config, name))
        if row.origin == "released":
            found.append(Entrant(name + TUNED, "tuned", config, name))
        if row.origin == "repository":
            found.append(Entrant(name + "-shipped", "as it is", config, name))
    return {each.name: each for each in found}


def entrant(design: str) -> Entrant:
    """Find a design: of the field's, or the one that a config describes, by its name or its path.

    Raises:
        RaceError: there is none.
    """
    known = entrants()
    if design in known:
        return known[design]
    path = config_path(design)
    return Entrant(path.stem, "trained", path)


def config_path(design: str) -> Path:
    """Find a design's config.

    Raises:
        RaceError: there is none.
    """
    for path in (Path(design), CONFIGS / f"{design}.toml"):
        if path.is_file():
            return path
    known = ", ".join(sorted({*entrants(), *(each.stem for each in CONFIGS.glob("*.toml"))}))
    raise RaceError(f"design {design!r}: no such file, and not one of {known}.")


def training_command(
    config: Path,
    store: Path,
    folder: Path,
    *,
    minutes: float,
    processes: int,
    validate_prompts: int,
    initial: Path | None = None,
) -> list[str]:
    """Give the command that trains one design."""
    options = ["--config", str(config), "--store", str(store), "--out", str(folder), "--minutes", str(minutes)]
    options += ["--precision", training_precision(), *(["--init", str(initial)] if initial else [])]
    options += ["--validate-minutes", str(minutes / CURVE_POINTS), "--validate-prompts", str(validate_prompts)]
    if processes == 1:
        return [sys.executable, "-m", "train.run", *options]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return [*torchrun, "-m", "train.run", *options]


def training_precision() -> str:
    """Give the number format to train in on this CPU, the same for all designs, whatever their configs say."""
    return "bf16" if read_cpu_facts().has_bf16 else "fp32"


def distillation_command(
    config: Path, store: Path, folder: Path, *, minutes: float, teacher: Path, slices: int, threads: int
) -> list[str]:
    """Give the command of stage one; the teacher's embeddings lie beside the runs, for all students."""
    options = ["--teacher", str(teacher), "--config", str(config), "--store", str(store), "--out", str(folder)]
    options += ["--embeddings", str(folder.parent.parent / "embeddings"), "--slices", str(slices), "--bits", "8"]
    options += ["--precision", training_precision()]
    return [sys.executable, "-m", "train.distill", *options, "--minutes", str(minutes), "--threads", str(threads)]


def run_stage(command: Sequence[str], what: str, held: int) -> None:
    """Run one stage in processes of its own, which end, and save what they have, when this one is interrupted.

    held: the descriptor that keeps the race's folder; with it the folder stays kept while the stage runs, even where
        this process is killed.

    Raises:
        RaceError: it failed.
    """
    # The processes run in the repository's root, and in a group of their own: they are told once to stop, by us.
    environment = {**os.environ, **CPU_SETTINGS}
    stage = subprocess.Popen(command, cwd=ROOT, env=environment, pass_fds=[held], process_group=0)
    try:
        status = stage.wait()
    except BaseException:
        stage.terminate()
        stage.wait()
        raise
    if status != 0:
        raise RaceError(f"{what} ended with status {status}; the same command goes on.")


def prepare_weights(one: Entrant, folder: Path, options: argparse.Namespace, held: int) -> tuple[Path, str]:
    """Give the exported weights of a design, and where they come from in words; train them first where needed.

    held: see `run_stage`.

    Raises:
        RaceError: weights are not there, or the training failed.
    """
    exported = folder / "weights"
    if one.way == "as it is":
        shipped = one.name.removesuffix("-shipped") != one.name
        return _ready_weights(one, options), ORIGINS["repository" if shipped else "released"]
    if one.way == "random":
        spec = read_config(one.config).model
        # Enough slices to find any range; what int8 answers with random weights does not matter.
        export_random(spec, exported, calibration=options.store.resolve(), count=2)
        return exported, ORIGINS["random"]
    words = train_entrant(one, folder, options, held)
    count = options.calibration_slices
    export(folder / "best.pt", exported, calibration=options.store if count else None, count=count)
    return exported, words


def _ready_weights(one: Entrant, options: argparse.Namespace) -> Path:
    folder: Path = options.weights / one.weights
    if not (folder / "spec.json").is_file():
        raise RaceError(f"{one.name}: wanted its weights in {folder}, found none; make them with make weights-NAME.")
    return folder


def train_entrant(one: Entrant, folder: Path, options: argparse.Namespace, held: int) -> str:
    """Train a design, or go on with it, after stage one where its paper has one; say for how long.

    held: see `run_stage`.
    """
    config, store, run = (path.resolve() for path in (one.config, options.store, folder))
    initial, before = None, ""
    if one.way == "tuned":
        initial = (_ready_weights(one, options) / "model.pt").resolve()
        before = "released, then "
    elif one.name in STAGE_ONE and options.stage_one > 0:
        teacher = (_ready_weights(Entrant(TEACHER, "as it is", config, TEACHER), options) / "model.pt").resolve()
        stage = run / "stage-one"
        command = distillation_command(
            config,
            store,
            stage,
            minutes=options.stage_one,
            teacher=teacher,
            slices=options.stage_one_slices,
            threads=options.threads,
        )
        run_stage(command, f"{one.name}: distillation", held)
        initial = stage / "best.pt"
        before = f"distilled for {options.stage_one:g} min, then "
    command = training_command(
        config,
        store,
        run,
        minutes=options.minutes,
        processes=options.processes,
        validate_prompts=options.validate_prompts,
        initial=initial,
    )
    run_stage(command, f"{one.name}: training", held)
    last = read_rows(folder / "validation.csv")[-1]
    told = read_config(config)
    images = round(last["step"]) * told.optimiser.accumulate * told.data.images_per_batch * options.processes
    return f"{before}trained here for {last['minutes']:.3g} min, {images:,} images"
