"""Write the mean of several runs' weights: `python -m train.soup a/best.pt b/best.pt --shares 3 1 --out mean.pt`.

Weights of runs that went on from one another, or from the same weights, often answer better as a mean than each alone
(model soups, Wortsman et al. 2022). What is written is taken by `graysam.export` and by `train.run --init`.

`--shift` adds to the logits of a box-frame decoder: a cross-entropy makes them say how likely a pixel belongs to the
object, and the mask of the highest expected DSC has a threshold below one half, namely at half of that DSC (Lipton,
Elkan and Narayanaswamy 2014).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from graysam.console import run_command
from graysam.models.checkpoint import halved, read_checkpoint
from graysam.models.network import shifted_logits
from train.config import ConfigError
from train.initial import mean_weights
from train.run_folder import write_atomically


def write_soup(weights: Sequence[Path], shares: Sequence[float] | None, out: Path, *, shift: float = 0.0) -> None:
    """Write the weighted mean of some files' weights, in half precision, with the first one's spec.

    Args:
        weights: a best.pt, last.pt or shipped model.pt each; the first must say its spec, which last.pt does not.
        shares: one for each file, relative to their sum; None for the plain mean.
        out: the file to write.
        shift: added to the logits of the contour, before the ellipse gate; only box-frame decoders have them.

    Raises:
        ConfigError: the files are of different models, shares do not fit them, or the first has no spec.
        CheckpointError: a model without such logits is to be shifted.
    """
    spec = read_checkpoint(weights[0]).spec
    if spec is None:
        raise ConfigError(f"{weights[0]}: wanted a file with its spec first, found none; begin with a best.pt.")
    mean = mean_weights(weights, shares)
    if shift:
        mean = shifted_logits(mean, shift, spec)
    write_atomically(out, {"model": halved(mean), "spec": spec.to_dict()})


def main(argv: Sequence[str] | None = None) -> int:
    """Write a soup; exit status 2 when the files do not go together."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, nargs="+", help="files of train.run, the first one a best.pt")
    parser.add_argument("--shares", type=float, nargs="+", help="of the files, in their order; equal by default")
    parser.add_argument("--shift", type=float, default=0.0, help="what is added to the logits; 0 by default")
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    options = parser.parse_args(argv)
    return run_command(lambda: write_soup(options.weights, options.shares, options.out, shift=options.shift))


if __name__ == "__main__":
    raise SystemExit(main())
