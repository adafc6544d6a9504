"""Puts the figures of the race and of the published cases into docs/peers.md: python -m benchmarks.peers --write.

The page's section "Figures" is made from peers.json (the race.json of `benchmarks.race`) and paper_cases.json (of
`benchmarks.paper_cases`) in benchmarks/results, and from nothing else. Of a file that is not there, and of rows that a
race has not come to, the page says so.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks import ROOT, paper_cases
from benchmarks.judge import as_judged
from benchmarks.pages import page_with
from benchmarks.race import race_table
from benchmarks.recorded import RESULTS, read_figures
from graysam.console import run_command

PAGE: Final = ROOT / "docs" / "peers.md"
HEADING: Final = "## Figures"

NO_RACE: Final = (
    "**Quality and cost**: not measured yet. The race has not been run at length, so that no row but `graysam` has "
    "been trained here; its table will stand here, whatever it says."
)
NO_CASES: Final = "**Whole processes on the shapes of published cases**: not measured yet."

Figures = Mapping[str, Any]


def figures_section(folder: Path) -> str:
    """Give the section as Markdown, without its heading."""
    parts = []
    for name, describe, absent in (("peers", race_part, NO_RACE), ("paper_cases", paper_cases_part, NO_CASES)):
        path = folder / f"{name}.json"
        parts.append(describe(read_figures(path)) if path.is_file() else absent)
    return "\n\n".join(parts)


def race_part(figures: Figures) -> str:
    """Give the race: what was scored on how many boxes, where it was timed, and the table."""
    counts = " and ".join(f"{count} objects of {split}" for split, count in figures["prompts"].items())
    machine, rows = figures["machine"], [as_judged(row) for row in figures["rows"]]
    loads = [row.load_average for row in rows if row.load_average is not None]
    load = f"load average before the rows {median(loads):.1f} (up to {max(loads):.1f})" if loads else "no row timed"
    parts = [
        f"**Quality and cost**: DSC / contour NSD (2 px of 256) in %, means over the modalities, fp32, on {counts}: "
        f"{figures['per_modality']} of each modality as far as it has them, drawn by a fixed seed, the same "
        f"for all rows. Training in {figures['training_precision']}. Milliseconds are medians with "
        f"{figures['threads']} threads; seconds and MiB are of whole cold processes on 512 x 512 x 3 with one box and "
        f"on 60 x 512 x 512 with 3 objects, the median of three, or of fewer where they take long (`peers.json`; "
        f"{machine['cpu']}, {machine['cores']} cores, {figures['date'][:10]}, {load}).",
        race_table(rows).strip(),
    ]
    return "\n\n".join([*parts, *missing_part(figures["missing"])])


def missing_part(missing: Mapping[str, str]) -> list[str]:
    """Name the rows that the race has not, nothing where it has all."""
    by_reason: dict[str, list[str]] = {}
    for name, why in missing.items():
        by_reason.setdefault(why, []).append(f"`{name}`")
    return [f"Not in the table, as {why}: {', '.join(names)}." for why, names in by_reason.items()]


def paper_cases_part(figures: Figures) -> str:
    """Give the seconds of whole processes on the shapes of published cases."""
    return (
        "**Whole processes on the shapes of published cases**: `python predict.py` from its start to the written file, "
        f"drawn objects, each over {figures['slices_share']:.0%} of a volume's slices (`paper_cases.json`; "
        f"{paper_cases.conditions(figures)}).\n\n{paper_cases.table(figures)}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Print the section, or write it into its page; exit status 2 when the page has no place for it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--write", action="store_true", help="replace the section in docs/peers.md; otherwise print it")
    options = parser.parse_args(argv)

    def fill_in() -> None:
        if options.write:
            PAGE.write_text(page_with(PAGE, HEADING, figures_section(RESULTS)), encoding="utf-8")
        else:
            print(figures_section(RESULTS))

    return run_command(fill_in)


if __name__ == "__main__":
    sys.exit(main())
