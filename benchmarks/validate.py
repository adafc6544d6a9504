"""Scores weights on a split of the data that was not trained on, and what needs no model on the same prompts.

    python -m benchmarks.validate --weights weights/graysam --store S --precision int8 --volumes DATA --out f.json
    python -m benchmarks.validate --checkpoint runs/x/best.pt --store S --split far
    python -m benchmarks.validate --store S --peer weights/litemedsam --peer-every 3 --only-peer --out f.json

Prompts come from slices of the packed store (DSC, contour NSD at 2 px of 256; a box of every kind of
evaluation/prompts) and from whole volumes of the source data (one box for each object, tight and off outwards, and
propagation by `segment_volume`). Tables go to the terminal, all figures to a JSON file for the README and the model
card. Everything is answered by the predictor's own engine.

`--peer` scores another model on the same prompts, with our propagation in volumes; see `benchmarks.peer_scores`. It may
be measured on another day (`--only-peer`), and stays in the file when our model is scored anew on the same prompts.
A model that is shown how boxes fit takes every box for loose, as `graysam predict` does, and is scored once more with
tight boxes that it is told are tight.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.model_options import add_engine_options, engine_facts
from benchmarks.peer_scores import SliceMeans, completed, held_peers, slice_columns, volume_columns, with_ours
from benchmarks.recorded import BenchmarkError, read_figures, write_figures
from benchmarks.volume_scores import VOLUME_BOX_KINDS, score_volumes, volume_figures, volume_key
from benchmarks.weights_id import check_weights, weights_id
from evaluation.prompts import (
    BASELINES,
    BOX_KIND_TITLES,
    BOX_KINDS,
    BoxKind,
    PromptScore,
    ValidationPrompt,
    engine_answer,
    means_by_kind,
    modality_means,
    score_kinds,
    validation_prompts,
)
from evaluation.tables import markdown_table
from graysam.api import Segmenter, default_weights
from graysam.console import run_command, tracked
from graysam.engines.protocol import Engine
from graysam.store import index_hash, open_store

Scores = dict[BoxKind, list[PromptScore]]


def slice_table(by_name: Mapping[str, SliceMeans]) -> str:
    """Lay out DSC/NSD in %, a row for each modality and a column for each way and kind of box.

    A modality where the first way stays below the ellipse is marked with "<".
    """
    model, *_ = by_name.values()
    columns = [(name, kind) for name in by_name for kind in BOX_KINDS if kind in by_name[name]]
    rows = []
    for modality in model["tight"]:
        cells = [modality]
        for name, kind in columns:
            if modality not in by_name[name][kind]:  # of another model, which was given but every n-th prompt
                cells.append("-")
                continue
            dsc, nsd = by_name[name][kind][modality]
            mark = " <" if by_name[name] is model and dsc < by_name["ellipse"][kind][modality][0] else ""
            cells.append(f"{100 * dsc:.1f}/{100 * nsd:.1f}{mark}")
        rows.append(cells)
    return markdown_table(["", *(f"{name}, {BOX_KIND_TITLES[kind]}" for name, kind in columns)], rows)


def volume_table(figures: Mapping[str, Any]) -> str:
    """Lay out the means of volumes, ours, the ellipsoid's and peers', for each kind of box that was measured."""
    kinds = [kind for kind in VOLUME_BOX_KINDS if volume_key(kind) in figures]
    header = ["", "volumes"]
    rows = [[name, f"{means['volumes']:.0f}"] for name, means in figures[volume_key(kinds[0])].items()]
    for kind in kinds:
        columns = volume_columns(figures, kind)
        header += [f"{name}, {BOX_KIND_TITLES[kind]}" for name in ("DSC", "ellipsoid", *columns)]
        for row, (name, means) in zip(rows, figures[volume_key(kind)].items(), strict=True):
            row += [f"{means['dsc']:.3f}", f"{means['ellipsoid_dsc']:.3f}"]
            row += [f"{column[name]:.3f}" if name in column else "-" for column in columns.values()]
    return markdown_table(header, rows)


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--weights", type=Path, help="folder with model.pt, openvino, openvino-int8")
    which.add_argument("--checkpoint", type=Path, help="best.pt of a run; runs on torch")
    add_engine_options(parser)
    parser.add_argument("--store", type=Path, help="packed store: score its slices of the split")
    parser.add_argument("--split", default="val", help="split of the store and of the volumes (default: val)")
    parser.add_argument("--per-modality", type=int, default=55, help="prompts of each modality (default: 55)")
    parser.add_argument("--baselines", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--volumes", type=Path, help="source data: score its volumes of the split")
    parser.add_argument("--most-volumes", type=int, help="of each data set, to be quick")
    parser.add_argument("--peer", type=Path, metavar="DIR", help="weights of another model, scored alike (in fp32)")
    parser.add_argument("--peer-every", type=int, default=1, metavar="N", help="on every N-th prompt (default: all)")
    parser.add_argument(
        "--peer-every-volume", type=int, default=0, metavar="N", help="and on every N-th volume (default: on none)"
    )
    parser.add_argument(
        "--only-peer", action="store_true", help="score the other model alone, and put it into the file of --out"
    )
    parser.add_argument("--out", type=Path, help="JSON file for every figure; peers that it holds already are kept")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables; exit status 1 when a volume could not be scored, 2 when nothing could."""
    options = parse_options(argv)
    return run_command(lambda: validate(options))


def validate(options: argparse.Namespace) -> int:
    """Score what the options name, print the tables and write the figures; 1 when a volume could not be scored."""
    check_options(options)
    weights = options.checkpoint or options.weights or default_weights()
    engine_name = "torch" if options.checkpoint and options.engine == "auto" else options.engine
    segmenter = Segmenter.load(weights, engine_name, options.precision, options.threads)
    prompts = prompts_of(options)
    if options.only_peer:
        figures, failed = read_figures(options.out), 0
        check_same(figures, options, prompts)
        check_weights(figures, weights, options.out)
        scores = score_kinds(prompts, engine_answer(segmenter.engine)) if options.peer_every > 1 else {}
    else:
        figures, scores, failed = our_figures(segmenter, options, prompts)
        figures |= weights_id(weights)
    if options.peer:
        name, peer, more_failed = peer_figures(options, prompts)
        peers = figures.get("peers", {})
        figures["peers"], failed = {**peers, name: completed(peer, peers.get(name, {}))}, failed + more_failed
    if scores:
        figures["peers"] = {name: with_ours(peer, scores) for name, peer in figures.get("peers", {}).items()}
    if not figures.get("peers"):
        figures.pop("peers", None)
    if "slices" in figures:
        print(slice_table(slice_columns(figures)), flush=True)
    if "volumes" in figures:
        print(volume_table(figures))
    if options.out:
        write_figures(options.out, figures)
    return 1 if failed else 0


def check_options(options: argparse.Namespace) -> None:
    """Refuse options that do not go together.

    Raises:
        BenchmarkError: naming them.
    """
    if options.only_peer and not (options.peer and options.out and options.out.is_file()):
        raise BenchmarkError("--only-peer: wanted --peer, and --out with figures of our model on the same prompts.")
    if options.peer_every < 1 or options.peer_every_volume < 0:
        raise BenchmarkError("--peer-every: wanted 1 or more; --peer-every-volume: 0 (none) or more.")


def check_same(figures: Mapping[str, Any], options: argparse.Namespace, prompts: Sequence[ValidationPrompt]) -> None:
    """Refuse figures of other prompts than those that a peer would be given.

    Raises:
        BenchmarkError: they are of another split, store or number of prompts.
    """
    found: dict[str, Any] = {"split": options.split}
    if prompts:
        found |= {"store_index_sha256": index_hash(options.store), "prompts": len(prompts)}
    for key, value in found.items():
        if figures.get(key) != value:
            raise BenchmarkError(
                f"{options.out}: holds figures with {key} {figures.get(key)}, and the other model would be scored with "
                f"{value}; leave --only-peer out, so that both are scored."
            )


def prompts_of(options: argparse.Namespace) -> list[ValidationPrompt]:
    """Draw the prompts of the split; none without a store."""
    if not options.store:
        return []
    return validation_prompts(open_store(options.store), split=options.split, per_modality=options.per_modality)


def our_figures(
    segmenter: Segmenter, options: argparse.Namespace, prompts: Sequence[ValidationPrompt]
) -> tuple[dict[str, Any], Scores, int]:
    """Score our model; give the figures, with peers of an earlier file that still hold, its scores, and failures.

    Raises:
        BenchmarkError: there is nothing to score.
    """
    engine = segmenter.engine
    figures: dict[str, Any] = {**engine_facts(engine), "split": options.split}
    scores, failed = Scores(), 0
    if prompts:
        scores = score_kinds(prompts, engine_answer(engine))
        figures |= slice_figures(engine, scores, prompts, with_all=options.baselines)
        figures["store_index_sha256"] = index_hash(options.store)
    if options.volumes:
        of_volumes, failed = score_volumes(options.volumes, options.split, segmenter, most=options.most_volumes)
        figures |= volume_figures(of_volumes) if of_volumes else {}
    if "slices" not in figures and "volumes" not in figures and not failed:
        raise BenchmarkError(
            f"split {options.split!r}: found nothing to score; give --store, or --volumes with a folder whose "
            "index.csv puts volumes into that split."
        )
    if options.out and options.out.is_file():
        figures["peers"] = held_peers(read_figures(options.out), figures)
    return figures, scores, failed


def slice_figures(
    engine: Engine, scores: Scores, prompts: Sequence[ValidationPrompt], *, with_all: bool
) -> dict[str, Any]:
    """Give the means of our scores, and those of what needs no model; with hints, also told that tight boxes are."""
    name = f"{engine.spec.name} ({engine.name} {engine.precision})"
    means = {name: {kind: modality_means(each) for kind, each in scores.items()}}
    guesses = BASELINES if with_all else {"ellipse": BASELINES["ellipse"]}
    figures = {
        "slices": means | {each: means_by_kind(prompts, answer) for each, answer in guesses.items()},
        "prompts": len(prompts),
    }
    if engine.spec.hints:
        figures["slices_told"] = means_by_kind(prompts, engine_answer(engine, "tight"), ["tight"])
    return figures


def peer_figures(options: argparse.Namespace, prompts: Sequence[ValidationPrompt]) -> tuple[str, dict[str, Any], int]:
    """Score another model on every n-th prompt and volume; give its name, its figures, and failures."""
    segmenter = Segmenter.load(options.peer, options.engine, "fp32", options.threads)
    engine = segmenter.engine
    peer: dict[str, Any] = {"engine": engine.name, "precision": engine.precision}
    failed = 0
    if prompts:
        chosen = tracked(prompts[:: options.peer_every], total=-(-len(prompts) // options.peer_every), what="prompts")
        peer |= {"every": options.peer_every, "slices": means_by_kind(chosen, engine_answer(engine))}
    if options.volumes and options.peer_every_volume:
        of_volumes, failed = score_volumes(
            options.volumes, options.split, segmenter, most=options.most_volumes, every=options.peer_every_volume
        )
        if of_volumes:
            peer |= {"every_volume": options.peer_every_volume, **volume_figures(of_volumes)}
    return engine.spec.name, peer, failed


if __name__ == "__main__":
    raise SystemExit(main())
