"""Runs the whole chain on drawn cases, in a minute or two: pack, train, export, validate, predict.

    python -m benchmarks.smoke --minutes 1 --out DIR

It shows that the parts fit together. The model that comes out is too small, and too little trained, to be of use.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import SimpleITK as sitk  # noqa: N813  (the library's own convention)

import benchmarks.validate
import data_prep.cli
import graysam.export.command
import predict
import train.run
from benchmarks import ROOT
from evaluation.dice import dice
from examples.phantoms import Phantom, make_phantoms, write_phantoms
from graysam.cases import modality_of
from graysam.console import EXIT_NOTHING_DONE
from graysam.errors import GraySamError
from graysam.formats.npz import find_cases, read_labels

CONFIG = ROOT / "train" / "configs" / "smoke.toml"
TRAINING_PHANTOMS, PREDICTED_PHANTOMS = 4, 1  # of each modality
EVERY_NTH_IS_VAL = 4


class SmokeError(GraySamError):
    """A link of the chain does not hold."""


def write_sources(root: Path, phantoms: Sequence[Phantom]) -> None:
    """Write phantoms as data sets of source files: <Modality>/Phantoms with images or volumes, and an index.csv."""
    rows = []
    for number, phantom in enumerate(phantoms):
        modality = modality_of(phantom.name)
        assert modality is not None, "a phantom's name tells its modality"
        folder = root / modality / ("Phantoms3D" if phantom.image.ndim == 3 and phantom.spacing_mm else "Phantoms")
        _write_source(folder, phantom)
        (folder / "dataset.json").write_text(json.dumps({"modality": modality, "labels": "classes"}))
        split = "val" if number % EVERY_NTH_IS_VAL == 0 else "train"
        rows.append((folder.relative_to(root).as_posix(), phantom.name, phantom.name, split))
    with (root / "index.csv").open("w", newline="") as out:
        csv.writer(out).writerows([("dataset", "case", "group", "split"), *rows])


def _write_source(folder: Path, phantom: Phantom) -> None:
    if phantom.spacing_mm is not None:
        volumes = folder / "volumes"
        volumes.mkdir(parents=True, exist_ok=True)
        for kind, array in (("image", phantom.image), ("label", phantom.labels)):
            volume = sitk.GetImageFromArray(array)
            volume.SetSpacing(phantom.spacing_mm[::-1])  # type: ignore[no-untyped-call]
            sitk.WriteImage(volume, str(volumes / f"{phantom.name}_{kind}.nii.gz"))
        return
    for kind, array in (("images", phantom.image), ("masks", phantom.labels)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        ordered = array[..., ::-1] if array.ndim == 3 else array
        cv2.imwrite(str(folder / kind / f"{phantom.name}.png"), ordered)


def demand(status: int, what: str) -> None:
    """Raise unless a command ended well."""
    if status != 0:
        raise SmokeError(f"{what} ended with status {status}; its own message stands above.")
    print(f"smoke: {what} done", file=sys.stderr)


def run_chain(out: Path, *, minutes: float, count: int = TRAINING_PHANTOMS) -> float:
    """Run every link; give the mean DSC of the predictions.

    Args:
        out: folder for everything that is made; must be empty or absent.
        minutes: of training.
        count: phantoms of each modality to train and validate on.

    Raises:
        SmokeError: a link failed, or the folder is not empty.
    """
    if out.exists() and any(out.iterdir()):
        raise SmokeError(f"{out}: is not empty; remove it, or name another folder.")
    data, store, run, weights, demo = (out / name for name in ("data", "all.store", "run", "weights", "demo"))
    data.mkdir(parents=True)
    write_sources(data, make_phantoms(seed=1, count=count))
    demand(data_prep.cli.main(["pack", str(data), "--out", str(store), "--workers", "1"]), "pack")
    options = ["--config", str(CONFIG), "--store", str(store), "--out", str(run), "--minutes", str(minutes)]
    demand(train.run.main([*options, "--device", "cpu"]), "train")
    best = run / "best.pt"
    demand(graysam.export.command.main(["--checkpoint", str(best), "--out", str(weights)]), "export")
    validation = ["--weights", str(weights), "--store", str(store), "--precision", "fp32", "--threads", "1"]
    validation += ["--per-modality", "2", "--volumes", str(data), "--out", str(out / "validation.json")]
    demand(benchmarks.validate.main(validation), "validate")
    write_phantoms(demo, make_phantoms(seed=2, count=PREDICTED_PHANTOMS))
    folders = ["-i", str(demo / "inputs"), "-o", str(demo / "outputs")]
    demand(predict.main([*folders, "--weights", str(weights), "--precision", "fp32"]), "predict")
    return mean_score(demo / "gts", demo / "outputs")


def mean_score(references: Path, predictions: Path) -> float:
    """Give the mean DSC over all objects of all cases.

    Raises:
        SmokeError: a case has no prediction.
    """
    scores = []
    for path in find_cases(references):
        if not (predictions / path.name).is_file():
            raise SmokeError(f"{path.name}: no prediction in {predictions}.")
        reference, predicted = read_labels(path, "gts"), read_labels(predictions / path.name, "segs")
        scores += [dice(reference == value, predicted == value) for value in np.unique(reference) if value]
    return float(np.mean(scores))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the chain; exit status 2 when a link does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    parser.add_argument("--minutes", type=float, default=1.0, help="of training (default: 1)")
    parser.add_argument("--count", type=int, default=TRAINING_PHANTOMS, help="phantoms of each modality (default: 4)")
    options = parser.parse_args(argv)
    try:
        score = run_chain(options.out, minutes=options.minutes, count=options.count)
    except (GraySamError, OSError) as error:  # not by run_command: the links log for themselves, and would do so twice
        print(f"error: {error}", file=sys.stderr)
        return EXIT_NOTHING_DONE
    print(f"smoke: the whole chain holds; mean DSC of the predicted phantoms {score:.3f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
