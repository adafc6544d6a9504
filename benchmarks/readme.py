"""Puts the recorded figures into README.md and docs/results.md: python -m benchmarks.readme --write.

Both sections "Results" are made from benchmarks/results/*.json and from nothing else, so that no figure can be older
than its file (tests/benchmarks/test_readme_results.py). The README gets one short table, docs/results.md all of them.
A file that is not there leaves its part out; validation.json is of the
validation split, validation-<split>.json of any other. docs/results.md tells which command makes which file.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import ROOT
from benchmarks.overlap import overlap_table
from benchmarks.pages import page_with
from benchmarks.peer_scores import TOLD, cell_note, slice_cell, slice_columns, volume_cell, volume_columns
from benchmarks.recorded import OWN, PEER, RESULTS, read_figures, split_of
from benchmarks.unseen import ELLIPSE, NOT_MEASURED, group_means, unseen_table
from benchmarks.volume_scores import VOLUME_BOX_KINDS, volume_key
from benchmarks.weights_id import KEY as WEIGHTS_KEY
from evaluation.prompts import BOX_KINDS, BoxKind
from evaluation.tables import markdown_table
from graysam.console import run_command

HEADING = "## Results"
SUMMARY_INTRODUCTION = "Mean DSC (overlap with the reference) in %. A tight box is the smallest that holds the object."
UNSEEN_TITLES = {OWN: "GraySAM", PEER: "LiteMedSAM", ELLIPSE: "ellipse in the box"}
SUMMARY_HEADER = ["prompts", "number", *UNSEEN_TITLES.values()]
ENGINE_TITLES = {"openvino": "OpenVINO"}
ROW_TITLES = {
    "tight": "tight boxes",
    "both_ways": "each side off by up to 5 px",
    "outwards": "each side off by 0 to 5 px outwards",
}
PRECISION_TITLES = {
    "tight": "DSC, tight boxes",
    "both_ways": "DSC, boxes off by up to 5 px",
    "outwards": "DSC, boxes off outwards by up to 5 px",
}
COLUMN_TITLES = {"tight": "tight box", "both_ways": "off by up to 5 px", "outwards": "off outwards by up to 5 px"}

Figures = Mapping[str, Any]


def main(argv: Sequence[str] | None = None) -> int:
    """Print both sections, or write them into the two files; exit status 2 when a file has no such section."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.readme", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--write", action="store_true", help="replace the sections; otherwise print them")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR", help="folder of the JSON files")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md", metavar="FILE", help="gets the short table")
    parser.add_argument(
        "--page", type=Path, default=ROOT / "docs" / "results.md", metavar="FILE", help="gets all tables"
    )
    options = parser.parse_args(argv)
    return run_command(lambda: fill_in(options))


def fill_in(options: argparse.Namespace) -> None:
    """Print or write both sections.

    Raises:
        BenchmarkError: a file has no such section; then neither is written.
    """
    sections = {options.readme: summary_section(options.results), options.page: results_section(options.results)}
    if not options.write:
        print(*sections.values(), sep="\n\n")
        return
    texts = {path: page_with(path, HEADING, section) for path, section in sections.items()}
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")


def summary_section(folder: Path) -> str:
    """Give the README's section as Markdown, without its heading: one table, where it comes from, and the speed."""
    parts, rows = [SUMMARY_INTRODUCTION], []
    unseen, validation, startup, race = (_read(folder, name) for name in ("unseen", "validation", "startup", "peers"))
    if unseen:
        rows.append(_unseen_row(unseen))
    if validation:
        rows += _validation_rows(validation)
    if rows:
        parts.append(markdown_table(SUMMARY_HEADER, rows))
    if unseen:
        parts.append(f"First row (`unseen.json`): {_unseen_words(unseen)}")
    if validation:
        parts.append(
            f"Validation: held-out cases of the data sets trained on, {_engine(validation)} (`validation.json`). "
            f"{cell_note(validation, PEER)}".rstrip()
        )
    if startup:
        parts.append(_startup_sentence(startup))
    if race:
        parts.append(_race_summary(race))
    return "\n\n".join(parts)


def _unseen_row(figures: Figures) -> list[str]:
    means = group_means(figures["rows"])["mean"]
    cells = (f"{100 * means[name]:.1f}" if name in means else NOT_MEASURED for name in UNSEEN_TITLES)
    return ["unseen data sets, loose boxes", f"{sum('dsc' in row for row in figures['rows'])} cases", *cells]


def _unseen_words(figures: Figures) -> str:
    """Say what the comparison on unseen data sets is of, and where the other model is ahead."""
    means = group_means(figures["rows"])
    groups = [group for group in means if group != "mean"]
    behind = [
        f"{group} ({100 * of_group[PEER]:.2f} to {100 * of_group[OWN]:.2f})"
        for group, of_group in means.items()
        if group != "mean" and of_group.get(PEER, 0.0) > of_group[OWN]
    ]
    own = figures["models"][OWN]
    return (
        f"whole cases of data sets that GraySAM never saw, mean over {len(groups)} groups (modalities, volumes apart); "
        "each side of a box lies 0 to 5 px (of 256) outside the object; "
        f"{ENGINE_TITLES.get(own['engine'], own['engine'])} {own['precision']}, LiteMedSAM with its released weights; "
        f"LiteMedSAM leads in {', '.join(behind) if behind else 'none'}."
    )


def _validation_rows(figures: Figures) -> list[list[str]]:
    """Give the validation split's rows: slices with the tight and the loosest boxes measured, and whole volumes."""
    rows = []
    if "slices" in figures:
        loosest = _kinds(figures)[-1]
        for kind in dict.fromkeys(("tight", loosest)):
            rows.append(_slices_row(figures, kind))
    if "volumes" in figures:
        whole = figures["volumes"]["all volumes"]
        peer = volume_cell(figures, PEER, "tight") or NOT_MEASURED
        scores = f"{100 * whole['dsc']:.1f}", peer, f"{100 * whole['ellipsoid_dsc']:.1f}"
        rows.append(["validation volumes, one box for each object", f"{whole['volumes']:.0f} volumes", *scores])
    return rows


def _slices_row(figures: Figures, kind: BoxKind) -> list[str]:
    model = next(iter(figures["slices"]))
    means = [100 * figures["slices"][name][kind]["mean"][0] for name in (model, "ellipse")]
    title = f"validation slices, {ROW_TITLES[kind]}"
    peer = slice_cell(figures, PEER, kind) or NOT_MEASURED
    return [title, f"{figures['prompts']} boxes", f"{means[0]:.1f}", peer, f"{means[1]:.1f}"]


def _kinds(figures: Figures) -> list[BoxKind]:
    """Give the kinds of boxes that slices were measured with; files of earlier days lack the last."""
    measured = next(iter(figures["slices"].values()))
    return [kind for kind in BOX_KINDS if kind in measured]


def _split_title(figures: Figures) -> str:
    """Give what a split is called in a table: the validation split in full, others by their own names."""
    split = split_of(figures)
    return "validation" if split == "val" else split


def _startup_sentence(figures: Figures) -> str:
    rows = {row["case"]: row for row in figures["rows"] if row["precision"] == "auto"}
    times = "; ".join(f"{rows[case]['seconds_median']:.1f} s for {size}" for case, size in figures["cases"].items())
    return f"Speed, a whole process from its start to the written file: {times} (`startup.json`; {_machine(figures)})."


def _race_summary(figures: Figures) -> str:
    """Give the race's short form: DSC on its last split with loose boxes, and the time of a slice and a box."""
    split = list(figures["prompts"])[-1]
    found = {row["name"]: (row, row["scores"][split]["outwards"][0]) for row in figures["rows"] if row["scores"]}
    rows = []
    for name, (row, dsc) in sorted(found.items(), key=lambda each: -each[1][1]):
        took = row["milliseconds"].get("fp32", {})
        milliseconds = f"{took['encode_ms_median'] + took['decode_ms_median']:.0f}" if took else ""
        rows.append([name, f"{100 * dsc:.1f}", milliseconds])
    table = markdown_table(["system", f"{split}, loose boxes", "ms, slice + box"], rows)
    note = (
        f"`{split}`: slices of data sets that no training here saw. `graysam-shipped` and `litemedsam` are as "
        "published; the other models learnt here for minutes, far less than their authors' ([peers](docs/peers.md))."
    )
    return f"{table}\n\n{note}"


def results_section(folder: Path) -> str:
    """Give the section of docs/results.md as Markdown, without its heading."""
    makers: dict[str, Callable[[Figures], str]] = {
        "unseen": unseen_part,
        "validation": validation_part,
        "overlap": overlap_part,
        "precision": precision_part,
        "startup": startup_part,
        "score_speed": score_speed_part,
    }
    found = [(describe, _read(folder, name)) for name, describe in makers.items()]
    found[2:2] = [(validation_part, figures) for figures in _other_splits(folder)]
    return "\n\n".join(describe(figures) for describe, figures in found if figures)


def unseen_part(figures: Figures) -> str:
    """Give the comparison with a peer on data sets that the model was not trained on."""
    table = unseen_table(figures, UNSEEN_TITLES)
    return f"**Unseen data sets**: mean DSC in % (`unseen.json`); {_unseen_words(figures)}\n\n{table}"


def _read(folder: Path, name: str) -> dict[str, Any]:
    """Give the figures of a file, or nothing where there is none."""
    path = folder / f"{name}.json"
    return read_figures(path) if path.is_file() else {}


def _other_splits(folder: Path) -> list[dict[str, Any]]:
    """Give the figures of every validation-<split>.json: splits that are neither trained on nor chosen by."""
    return [read_figures(path) for path in sorted(folder.glob("validation-*.json"))]


def validation_part(figures: Figures) -> str:
    """Give the quality on slices of a split, also of the ways that need no learning, and on whole volumes."""
    parts = []
    split = split_of(figures)
    file = "validation.json" if split == "val" else f"validation-{split}.json"
    if "slices" in figures:
        loosest = "boxes with each side off by 0 to 5 px outwards" if "outwards" in _kinds(figures) else ""
        boxes = ["tight boxes", "boxes with each side off by up to 5 px", *([loosest] if loosest else [])]
        parts.append(
            f"**Slices**: DSC / contour NSD (2 px) in %, {_split_title(figures)} slices at 256 pixels, "
            f"{figures['prompts']} boxes, {_engine(figures)}; {', '.join(boxes[:-1])}, and {boxes[-1]} (`{file}`). "
            f"{_who_answers(figures)}"
        )
        parts[-1] = parts[-1].rstrip(". ") + ":"
        parts.append(_slice_table(figures))
    if "volumes" in figures:
        parts.append(
            f"**Whole volumes**: DSC in %, {_split_title(figures)} split, one box for each object, "
            f"{_engine(figures)} (`{file}`):"
        )
        parts.append(_volume_table(figures))
    return "\n\n".join(parts)


def _who_answers(figures: Figures) -> str:
    """Say what a model with hints was told of the boxes, and what the columns of another model are."""
    told = "GraySAM looks at each slice once. "
    told += f'It takes every box for loose, but where a column says "{TOLD}" (`--box-fit tight`). '
    peer = "LiteMedSAM with its released weights, in fp32; in volumes with the propagation of GraySAM. "
    return (told if "slices_told" in figures else "") + (peer if PEER in figures.get("peers", {}) else "")


def _volume_table(figures: Figures) -> str:
    kinds = [kind for kind in VOLUME_BOX_KINDS if volume_key(kind) in figures]
    header = ["", "volumes"]
    rows = [[name, f"{row['volumes']:.0f}"] for name, row in figures["volumes"].items()]
    for kind in kinds:
        columns = volume_columns(figures, kind, "GraySAM")
        off = "" if kind == "tight" else ", box off outwards"
        header += [f"GraySAM{off}", "ellipsoid in that box" if off else "ellipsoid in the box"]
        header += [f"{title}{off}" for title in columns]
        for row, (name, means) in zip(rows, figures[volume_key(kind)].items(), strict=True):
            row += [f"{100 * means[key]:.1f}" for key in ("dsc", "ellipsoid_dsc")]
            row += [f"{100 * column[name]:.1f}" if name in column else "-" for column in columns.values()]
    return markdown_table(header, rows)


def _slice_table(figures: Figures) -> str:
    """Lay out models with every kind of box, the guesses with tight ones, and the ellipse with every kind."""
    kinds, guesses = _kinds(figures), list(figures["slices"])[1:]
    by_name = slice_columns(figures, "GraySAM")
    columns = [
        *((name, kind) for name in by_name if name not in guesses for kind in kinds if kind in by_name[name]),
        *((name, kinds[0]) for name in guesses),
        *(("ellipse", kind) for kind in kinds[1:] if "ellipse" in guesses),
    ]
    head = ["", *(f"{name}, {COLUMN_TITLES[kind]}" for name, kind in columns)]
    rows = [
        [modality, *(_score_cell(by_name[name][kind], modality) for name, kind in columns)]
        for modality in by_name["GraySAM"]["tight"]
    ]
    return markdown_table(head, rows)


def _score_cell(means: Mapping[str, Sequence[float]], modality: str) -> str:
    """Give DSC / NSD in %; a dash for a modality of which another model was given no prompt."""
    return "{:.1f} / {:.1f}".format(*_percent(means[modality])) if modality in means else "-"


def overlap_part(figures: Figures) -> str:
    """Give what the rules of --overlap are worth."""
    return (
        "**Who owns a pixel that two objects claim**: mean DSC in % of the labels as written, by the rules of "
        "`--overlap`; cases with several objects, boxes off outwards by 0 to 5 px of 256; a data set where all rules "
        f"give the same is in the means alone ({_engine(figures)}, `overlap.json`):\n\n"
        f"{overlap_table(figures['rows'], differing=True)}"
    )


def precision_part(figures: Figures) -> str:
    """Give what quantization costs and gains."""
    rows = []
    kinds = [kind for kind in BOX_KINDS if kind in figures["rows"][0]]
    for row in figures["rows"]:
        changes = row["against_first_row"]
        rows.append(
            [
                f"{row['engine']} {row['precision']}",
                *(f"{row[kind]['mean']['dsc']:.2f} ({changes[kind]['dsc_change']:+.2f})" for kind in kinds),
                f"{row['encode_ms_median']:.1f}",
                f"{row['decode_ms_median']:.1f}",
            ]
        )
    head = ["", *(PRECISION_TITLES[kind] for kind in kinds), "ms, encode a slice", "ms, decode a box"]
    return (
        f"**Number formats**: mean DSC over the modalities in %, and its difference from the first row; medians of "
        f"milliseconds, {figures['rows'][0]['threads']} thread(s); {figures['prompts']} boxes{_weights(figures)} "
        f"(`precision.json`; {_machine(figures)}):\n\n{markdown_table(head, rows)}"
    )


def _weights(figures: Figures) -> str:
    """Say which weights were measured; a file that has no hash of them may be of others that had this name."""
    of_that_day = "" if WEIGHTS_KEY in figures else " of that day"
    return f", weights {figures['weights']}{of_that_day}" if "weights" in figures else ""


def startup_part(figures: Figures) -> str:
    """Give the time and memory of whole processes."""
    rows = [
        [
            figures["cases"][row["case"]],
            f"{row['engine']} {row['precision']}",
            f"{row['seconds_median']:.2f}",
            f"{row['seconds_min']:.2f}",
            f"{row['peak_mebibytes']:.0f}",
        ]
        for row in figures["rows"]
    ]
    head = ["case", "engine", "seconds, median", "seconds, least", "MiB, peak"]
    return (
        "**Whole processes**: `python predict.py` from its start to the written file, imports and loading included, "
        f"{figures['rows'][0]['n']} runs (`startup.json`; {_machine(figures)}; load average before "
        f"{figures['load_average_before']}):\n\n{markdown_table(head, rows)}"
    )


def score_speed_part(figures: Figures) -> str:
    """Give the speed of the scorer and of the challenge's script."""
    seconds = figures["median_seconds"]
    size = " x ".join(map(str, figures["volume"]))
    text = (
        f"**Scoring**: a volume of {size} with {figures['labels']} labels takes {seconds['official']:.1f} s in "
        f"official mode and {seconds['honest']:.1f} s in honest mode"
    )
    if "original" in seconds:
        same = "the same scores" if figures["same_scores"] else "other scores"
        text += f"; the challenge's script {seconds['original']:.1f} s, with {same}"
    return f"{text} (`score_speed.json`; {_machine(figures)})."


def _engine(figures: Figures) -> str:
    return f"{figures['engine']} {figures['precision']}"


def _percent(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(100 * value for value in values)


def _machine(figures: Figures) -> str:
    """Give CPU, cores and day, as far as the file tells them."""
    machine = figures["machine"]
    cpu = machine.get("cpu") or machine.get("processor") or "unknown CPU"
    cores = machine.get("cores") or machine.get("threads")
    date = str(figures.get("date") or machine.get("date") or "")[:10]
    return ", ".join(text for text in (cpu, f"{cores} cores" if cores else "", date) if text)


if __name__ == "__main__":
    sys.exit(main())
