"""What a model costs on this machine: parameters, multiply-accumulates, milliseconds in plain PyTorch.

    python -m benchmarks.model_cost --spec graysam l0 l0-lean --boxes 1 8 --threads 2 --json results.json

Weights are random, since cost does not depend on them. Convolutions, linear layers and the matrix products of attention
are counted, one for each multiply-accumulate; additions, normalisations and resizes are not.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.machine import machine_facts
from evaluation.tables import markdown_table
from graysam.boxes import Box
from graysam.image.preprocessing import prepare_slice
from graysam.models.network import build_network
from graysam.models.spec import SPECS, ModelSpec
from graysam.prompts import Prompt


@dataclass(frozen=True)
class Cost:
    """The cost of one step.

    Attributes:
        step: "encode", or "decode 8" for eight boxes in one call.
        gmac: thousand million multiply-accumulates.
        ms_median, ms_p90: milliseconds over the repeats.
        repeats: number of timed calls, after one that is not timed.
    """

    step: str
    gmac: float
    ms_median: float
    ms_p90: float
    repeats: int


@dataclass(frozen=True)
class ModelCost:
    """The cost of a model.

    Attributes:
        name: of its spec.
        parameters: all, in number.
        encoder_parameters: those of the image encoder.
        steps: the cost of the encoding and of each decoding.
    """

    name: str
    parameters: int
    encoder_parameters: int
    steps: tuple[Cost, ...]


def measure_model(spec: ModelSpec, *, box_counts: Sequence[int], repeats: int) -> ModelCost:
    """Measure a spec's model with random weights on one drawn slice, for each number of boxes."""
    model = build_network(spec).eval()
    slice_drawn = np.random.default_rng(0).integers(0, 256, (512, 512)).astype(np.uint8)
    prepared = prepare_slice(slice_drawn, spec)
    canvas = torch.from_numpy(prepared.canvas)[None]
    with torch.no_grad():
        embedding = model.encode(canvas)
        steps = [measure_step("encode", lambda: model.encode(canvas), repeats=repeats)]
        for count in box_counts:
            boxes = [Box(20.0 + 3 * index, 30.0, 180.0 + 3 * index, 150.0) for index in range(count)]
            arrays = model.frame(prepared, [Prompt(box) for box in boxes]).inputs()
            inputs = {name: torch.from_numpy(array) for name, array in arrays.items()}

            def decode(inputs: dict[str, Tensor] = inputs) -> object:
                return model.decode(embedding, **inputs)

            steps.append(measure_step(f"decode {count}", decode, repeats=repeats))
    return ModelCost(
        name=spec.name,
        parameters=count_parameters(model),
        encoder_parameters=count_parameters(model.encoder),
        steps=tuple(steps),
    )


def measure_step(step: str, run: Callable[[], object], *, repeats: int) -> Cost:
    """Count and time one step; the counted call serves as the warm-up."""
    gmac = count_macs(run) / 1e9
    seconds = []
    for _ in range(repeats):
        start = perf_counter()
        run()
        seconds.append(perf_counter() - start)
    p90 = quantiles(seconds, n=10, method="inclusive")[-1] if repeats > 1 else seconds[0]
    return Cost(step, round(gmac, 3), round(median(seconds) * 1e3, 1), round(p90 * 1e3, 1), repeats)


def count_macs(run: Callable[[], object]) -> int:
    """Count the multiply-accumulates of a call; PyTorch's counter counts each as two operations."""
    counter = FlopCounterMode(display=False)
    with counter:
        run()
    return int(counter.get_total_flops()) // 2


def count_parameters(model: nn.Module) -> int:
    """Count the trainable numbers of a module."""
    return sum(parameter.numel() for parameter in model.parameters())


def table(costs: Sequence[ModelCost]) -> str:
    """Lay the costs out as a Markdown table, one row per model and step."""
    rows = []
    for cost in costs:
        for step in cost.steps:
            shown = cost.encoder_parameters if step.step == "encode" else cost.parameters - cost.encoder_parameters
            figures = (f"{step.gmac:.2f}", f"{step.ms_median:.1f}", f"{step.ms_p90:.1f}")
            rows.append((cost.name, f"{shown / 1e6:.2f}", step.step, *figures))
    return markdown_table(("model", "parameters (M)", "step", "GMAC", "ms, median", "ms, p90"), rows)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table and, if asked to, write the figures with the machine's facts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="model_cost"
    )
    parser.add_argument("--spec", nargs="+", choices=sorted(SPECS), default=sorted(SPECS), help="which models")
    parser.add_argument("--boxes", nargs="+", type=int, default=[1, 8], help="boxes per decoding, one row for each")
    parser.add_argument("--repeats", type=int, default=10, help="timed calls of each step")
    parser.add_argument("--threads", type=int, default=2, help="threads of PyTorch")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    costs = [measure_model(SPECS[name], box_counts=options.boxes, repeats=options.repeats) for name in options.spec]
    print(table(costs))
    if options.json:
        facts = machine_facts(["torch", "numpy"]) | {"threads": options.threads}
        figures = {"machine": facts, "models": [asdict(cost) for cost in costs]}
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
