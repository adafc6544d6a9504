"""Owns the scoring program of a CodaBench competition, which ``evaluation.bundle`` copies into the bundle.

The platform unpacks the program to /app/program, the references to /app/input/ref and a submission to
/app/input/res, runs the command of metadata.yaml, and reads /app/output/scores.json, whose keys are those of
the leaderboard's columns (docs.codabench.org, Competition Bundle Structure). detailed_results.html is shown
to the participant. That page is put together by hand, because the platform's image has no template library.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from evaluation import score
from evaluation.metrics import ranked_scores
from evaluation.rank.read import NO_PREDICTION, read_scores
from evaluation.rank.statistics import mean_by_modality


def column_key(metric: str, modality: str | None = None) -> str:
    """Give the leaderboard column's key: "dsc" over all, "dsc_xray" for a modality."""
    return metric if modality is None else f"{metric}_{''.join(c for c in modality.lower() if c.isalnum())}"


def scores_document(
    overall: Mapping[str, float], by_modality: Mapping[str, Mapping[str, float]], *, missing: int
) -> dict[str, float]:
    """Give the content of scores.json: means over modalities, means of each modality, cases without prediction."""
    document = {column_key(metric): round(value, 6) for metric, value in overall.items()}
    for modality, means in by_modality.items():
        document |= {column_key(metric, modality): round(value, 6) for metric, value in means.items()}
    return document | {"missing": float(missing)}


def details_page(document: Mapping[str, float], rows: Sequence[Mapping[str, str]]) -> str:
    """Give the participant's page: the means, and a line a case with what was wrong with it."""
    means = "".join(f"<tr><th>{escape(key)}</th><td>{value:g}</td></tr>" for key, value in document.items())
    columns = ("case", *(metric.key for metric in ranked_scores()), "status", "note")
    head = "".join(f"<th>{column}</th>" for column in columns)
    lines = "".join("<tr>" + "".join(f"<td>{escape(row.get(c) or '')}</td>" for c in columns) + "</tr>" for row in rows)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Scores</title>'
        "<style>body{font:15px/1.4 system-ui,"
        "sans-serif;margin:2em}table{border-collapse:collapse;margin:1em 0}td,th{padding:4px "
        "12px;border-bottom:1px solid #ddd;"
        f"text-align:left}}</style></head><body><h1>Scores</h1><table>{means}</table><h2>Cases</h2><table><tr>{head}</tr>{lines}"
        "</table></body></html>\n"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Score INPUT/res against INPUT/ref into OUTPUT/scores.json as SETTINGS says; 0 when that was written."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if len(arguments) != 3:
        sys.stderr.write("usage: scoring.py INPUT OUTPUT\n")
        return 2
    source, target, settings_file = (Path(argument) for argument in arguments)
    settings = json.loads(settings_file.read_text(encoding="utf-8"))
    target.mkdir(parents=True, exist_ok=True)
    predictions = source / "res"
    if not any(predictions.glob("*.npz")) and (nested := next(predictions.glob("*/*.npz"), None)) is not None:
        sys.stderr.write(f"The predictions lie in the folder {nested.parent.name}/: zip the files, not their folder.\n")
    table = target / "cases.csv"
    status = score.main(
        ["--segs", str(predictions), "--gts", str(source / "ref"), "--out", str(table), "--mode", settings["mode"]]
    )
    if status == 2:
        return 2
    rows = _read_rows(table)
    overall, by_modality = mean_by_modality(read_scores(table), keys=[metric.key for metric in ranked_scores()])
    unanswered = sum(row.get("status") in NO_PREDICTION for row in rows)
    document = scores_document(overall, by_modality, missing=unanswered)
    (target / "scores.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    (target / "detailed_results.html").write_text(details_page(document, rows), encoding="utf-8")
    return 0


def _read_rows(table: Path) -> list[dict[str, str]]:
    with table.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))
