"""Figures of another model next to ours, in the same file: which of them still hold, and the columns that they fill.

`benchmarks.validate --peer` measures them on the prompts and volumes that ours are measured on, or on every n-th of
them. The key "peers" of a file of figures then holds, by the name of the model, its engine and precision, "every" and
"slices" (means by kind of box), "ours" (the same means of our model, where only every n-th prompt was taken),
"every_volume", "volumes", "volumes_outwards" and "volume_scores".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from benchmarks.recorded import PEER
from benchmarks.volume_scores import VolumeScore, volume_key, volume_means
from evaluation.prompts import BoxKind, Means, PromptScore, modality_means

Figures = Mapping[str, Any]
SliceMeans = Mapping[BoxKind, Means]

PEER_TITLES: Final = {PEER: "LiteMedSAM"}
TOLD: Final = "said to be tight"
"""What the column of a model is called that was told that tight boxes are tight."""
SLICE_KEYS: Final = ("every", "slices", "ours")
VOLUME_KEYS: Final = ("every_volume", "volumes", "volumes_outwards", "volume_scores")


def held_peers(earlier: Figures, figures: Figures) -> dict[str, dict[str, Any]]:
    """Give what an earlier file says of peers, as far as it is of the prompts and volumes of newer figures."""
    held = {}
    volumes = {each["name"] for each in figures.get("volume_scores", ())}
    for name, peer in earlier.get("peers", {}).items():
        parts = {key: peer[key] for key in ("engine", "precision")}
        keys = ("split", "store_index_sha256", "prompts")
        if "slices" in peer and "slices" in figures and all(earlier.get(key) == figures.get(key) for key in keys):
            parts |= {key: peer[key] for key in SLICE_KEYS if key in peer}
        if "volume_scores" in peer and {each["name"] for each in peer["volume_scores"]} <= volumes:
            parts |= {key: peer[key] for key in VOLUME_KEYS if key in peer}
        if len(parts) > 2:
            held[name] = parts
    return held


def completed(peer: Mapping[str, Any], earlier: Mapping[str, Any]) -> dict[str, Any]:
    """Give a peer's new figures with earlier ones of what was not measured now, slices or volumes."""
    missing = [*(SLICE_KEYS if "slices" not in peer else ()), *(VOLUME_KEYS if "volume_scores" not in peer else ())]
    return {**{key: earlier[key] for key in missing if key in earlier}, **peer}


def with_ours(peer: Mapping[str, Any], scores: Mapping[BoxKind, Sequence[PromptScore]]) -> dict[str, Any]:
    """Give a peer's figures with our means on its prompts, out of our scores on all; none where it had them all."""
    every = peer.get("every", 1)
    rest = {key: value for key, value in peer.items() if key != "ours"}
    if every == 1:
        return rest
    return {**rest, "ours": {kind: modality_means(each[::every]) for kind, each in scores.items()}}


def slice_columns(figures: Figures, ours: str | None = None) -> dict[str, SliceMeans]:
    """Give the means on slices by the title of who answered: our model, the peers, and what needs no model.

    ours: what our model is called; by default as in the file.
    """
    first, *guesses = figures["slices"]
    name = ours or first
    columns = {name: figures["slices"][first]}
    if "slices_told" in figures:
        columns[f"{name}, {TOLD}"] = figures["slices_told"]
    for peer_name, peer in figures.get("peers", {}).items():
        if "slices" in peer:
            columns[f"{_title(peer_name)}{_every(peer['every'], 'box')}"] = peer["slices"]
            if "ours" in peer:
                columns[f"{name}{_every(peer['every'], 'box')}"] = peer["ours"]
    return columns | {each: figures["slices"][each] for each in guesses}


def volume_columns(figures: Figures, kind: BoxKind, ours: str = "DSC") -> dict[str, dict[str, float]]:
    """Give peers' mean DSC by title and by row of the table of volumes; ours on theirs, where they had but some."""
    columns = {}
    for name, peer in figures.get("peers", {}).items():
        if volume_key(kind) not in peer:
            continue
        every = _every(peer["every_volume"], "volume")
        columns[f"{_title(name)}{every}"] = _dsc(peer[volume_key(kind)])
        if every:
            theirs = {each["name"] for each in peer["volume_scores"]}
            same = [VolumeScore(**each) for each in figures["volume_scores"] if each["name"] in theirs]
            columns[f"{ours}{every}"] = _dsc(volume_means([each for each in same if each.boxes == kind]))
    return columns


def slice_cell(figures: Figures, peer_name: str, kind: BoxKind) -> str | None:
    """Give a peer's mean DSC on slices in %; in brackets ours, where it had but every n-th. None if not measured."""
    peer = figures.get("peers", {}).get(peer_name, {})
    if kind not in peer.get("slices", {}):
        return None
    ours = peer["ours"][kind]["mean"][0] if "ours" in peer else None
    return _cell(peer["slices"][kind]["mean"][0], ours)


def volume_cell(figures: Figures, peer_name: str, kind: BoxKind) -> str | None:
    """Give the same of whole volumes."""
    peer = figures.get("peers", {}).get(peer_name, {})
    if volume_key(kind) not in peer:
        return None
    theirs, *ours = volume_columns({**figures, "peers": {peer_name: peer}}, kind).values()
    return _cell(theirs["all volumes"], ours[0]["all volumes"] if ours else None)


def cell_note(figures: Figures, peer_name: str) -> str:
    """Say what is in the brackets of these cells; nothing where there are none."""
    peer = figures.get("peers", {}).get(peer_name, {})
    some = {peer.get(key, 1) for key in ("every", "every_volume")} - {1}
    if not some:
        return ""
    steps = " or ".join(ordinal(step) for step in sorted(some))
    propagated = ", volumes by GraySAM's propagation" if "every_volume" in peer else ""
    return f"{_title(peer_name)} on every {steps}{propagated}; in brackets GraySAM there."


def _cell(theirs: float, ours: float | None) -> str:
    cell = f"{100 * theirs:.1f}"
    return cell if ours is None else f"{cell} ({100 * ours:.1f})"


def _dsc(means: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    return {row: each["dsc"] for row, each in means.items()}


def _title(name: str) -> str:
    return PEER_TITLES.get(name, name)


def _every(every: int, what: str) -> str:
    return "" if every == 1 else f" (every {ordinal(every)} {what})"


def ordinal(number: int) -> str:
    """Give "2nd", "3rd", "11th"."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
