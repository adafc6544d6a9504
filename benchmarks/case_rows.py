"""Scores cases of the source data one after the other, each a row in a file of figures: for runs of an hour or more.

The file is written after every case, so that a run that was stopped goes on where it was.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.recorded import write_figures
from data_prep.sources import Source, find_sources
from graysam.console import progress
from graysam.errors import PrepareError

logger = logging.getLogger("benchmarks")

Row = dict[str, Any]
"""What was found of a case: name, dataset, split, and more."""


def sources_of(data: Path, splits: Sequence[str]) -> list[Source]:
    """Find the cases of some splits in the data sets <Modality>/<data set>, split by split."""
    found = [source for folder in sorted(data.glob("*/*")) for source in find_sources(folder).sources]
    return [source for split in splits for source in found if source.split == split]


def add_rows(
    out: Path, figures: dict[str, Any], sources: Iterable[Source], score: Callable[[Source, Mapping[str, Any]], Row]
) -> int:
    """Score cases into `figures["rows"]` and the file; give how many could not be read, which are logged.

    Args:
        out: the file, written after every new or changed row.
        figures: all of it, with the rows so far.
        sources: the cases.
        score: gives the row of a case, from what is known of it: its row so far, {} where there is none.
    """
    places = {row["name"]: place for place, row in enumerate(figures["rows"])}
    failed, rows, wanted = 0, figures["rows"], list(sources)
    with progress(len(wanted), what="score", unit="case") as bar:
        for number, source in enumerate(wanted, 1):
            known = rows[places[source.name]] if source.name in places else {}
            try:
                row = score(source, known)
            except PrepareError as error:
                logger.error("%s: %s", source.name, error)
                failed += 1
                continue
            if row != known:
                if known:
                    rows[places[source.name]] = row
                else:
                    places[source.name] = len(rows)
                    rows.append(row)
                write_figures(out, figures)
            bar.reach(number, source.name)
    return failed
