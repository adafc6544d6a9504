"""Write the model card that lies with the weights, from the recorded figures and the data sets' own descriptions.

    python -m benchmarks.model_card --weights weights/graysam --validation benchmarks/results/validation.json \
        --confidence benchmarks/results/confidence.json --store all.store --data data \
        --training weights/graysam/training.json --out weights

makes MODEL_CARD.md and failures.png. The picture shows the worst answer of each modality as outlines alone: patients'
images are nobody's to publish here.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks import threshold
from benchmarks.clicks import click_table
from benchmarks.confidence import RESULT, in_words, level_table, modality_table, worth_table
from benchmarks.peer_scores import TOLD, slice_columns
from benchmarks.recorded import PEER, read_figures, split_of
from benchmarks.validate import slice_table, volume_table
from benchmarks.weights_id import check_weights
from evaluation.dice import dice
from evaluation.prompts import (
    BOX_KIND_MEANINGS,
    BOX_KIND_TITLES,
    BOX_KINDS,
    Answer,
    ValidationPrompt,
    engine_answer,
    validation_prompts,
)
from evaluation.tables import markdown_table
from graysam.api import Segmenter
from graysam.console import run_command
from graysam.store import PackedStore, open_store

TILE_PX = 224
COLUMNS = 4
PAPER, INK = 255, (40, 40, 40)
GREEN, RED, GRAY = (60, 150, 40), (50, 50, 220), (170, 170, 170)  # blue, green, red

HEAD = """# Model card: {name}

Box-prompted segmentation of medical images on a CPU: `{encoder}` encoder, `{decoder}` decoder, {canvas} x {canvas}
canvas, channel preset `{channels}`, {parameters:.2f} million parameters. The spec is `{name}/spec.json`; checksums are
in `{name}/checksums.sha256`; what int8 was calibrated with is in `{name}/calibration.json`. {takes}

**Not for clinical use.** A research model: no approval, no warranty, and not tested on any hospital's own images.

**Trained from scratch, here.** No pre-trained weights of any kind went in.

## How it was made

{training}

{runs}

{notes}

The commands, with the source data in the folder `data`:

```sh
{commands}
```

## How good it is

{prompts} objects of the validation split of the data below, {engine} {precision}, slices at 256 pixels on the longest
side; DSC / contour NSD (2 px) in %.

{kinds}
- "<": below the ellipse in the box, which needs no model.

{slices}

Whole volumes, with the box of each object's middle slice, and propagation to the others; mean DSC:

{volumes}
{others}{clicks}{threshold}
{confidence}
The prompts are drawn evenly over the data sets of a modality, so that small and odd sets weigh as much as large ones.
The best checkpoint was chosen on these same prompts, so the figures are slightly kind. The split is by the source's own
groups; in several `*_antillia` sets a group is a slice and not a patient, and neighbouring slices of one volume
stand on both sides (19 such pairs among all cases), which is kind to those sets as well.

## Where it fails

![Worst answer of each modality, outlines only](failures.png)

The worst tight prompt of each modality above: reference green, answer red, box gray; outlines only, as the images are
not ours to publish. Known weaknesses, in the order in which they cost most:

- objects that are not blobs: rings (myocardium, bladder wall), bowel and vessels in several pieces within one box;
- volumes whose object can hardly be seen (sarcoma in CT, whose outline comes from another scan): the mask drifts from
  slice to slice;
- boxes off by many pixels round objects of few pixels (fluid in OCT, small lesions);
- PET, where the reference was drawn on other images and follows the uptake only roughly.

## Data and licences

{cases} cases, {slices_packed} slices, {objects} objects; by modality and source. **Several sets are for research or
non-commercial use only: check them before using the weights for anything else.** The images are not in this repository.

{data}
"""

TAKES_HINTS = "Besides boxes it takes clicks, an earlier answer, and how boxes fit: see [prompts](../docs/prompts.md)."
TAKES_BOXES = "It takes boxes alone, no clicks."


@dataclass(frozen=True)
class CardFacts:
    """What the card is made from.

    Attributes:
        spec: the model's spec.json.
        validation: what `benchmarks.validate --out` wrote of the validation split.
        training: how the weights were made: "text", "runs" (rows with the same keys), "notes" and "commands".
        parameters: number of trained numbers.
        other_splits: what it wrote of other splits.
        clicks: what `benchmarks.clicks --out` wrote; None for a model that takes no clicks.
        threshold: what `benchmarks.threshold --out` wrote, None where nobody measured.
        confidence: what `benchmarks.confidence` wrote, None where nobody measured.
    """

    spec: Mapping[str, Any]
    validation: Mapping[str, Any]
    training: Mapping[str, Any]
    parameters: int
    other_splits: tuple[Mapping[str, Any], ...] = ()
    clicks: Mapping[str, Any] | None = None
    threshold: Mapping[str, Any] | None = None
    confidence: Mapping[str, Any] | None = None


def write_card(facts: CardFacts, store: PackedStore, data: Path) -> str:
    """Give the card as Markdown."""
    return HEAD.format(
        **{key: facts.spec[key] for key in ("name", "encoder", "decoder", "canvas", "channels")},
        takes=TAKES_HINTS if facts.spec.get("hints") else TAKES_BOXES,
        parameters=facts.parameters / 1e6,
        training=facts.training["text"],
        runs=runs_table(facts.training["runs"]),
        notes="\n".join(f"- {note}" for note in facts.training["notes"]),
        commands="\n".join(facts.training["commands"]),
        prompts=facts.validation["prompts"],
        engine=facts.validation["engine"],
        precision=facts.validation["precision"],
        kinds=kinds_list(facts.validation),
        slices=slice_table(slice_columns(facts.validation)),
        volumes=volume_table(facts.validation),
        others="".join(split_part(figures) for figures in facts.other_splits),
        clicks=clicks_part(facts.clicks) if facts.clicks is not None and facts.spec.get("hints") else "",
        threshold="" if facts.threshold is None else threshold_part(facts.threshold),
        confidence="" if facts.confidence is None else confidence_part(facts.confidence),
        cases=len({(entry.dataset, entry.case) for entry in store.entries}),
        slices_packed=len(store),
        objects=sum(len(entry.objects) for entry in store.entries),
        data=data_table(store, data),
    )


def split_part(figures: Mapping[str, Any]) -> str:
    """Give the figures of a split that is neither trained on nor the validation split."""
    parts = [f"### Split `{split_of(figures)}`"]
    if "slices" in figures:
        parts.append(f"{figures['prompts']} objects, which no training saw; as above:")
        parts.append(slice_table(slice_columns(figures)))
    if "volumes" in figures:
        parts += ["Whole volumes, as above:", volume_table(figures)]
    return "\n" + "\n\n".join(parts) + "\n"


def clicks_part(figures: Mapping[str, Any]) -> str:
    """Give what clicks mend; the empty text stands for it where a model takes none."""
    introduction = (
        f"DSC in % after simulated clicks, {figures['prompts']} objects of the split `{figures['split']}`, boxes off "
        f"outwards, {figures['engine']} {figures['precision']}; each click lies in the middle of the largest error, "
        "and the model is shown all clicks so far and its last answer:"
    )
    return f"\n### Clicks\n\n{introduction}\n\n{click_table(figures)}\n"


def threshold_part(figures: Mapping[str, Any]) -> str:
    """Give the mean DSC at thresholds of the logits round 0, which is what prediction uses."""
    introduction = (
        f"A pixel belongs to the object where its logit is above 0. {threshold.in_words(figures)} In %, up to "
        f"{figures['per_modality']} objects of each modality, {figures['engine']} {figures['precision']}:"
    )
    return f"\n### Threshold\n\n{introduction}\n\n{threshold.threshold_table(figures)}\n"


def confidence_part(figures: Mapping[str, Any]) -> str:
    """Say what the model's own confidence is worth."""
    parts = [
        "### Confidence",
        in_words(figures),
        worth_table(figures),
        f"Up to {figures['per_modality']} objects of each modality, each with all three kinds of boxes unless said "
        "otherwise. The split far was not looked at when the threshold was chosen. In a volume the confidence of an "
        "object is the mean over its slices; boxes there were off outwards. By modality, on the validation slices:",
        modality_table(figures),
        "What a confidence stands for, on the same slices:",
        level_table(figures),
    ]
    return "\n\n".join(parts) + "\n"


def runs_table(runs: Sequence[Mapping[str, str]]) -> str:
    """List the training runs; the keys of the first one are the columns."""
    return markdown_table(list(runs[0]), [list(run.values()) for run in runs])


def kinds_list(figures: Mapping[str, Any]) -> str:
    """Say what the kinds of boxes are for which there are figures, and what a model with hints was told of them."""
    measured = next(iter(figures["slices"].values()))
    lines = [f'- "{BOX_KIND_TITLES[kind]}": {BOX_KIND_MEANINGS[kind]}' for kind in BOX_KINDS if kind in measured]
    if "slices_told" in figures:
        lines.append(f'- "{TOLD}": with `--box-fit tight`; in all other columns every box is taken for loose')
    if PEER in figures.get("peers", {}):
        lines.append("- LiteMedSAM with its released weights, in fp32; in volumes with the propagation of GraySAM")
    return "\n".join(lines)


def data_table(store: PackedStore, data: Path) -> str:
    """List every data set with its cases on both sides of the split and its licence, from its dataset.json."""
    cases: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for entry in store.entries:
        cases[entry.dataset][entry.split].add(entry.case)
    rows = []
    for dataset in sorted(cases):
        licence = json.loads((data / dataset / "dataset.json").read_text())["licence"]
        sides = cases[dataset]
        elsewhere = sum(len(names) for split, names in sides.items() if split not in ("train", "val"))
        rows.append((dataset, len(sides["train"]), len(sides["val"]), elsewhere, licence))
    return markdown_table(("data set", "cases to train", "to validate", "never trained on", "licence"), rows)


def draw_failures(prompts: Sequence[ValidationPrompt], answer: Answer) -> NDArray[np.uint8]:
    """Draw the worst tight answer of each modality as outlines on white, four in a row; (h, w, 3), OpenCV's order."""
    worst: dict[str, tuple[float, NDArray[np.uint8]]] = {}
    for prompt in prompts:
        box = prompt.boxes["tight"]
        answered = answer(prompt.image, [box])[0]
        score = dice(prompt.mask, answered)
        if score < worst.get(prompt.entry.modality, (2.0,))[0]:
            worst[prompt.entry.modality] = score, _outlines(prompt, answered, score)
    tiles = [tile for _, (_, tile) in sorted(worst.items())]
    tiles += [np.full((TILE_PX, TILE_PX, 3), PAPER, np.uint8)] * (-len(tiles) % COLUMNS)
    rows = [np.hstack(tiles[start : start + COLUMNS]) for start in range(0, len(tiles), COLUMNS)]
    return np.vstack(rows)


def _outlines(prompt: ValidationPrompt, answered: NDArray[np.bool_], score: float) -> NDArray[np.uint8]:
    """Draw one tile: the neighbourhood of the box, enlarged, without a pixel of the image."""
    box = prompt.boxes["tight"]
    room = 0.25 * max(box.width, box.height) + 4
    scale = (TILE_PX - 24) / (max(box.width, box.height) + 2 * room)
    shift = np.array([box.centre[0], box.centre[1]]) - (TILE_PX / 2) / scale
    tile = np.full((TILE_PX, TILE_PX, 3), PAPER, np.uint8)
    corners = (np.array([[box.x_min, box.y_min], [box.x_max + 1, box.y_max + 1]]) - shift) * scale
    start, stop = ((int(x), int(y)) for x, y in corners)
    cv2.rectangle(tile, start, stop, GRAY, 1)
    for mask, colour in ((prompt.mask, GREEN), (answered, RED)):
        contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        scaled = [np.rint((contour + 0.5 - shift) * scale).astype(np.int32) for contour in contours]
        cv2.polylines(tile, scaled, True, colour, 1, cv2.LINE_AA)
    text = f"{prompt.entry.modality} DSC {100 * score:.0f}"
    cv2.putText(tile, text, (6, TILE_PX - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.45, INK, 1, cv2.LINE_AA)
    return tile


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True, help="folder of the exported model")
    parser.add_argument(
        "--validation",
        type=Path,
        nargs="+",
        required=True,
        help="JSON of benchmarks.validate with --store and --volumes; first of the validation split, then of others",
    )
    parser.add_argument("--confidence", type=Path, default=RESULT, help="JSON of benchmarks.confidence")
    parser.add_argument("--training", type=Path, required=True, help='JSON with "text", "runs", "notes" and "commands"')
    parser.add_argument("--threshold", type=Path, help="JSON of benchmarks.threshold")
    parser.add_argument("--clicks", type=Path, help="JSON of benchmarks.clicks, for a model that takes clicks")
    parser.add_argument("--store", type=Path, required=True, help="packed store that it was trained on")
    parser.add_argument("--data", type=Path, required=True, help="source data, for the licences")
    parser.add_argument("--out", type=Path, required=True, help="folder of MODEL_CARD.md and failures.png")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Write the card and its picture; exit status 2 when figures or weights are missing."""
    options = parse_options(argv)
    return run_command(lambda: make_card(options))


def make_card(options: argparse.Namespace) -> None:
    """Write the card and its picture from the files that the options name.

    Raises:
        BenchmarkError: one of them cannot be read, or is of other weights.
    """

    def figures_of(path: Path) -> dict[str, Any]:
        figures = read_figures(path)
        check_weights(figures, options.weights, path)
        return figures

    validation, *others = (figures_of(path) for path in options.validation)
    store = open_store(options.store)
    facts = CardFacts(
        spec=json.loads((options.weights / "spec.json").read_text()),
        validation=validation,
        other_splits=tuple(others),
        clicks=None if options.clicks is None else figures_of(options.clicks),
        threshold=None if options.threshold is None else figures_of(options.threshold),
        confidence=figures_of(options.confidence),
        training=json.loads(options.training.read_text()),
        parameters=count_parameters(options.weights / "model.pt"),
    )
    segmenter = Segmenter.load(options.weights, facts.validation["engine"], facts.validation["precision"])
    picture = draw_failures(validation_prompts(store), engine_answer(segmenter.engine))
    cv2.imwrite(str(options.out / "failures.png"), picture)
    (options.out / "MODEL_CARD.md").write_text(write_card(facts, store, options.data))
    print(f"{options.out / 'MODEL_CARD.md'} and failures.png", file=sys.stderr)


def count_parameters(checkpoint: Path) -> int:
    """Count the trained numbers of a checkpoint: not the statistics of its norms."""
    from graysam.models.checkpoint import load_model

    return sum(parameter.numel() for parameter in load_model(checkpoint).parameters())


if __name__ == "__main__":
    raise SystemExit(main())
