"""Puts the recorded figures into README.md and docs/results.md: python -m benchmarks.readme --write.

Both sections "Results" are made from benchmarks/results/*.json and from nothing else, so that no figure can be older
than its file (tests/benchmarks/test_readme_results.py). The README gets one short table, docs/results.md all of them.
A file that is not there leaves its part out. docs/results.md tells which command makes which file.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.recorded import read_figures
from evaluation.tables import markdown_table

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
HEADING, NEXT_HEADING = "## Results\n", "\n## "
SUMMARY_INTRODUCTION = (
    "Mean DSC (overlap with the reference) in %. A tight box is the smallest that holds the object. "
    "`python -m benchmarks.readme` copies the figures from `benchmarks/results`."
)
SUMMARY_HEADER = ["prompts", "number", "GraySAM", "LiteMedSAM", "ellipse in the box"]
NOT_MEASURED = "not measured"

Figures = Mapping[str, Any]


def main(argv: Sequence[str] | None = None) -> int:
    """Print both sections, or write them into the two files; 1 when a file has no such section."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.readme", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--write", action="store_true", help="replace the sections; otherwise print them")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR", help="folder of the JSON files")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md", metavar="FILE", help="gets the short table")
    parser.add_argument(
        "--page", type=Path, default=ROOT / "docs" / "results.md", metavar="FILE", help="gets all tables"
    )
    options = parser.parse_args(argv)
    sections = {options.readme: summary_section(options.results), options.page: results_section(options.results)}
    if not options.write:
        print(*sections.values(), sep="\n\n")
        return 0
    texts = {path: path.read_text(encoding="utf-8") for path in sections}
    for path, text in texts.items():
        if HEADING not in text:
            print(f"{path}: no line {HEADING.strip()!r}", file=sys.stderr)
            return 1
    for path, section in sections.items():
        path.write_text(with_section(texts[path], section), encoding="utf-8")
    return 0


def with_section(document: str, section: str) -> str:
    """Give a document with the text below its heading "Results" replaced, up to the next heading of that level."""
    head, rest = document.split(HEADING, 1)
    tail = rest[rest.index(NEXT_HEADING) :] if NEXT_HEADING in rest else ""
    return f"{head}{HEADING}\n{section}\n{tail}"


def summary_section(folder: Path) -> str:
    """Give the README's section as Markdown, without its heading: one table, where it comes from, and the speed."""
    parts, rows = [SUMMARY_INTRODUCTION], []
    unseen, validation, startup = (_read(folder, name) for name in ("unseen", "validation", "startup"))
    if unseen:
        rows.append(_unseen_row(unseen))
    if validation:
        rows += _validation_rows(validation)
    if rows:
        parts.append(markdown_table(SUMMARY_HEADER, rows))
    if unseen:
        parts.append(f"First row (`unseen.json`): {unseen['source']}")
    if validation:
        parts.append(
            f"Other rows: held-out cases of the data sets that GraySAM was trained on, {_engine(validation)} "
            "(`validation.json`)."
        )
    if startup:
        parts.append(_startup_sentence(startup))
    return "\n\n".join(parts)


def _unseen_row(figures: Figures) -> list[str]:
    names = ("graysam", "litemedsam", "ellipse")
    return [figures["prompts"], f"{figures['cases']} cases", *(f"{100 * figures['dsc'][name]:.1f}" for name in names)]


def _validation_rows(figures: Figures) -> list[list[str]]:
    rows = []
    if "slices" in figures:
        model = next(iter(figures["slices"]))
        for kind, title in (("tight", "slices, tight boxes"), ("both_ways", "slices, each side off by up to 5 px")):
            means = [100 * figures["slices"][name][kind]["mean"][0] for name in (model, "ellipse")]
            rows.append(
                [
                    f"validation {title}",
                    f"{figures['prompts']} boxes",
                    f"{means[0]:.1f}",
                    NOT_MEASURED,
                    f"{means[1]:.1f}",
                ]
            )
    if "volumes" in figures:
        whole = figures["volumes"]["all volumes"]
        scores = f"{100 * whole['dsc']:.1f}", NOT_MEASURED, f"{100 * whole['ellipsoid_dsc']:.1f}"
        rows.append(["validation volumes, one box for each object", f"{whole['volumes']:.0f} volumes", *scores])
    return rows


def _startup_sentence(figures: Figures) -> str:
    rows = {row["case"]: row for row in figures["rows"] if row["precision"] == "auto"}
    times = "; ".join(f"{rows[case]['seconds_median']:.1f} s for {size}" for case, size in figures["cases"].items())
    return f"Speed, a whole process from its start to the written file: {times} (`startup.json`; {_machine(figures)})."


def results_section(folder: Path) -> str:
    """Give the section of docs/results.md as Markdown, without its heading."""
    makers: dict[str, Callable[[Figures], str]] = {
        "unseen": unseen_part,
        "validation": validation_part,
        "precision": precision_part,
        "startup": startup_part,
        "score_speed": score_speed_part,
    }
    found = [(describe, _read(folder, name)) for name, describe in makers.items()]
    return "\n\n".join(describe(figures) for describe, figures in found if figures)


def unseen_part(figures: Figures) -> str:
    """Give the comparison with a peer on data sets that the model was not trained on."""
    table = markdown_table(SUMMARY_HEADER, [_unseen_row(figures)])
    return f"**Unseen data sets**: mean DSC in % (`unseen.json`). {figures['source']}\n\n{table}"


def _read(folder: Path, name: str) -> dict[str, Any]:
    """Give the figures of a file, or nothing where there is none."""
    path = folder / f"{name}.json"
    return read_figures(path) if path.is_file() else {}


def validation_part(figures: Figures) -> str:
    """Give the quality on slices, also of the ways that need no learning, and on whole volumes."""
    parts = []
    if "slices" in figures:
        parts.append(
            f"**Slices**: DSC / contour NSD (2 px) in %, validation slices at 256 pixels, {figures['prompts']} boxes, "
            f"{_engine(figures)}; tight boxes, and boxes with each side off by up to 5 px (`validation.json`):"
        )
        parts.append(_slice_table(figures["slices"]))
    if "volumes" in figures:
        parts.append(
            "**Whole volumes**: DSC in %, validation split, one box for each object, "
            f"{_engine(figures)} (`validation.json`):"
        )
        rows = [
            [name, f"{row['volumes']:.0f}", f"{100 * row['dsc']:.1f}", f"{100 * row['ellipsoid_dsc']:.1f}"]
            for name, row in figures["volumes"].items()
        ]
        parts.append(markdown_table(["", "volumes", "GraySAM", "ellipsoid in the box"], rows))
    return "\n\n".join(parts)


def _slice_table(slices: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]]) -> str:
    model, *others = slices
    columns = [(model, "tight"), (model, "both_ways"), *((name, "tight") for name in others), ("ellipse", "both_ways")]
    columns = [(name, kind) for name, kind in columns if name in slices]
    titles = {"tight": "tight box", "both_ways": "off by up to 5 px"}
    head = ["", *(f"{'GraySAM' if name == model else name}, {titles[kind]}" for name, kind in columns)]
    rows = [
        [modality, *("{:.1f} / {:.1f}".format(*_percent(slices[name][kind][modality])) for name, kind in columns)]
        for modality in slices[model]["tight"]
    ]
    return markdown_table(head, rows)


def precision_part(figures: Figures) -> str:
    """Give what quantization costs and gains."""
    rows = []
    for row in figures["rows"]:
        changes = row["against_first_row"]
        rows.append(
            [
                f"{row['engine']} {row['precision']}",
                f"{row['tight']['mean']['dsc']:.2f} ({changes['tight']['dsc_change']:+.2f})",
                f"{row['both_ways']['mean']['dsc']:.2f} ({changes['both_ways']['dsc_change']:+.2f})",
                f"{row['encode_ms_median']:.1f}",
                f"{row['decode_ms_median']:.1f}",
            ]
        )
    head = ["", "DSC, tight boxes", "DSC, boxes off by up to 5 px", "ms, encode a slice", "ms, decode a box"]
    return (
        f"**Number formats**: mean DSC over the modalities in %, and its difference from the first row; medians of "
        f"milliseconds, {figures['rows'][0]['threads']} thread(s); {figures['prompts']} boxes (`precision.json`; "
        f"{_machine(figures)}):\n\n{markdown_table(head, rows)}"
    )


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
