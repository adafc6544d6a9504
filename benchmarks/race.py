"""Trains the systems of the field for the same time on the same data, and puts their quality and cost into one table.

    python -m benchmarks.race --list
    python -m benchmarks.race --store S --out runs/race --minutes 20 --stage-one 5
    python -m benchmarks.race --store S --out runs/race --minutes 20 --designs graysam graysam-narrow l0 l0-lean

A design is a name of `--list`, the name of a config in train/configs, or the path of one; without `--designs` the whole
list runs. Systems with published weights are judged with them, and once more after training from them (NAME-tuned);
those whose weights cannot be had are timed with random ones. The ellipse in the box is always a row.

Given again, the command goes on where it was stopped, and tries again what failed: a design that fails costs no other.
The folder gets a run for each design; after each one come race.md with the table, race.json, and curves.csv with all
validations. `benchmarks.peers` makes docs/peers.md of race.json.

Evaluation is kept short: a dozen objects of each modality and split, drawn by a fixed seed, the same for all rows, two
boxes each; fewer timed runs where they are slow; and few prompts where a training validates. With 20 minutes of
training that is about a fifth of them over all rows, and half of them for a row with 50 GMAC an image.
"""

from __future__ import annotations

import argparse
import csv
import logging
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from benchmarks.judge import SHOWN_KINDS, Judged, as_judged, export_random, judge, judge_ellipse, prompts_of
from benchmarks.machine import machine_facts
from benchmarks.recorded import read_figures, write_figures
from benchmarks.rows import CONFIGS, ORIGINS, ROWS, Origin, listing
from evaluation.prompts import BOX_KIND_TITLES, BOX_KINDS, ValidationPrompt
from evaluation.tables import markdown_table
from graysam.console import EXIT_CASE_FAILED, EXIT_FINE, EXIT_NOTHING_DONE, kill_interrupts, run_command
from graysam.engines.select import read_cpu_facts
from graysam.errors import GraySamError
from graysam.export import export
from graysam.store import index_hash, open_store
from train.config import read_config
from train.run_folder import only_one, read_rows

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
CURVE_POINTS = 3  # validations of a learning curve, the last one at the end
TEACHER: Final = "litemedsam"
STAGE_ONE: Final = frozenset({"swin-litemedsam"})
"""Designs whose paper first teaches the encoder what the teacher's sees."""
TUNED: Final = "-tuned"
SETTINGS_FILE: Final = "settings.json"
NOT_YET: Final = "not yet run"
IF_INTERRUPTED: Final = "stopped; what was done is kept: the same command goes on from there"

Way = Literal["as it is", "trained", "tuned", "random"]
TURNS: Final[tuple[Way, ...]] = ("as it is", "trained", "tuned", "random")
"""In which order the ways come: what is soon done first, and what has no quality to show last."""


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
    stage = subprocess.Popen(command, cwd=REPOSITORY, env=environment, pass_fds=[held], process_group=0)
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


def race_table(rows: Sequence[Judged]) -> str:
    """Lay out the rows: those with scores by the first split's tight boxes, then those timed only; DSC/NSD in %."""
    splits = list(dict.fromkeys(split for row in rows for split in row.scores))
    header = ["design", "weights", "M params", "GMAC image + box"]
    header += [f"{split}, {BOX_KIND_TITLES[kind]}" for split in splits for kind in SHOWN_KINDS]
    header += ["ms slice + box, fp32", "the same, int8", "2D: s, MiB", "3D: s, MiB"]
    ordered = sorted(rows, key=lambda row: -row.scores[splits[0]]["tight"][0] if row.scores else 1.0)
    return markdown_table(header, [_cells(row, splits) for row in ordered]) + "\n"


def _cells(row: Judged, splits: Sequence[str]) -> list[str]:
    costs = ["" if row.million_parameters is None else f"{row.million_parameters:.2f}"]
    costs.append("" if row.gmac_encode is None else f"{row.gmac_encode:.2f} + {row.gmac_box:.2f}")
    scores = [_percent(row.scores[split][kind]) if row.scores else "" for split in splits for kind in SHOWN_KINDS]
    times = []
    for precision in ("fp32", "int8"):
        took = row.milliseconds.get(precision)
        times.append(f"{took['encode_ms_median']:.0f} + {took['decode_ms_median']:.1f}" if took else "")
    for kind in ("2d", "3d"):
        process = row.processes.get(kind)
        times.append(f"{process['seconds']:.2f}, {process['mebibytes']:.0f}" if process else "")
    return [row.name, row.weights, *costs, *scores, *times]


def _percent(score: tuple[float, float]) -> str:
    return f"{100 * score[0]:.1f}/{100 * score[1]:.1f}"


def write_results(folder: Path, rows: Sequence[Judged], facts: Mapping[str, Any]) -> None:
    """Write race.md, race.json and curves.csv."""
    (folder / "race.md").write_text(race_table(rows), encoding="utf-8")
    write_figures(folder / "race.json", {**facts, "rows": [asdict(row) for row in rows]})
    columns = ("step", "minutes", *(f"{kind}_mean_{metric}" for kind in BOX_KINDS for metric in ("dsc", "nsd")))
    with (folder / "curves.csv").open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(("design", *columns))
        for each in rows:
            for row in read_rows(folder / each.name / "validation.csv"):
                writer.writerow((each.name, *(row[column] for column in columns)))


def judged_row(
    one: Entrant, options: argparse.Namespace, prompts: Mapping[str, Sequence[ValidationPrompt]], held: int
) -> Judged:
    """Train and judge a design, or read what was found when it was.

    held: see `run_stage`.

    Raises:
        RaceError: weights are not there, or the training failed.
    """
    folder: Path = options.out / one.name
    judged = folder / "judged.json"
    if not judged.exists():
        folder.mkdir(parents=True, exist_ok=True)
        weights, words = prepare_weights(one, folder, options, held)
        row = judge(one.name, weights, words, prompts, threads=options.threads, for_speed_only=one.way == "random")
        write_figures(judged, asdict(row))
        logger.info("race: %s judged", one.name)
    return as_judged(read_figures(judged))


def check_settings(options: argparse.Namespace) -> None:
    """Keep the settings on which figures depend with the first call, and refuse others in the same folder.

    Raises:
        RaceError: naming what differs.
    """
    names = ("minutes", "splits", "per_modality", "validate_prompts", "calibration_slices", "threads", "processes")
    told = {name: getattr(options, name) for name in (*names, "stage_one", "stage_one_slices")}
    told["store_index_sha256"] = index_hash(options.store)
    path = options.out / SETTINGS_FILE
    before = read_figures(path) if path.is_file() else told
    if differing := [name for name, value in told.items() if before.get(name) != value]:
        words = ", ".join(f"{name} was {before.get(name)} and is {told[name]}" for name in differing)
        raise RaceError(f"{options.out}: holds a race with other settings ({words}); give those, or another --out.")
    write_figures(path, told)


def chosen_splits(store: Path, wanted: Sequence[str]) -> list[str]:
    """Give those of the wanted splits that a store has; the others are named in a warning.

    Raises:
        RaceError: it has none.
    """
    present = {entry.split for entry in open_store(store).entries}
    if missing := [split for split in wanted if split not in present]:
        logger.warning("%s: has no split %s; the table goes without", store.name, ", ".join(missing))
    chosen = [split for split in wanted if split in present]
    if not chosen:
        raise RaceError(f"{store}: wanted a split {' or '.join(wanted)}, found {', '.join(sorted(present))}.")
    return chosen


class ListRows(argparse.Action):
    """Shows the rows and ends the program, whatever else was given, as `--help` does."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Print a line for each row."""
        print(listing())
        parser.exit()


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action=ListRows, nargs=0, help="show the systems of the field, and do nothing else")
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder for runs and results")
    parser.add_argument("--minutes", type=float, required=True, help="of training for each design")
    parser.add_argument("--designs", nargs="+", help="names of the list or of configs, or files (all of the list)")
    parser.add_argument("--splits", nargs="+", default=["val", "far"], help="of the store, to score (default: val far)")
    parser.add_argument("--stage-one", type=float, default=0.0, metavar="MINUTES", help="of distillation (default: 0)")
    parser.add_argument("--stage-one-slices", type=int, default=300, metavar="N", help="to distil from (300)")
    parser.add_argument("--weights", type=Path, default=REPOSITORY / "weights", metavar="DIR", help="published weights")
    parser.add_argument("--calibration-slices", type=int, default=60, metavar="N", help="for int8; 0: none (60)")
    parser.add_argument("--processes", type=int, default=2, help="training processes of one thread (default: 2)")
    parser.add_argument("--threads", type=int, default=2, help="threads for the timings (default: 2)")
    parser.add_argument(
        "--per-modality", type=int, default=12, metavar="N", help="objects that rows are scored on (12)"
    )
    parser.add_argument("--validate-prompts", type=int, default=2, metavar="N", help="the same during training (2)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the race and print its table; exit status 1 when a design failed, 2 when no row could be had."""
    options = parse_options(argv)
    with kill_interrupts():
        return run_command(lambda: race(options), with_time=True, if_interrupted=IF_INTERRUPTED)


def race(options: argparse.Namespace) -> int:
    """Run the race, write its files after each row, and print its table."""
    with only_one(options.out) as held:
        check_settings(options)
        splits = chosen_splits(options.store, options.splits)
        chosen = [entrant(design) for design in options.designs or entrants()]
        chosen.sort(key=lambda one: TURNS.index(one.way))
        prompts = prompts_of(open_store(options.store), splits, per_modality=options.per_modality)
        ellipse = judge_ellipse(prompts)
        rows: list[Judged] = []
        missing = {one.name: NOT_YET for one in chosen}
        for one in chosen:
            try:
                rows.append(judged_row(one, options, prompts, held))
                del missing[one.name]
            except Exception as error:  # hours of other designs must not be lost for one
                logger.error("race: %s: %s", one.name, error, exc_info=not isinstance(error, GraySamError))
                missing[one.name] = f"failed: {error}"
            write_results(options.out, [*rows, ellipse], {**facts_of(options, prompts), "missing": missing})
    print(race_table([*rows, ellipse]))
    return EXIT_FINE if not missing else EXIT_CASE_FAILED if rows else EXIT_NOTHING_DONE


def facts_of(options: argparse.Namespace, prompts: Mapping[str, Sequence[ValidationPrompt]]) -> dict[str, Any]:
    """Say how, when and on what the rows were made."""
    return {
        "command": "python -m benchmarks.race --store STORE --minutes MINUTES",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine_facts(("numpy", "opencv-python-headless", "openvino", "torch")),
        "threads": options.threads,
        "training_precision": training_precision(),
        "per_modality": options.per_modality,
        "prompts": {split: len(chosen) for split, chosen in prompts.items()},
    }


if __name__ == "__main__":
    raise SystemExit(main())
