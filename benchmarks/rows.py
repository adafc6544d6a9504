"""The systems that are compared, one a row: owns, for each, its paper, its prompts and where its weights come from.

    python -m benchmarks.rows --write

prints the table of docs/models.md, or writes it there. All that is computed in it (parameters, multiply-accumulates)
comes from the networks themselves, built without memory, so that it takes seconds.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import torch

from benchmarks import ROOT
from benchmarks.model_cost import count_macs, count_parameters
from benchmarks.pages import page_with
from evaluation.tables import markdown_table
from graysam.console import run_command
from graysam.models.network import build_network
from graysam.models.spec import (
    DAFT_L0,
    GRAYSAM,
    L0,
    L0_LEAN,
    LITEMEDSAM,
    MEDFICIENTSAM_L0,
    SWIN_LITEMEDSAM,
    VIT_B,
    VIT_TINY,
    ModelSpec,
)

Origin = Literal["repository", "released", "race", "random"]
ORIGINS: Final[dict[Origin, str]] = {
    "repository": "trained here, in the repository",
    "released": "its authors', released",
    "race": "trained here, by the race",
    "random": "none: random, for speed alone",
}
"""Where a row's weights come from, and how that is said."""

CONFIGS: Final = ROOT / "train" / "configs"
PAGE: Final = ROOT / "docs" / "models.md"
HEADING: Final = "## All rows"


@dataclass(frozen=True)
class Row:
    """A system of the field.

    Attributes:
        spec: its network; the row has its name.
        source: the paper that it follows.
        prompts: what its decoder is shown of an object.
        origin: where its weights come from.
        config: name in train/configs of what trains it.
    """

    spec: ModelSpec
    source: str
    prompts: str
    origin: Origin
    config: str


@dataclass(frozen=True)
class Size:
    """What a network costs, whatever the machine.

    Attributes:
        parameters: all, in number.
        gmac_encode, gmac_box: thousand million multiply-accumulates of an image, and of one box.
    """

    parameters: int
    gmac_encode: float
    gmac_box: float


ROWS: Final = (
    Row(
        GRAYSAM,
        "this project",
        "box, its fit, other boxes, clicks, neighbouring slice and the object there",
        "repository",
        "graysam",
    ),
    Row(LITEMEDSAM, "the challenge's baseline (Ma et al. 2024)", "box", "released", "litemedsam"),
    Row(
        SWIN_LITEMEDSAM,
        "Swin-LiteMedSAM (Gao et al. 2024), fourth of the challenge",
        "box, four points and a scribble drawn in it",
        "race",
        "swin-litemedsam",
    ),
    Row(L0, "Gray's Anatomy for SAM (2024)", "box", "race", "l0"),
    Row(L0_LEAN, "the same, with a quarter of the embedding", "box", "race", "l0-lean"),
    Row(VIT_TINY, "EfficientSAM for medical images, small enough for two cores", "box", "race", "vit-tiny"),
    Row(VIT_B, "Segment Anything (Kirillov et al. 2023)", "box", "random", "vit-b"),
    Row(MEDFICIENTSAM_L0, "MedficientSAM (2024), first of the challenge", "box", "random", "medficientsam-l0"),
    Row(DAFT_L0, "DAFT (Pfefferle et al. 2025), first after the challenge", "box", "random", "daft-l0"),
)
"""All rows, in the order in which tables show them."""


def size_of(spec: ModelSpec) -> Size:
    """Count a network's parameters and products from its shapes alone."""
    with torch.device("meta"), torch.no_grad():
        model = build_network(spec).eval()
        inputs = {name: value[:1].to("meta") for name, value in model.example_inputs().items()}
        canvas = inputs.pop("canvas")
        embedding = model.encode(canvas)
        encode, box = count_macs(lambda: model.encode(canvas)), count_macs(lambda: model.decode(embedding, **inputs))
    return Size(count_parameters(model), encode / 1e9, box / 1e9)


def table(rows: Sequence[Row] = ROWS) -> str:
    """Lay out the rows as Markdown."""
    header = ["name", "follows", "encoder", "decoder", "canvas", "channels", "M params"]
    lines = []
    for row in rows:
        spec, size = row.spec, size_of(row.spec)
        sizes = [f"{size.parameters / 1e6:.2f}", f"{size.gmac_encode:.2f} + {size.gmac_box:.2f}"]
        facts = [spec.encoder, spec.decoder, spec.canvas, spec.channels]
        lines.append([spec.name, row.source, *facts, *sizes, row.prompts, ORIGINS[row.origin]])
    return markdown_table([*header, "GMAC image + box", "prompts", "weights"], lines) + "\n"


def listing(rows: Sequence[Row] = ROWS) -> str:
    """Give a line for each row: its name, where its weights come from, and the config that trains it."""
    width = max(len(row.spec.name) for row in rows)
    origins = max(len(each) for each in ORIGINS.values())
    lines = (
        f"{row.spec.name:{width}}  {ORIGINS[row.origin]:{origins}}  train/configs/{row.config}.toml" for row in rows
    )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table, or write it into its page; exit status 2 when the page has no place for it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rows", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--write", action="store_true", help="replace the table in docs/models.md; otherwise print it")
    options = parser.parse_args(argv)

    def fill_in() -> None:
        if options.write:
            PAGE.write_text(page_with(PAGE, HEADING, table()), encoding="utf-8")
        else:
            print(table())

    return run_command(fill_in)


if __name__ == "__main__":
    sys.exit(main())
