"""Put the recorded figures into the README: python -m benchmarks.readme --write.

The README's section "Results" is made from benchmarks/results/*.json and from nothing else, so that no figure can be
older than its file (tests/benchmarks/test_readme_results.py). A file that is not there leaves its part out. The files
are made by

    python -m benchmarks.validate --store STORE --volumes DATA --out benchmarks/results/validation.json
    python -m benchmarks.precision --store STORE
    python -m benchmarks.startup
    python -m benchmarks.score_speed --original FOLDER
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.recorded import read_figures

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
HEADING, NEXT_HEADING = "## Results\n", "\n## "
INTRODUCTION = (
    "Figures of the weights that are here, on the validation split; `python -m benchmarks.readme` "
    "copies them from the files named, in `benchmarks/results`. "
    "[weights/MODEL_CARD.md](weights/MODEL_CARD.md) tells where the model fails."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the section, or write it into the README; 1 when the README has no such section."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.readme", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--write", action="store_true", help="replace the section in README.md; otherwise print it")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR", help="folder of the JSON files")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md", metavar="FILE")
    options = parser.parse_args(argv)
    section = results_section(options.results)
    if not options.write:
        print(section)
        return 0
    text = options.readme.read_text(encoding="utf-8")
    if HEADING not in text:
        print(f"{options.readme}: no line {HEADING.strip()!r}", file=sys.stderr)
        return 1
    options.readme.write_text(with_section(text, section), encoding="utf-8")
    return 0


def with_section(readme: str, section: str) -> str:
    """Give the README with the text below its heading "Results" replaced, up to the next heading of that level."""
    head, rest = readme.split(HEADING, 1)
    tail = rest[rest.index(NEXT_HEADING) :] if NEXT_HEADING in rest else "\n"
    return f"{head}{HEADING}\n{section}\n{tail}"


def results_section(folder: Path) -> str:
    """Give the section as Markdown, without its heading."""
    parts = [INTRODUCTION]
    for name, describe in (
        ("validation", validation_part),
        ("precision", precision_part),
        ("startup", startup_part),
        ("score_speed", score_speed_part),
    ):
        path = folder / f"{name}.json"
        if path.is_file():
            parts.append(describe(read_figures(path)))
    return "\n\n".join(parts)


def validation_part(figures: Mapping[str, Any]) -> str:
    """Give the quality on slices, beside the ways that need no learning, and on whole volumes."""
    parts = []
    if "slices" in figures:
        parts.append(
            f"**Slices**: DSC / contour NSD (2 px) in %, slices at 256 pixels, {figures['prompts']} boxes, "
            f"{_engine(figures)}; fitting boxes, and boxes with each side off by up to 5 px (`validation.json`):"
        )
        parts.append(_slice_table(figures["slices"]))
    if "volumes" in figures:
        parts.append(f"**Whole volumes**: DSC, one box for each object, {_engine(figures)} (`validation.json`):")
        rows = [
            [name, f"{row['volumes']:.0f}", f"{100 * row['dsc']:.1f}", f"{100 * row['ellipsoid_dsc']:.1f}"]
            for name, row in figures["volumes"].items()
        ]
        parts.append(_table(["", "volumes", "GraySAM", "ellipsoid in the box"], rows))
    return "\n\n".join(parts)


def _slice_table(slices: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]]) -> str:
    model, *others = slices
    columns = [(model, "tight"), (model, "both_ways"), *((name, "tight") for name in others), ("ellipse", "both_ways")]
    columns = [(name, kind) for name, kind in columns if name in slices]
    titles = {"tight": "fitting", "both_ways": "off by up to 5 px"}
    head = ["", *(f"{'GraySAM' if name == model else name}, {titles[kind]}" for name, kind in columns)]
    rows = [
        [modality, *("{:.1f} / {:.1f}".format(*_percent(slices[name][kind][modality])) for name, kind in columns)]
        for modality in slices[model]["tight"]
    ]
    return _table(head, rows)


def precision_part(figures: Mapping[str, Any]) -> str:
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
    head = ["", "DSC, fitting boxes", "DSC, boxes off by up to 5 px", "ms, encode a slice", "ms, decode a box"]
    return (
        f"**Number formats**: mean DSC over the modalities in %, and its difference from the first row; medians of "
        f"milliseconds, {figures['rows'][0]['threads']} thread(s); {figures['prompts']} boxes (`precision.json`; "
        f"{_machine(figures)}):\n\n{_table(head, rows)}"
    )


def startup_part(figures: Mapping[str, Any]) -> str:
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
        f"{figures['load_average_before']}):\n\n{_table(head, rows)}"
    )


def score_speed_part(figures: Mapping[str, Any]) -> str:
    """Give the speed of the scorer beside the challenge's script."""
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


def _engine(figures: Mapping[str, Any]) -> str:
    return f"{figures['engine']} {figures['precision']}"


def _percent(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(100 * value for value in values)


def _machine(figures: Mapping[str, Any]) -> str:
    """Give CPU, cores and day, as far as the file tells them."""
    machine = figures["machine"]
    cpu = machine.get("cpu") or machine.get("processor") or "unknown CPU"
    cores = machine.get("cores") or machine.get("threads")
    date = str(figures.get("date") or machine.get("date") or "")[:10]
    return ", ".join(text for text in (cpu, f"{cores} cores" if cores else "", date) if text)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
