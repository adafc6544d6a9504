"""Pack a tree of images and masks (`<Modality>/<data set>/...`, index.csv, dataset.json) into one training store."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import cc3d
import cv2
import nibabel
import numpy as np
from numpy.typing import NDArray

from graysam.store import StoreWriter, encode_image, encode_runs

SMALLEST_OBJECT_PX = 10  # the challenge's own limit for 2D


def objects_of(labels: NDArray[np.integer], kind: str) -> list[NDArray[np.bool_]]:
    """Turn a (H, W) label map into object masks, as dataset.json's `labels` field says; specks are dropped."""
    values = [int(value) for value in np.unique(labels) if value]
    if kind == "nested":
        masks = [labels > 0, labels == 2]
    elif kind == "components":
        parts = cc3d.connected_components(labels, connectivity=8)
        masks = [parts == number for number in range(1, int(parts.max()) + 1)]
    else:
        masks = [labels == value for value in values]
    return [mask for mask in masks if mask.sum() >= SMALLEST_OBJECT_PX]


def slices_of(folder: Path, case: str) -> Iterator[tuple[int, NDArray[np.uint8], NDArray[np.integer]]]:
    """Yield (z, image, labels) of a case; z is -1 for a 2D image; slices without labels are left out."""
    mask_path = folder / "masks" / f"{case}.png"
    if mask_path.exists():
        image = cv2.imread(str(next((folder / "images").glob(f"{case}.*"))), cv2.IMREAD_UNCHANGED)
        labels = cv2.imread(str(mask_path), cv2.IMREAD_UNCHANGED)
        yield -1, image if image.ndim == 2 else image[..., 2::-1], labels
        return
    volume = np.asarray(nibabel.load(folder / "volumes" / f"{case}_image.nii.gz").dataobj).transpose(2, 1, 0)
    label_volume = np.asarray(nibabel.load(folder / "volumes" / f"{case}_label.nii.gz").dataobj).transpose(2, 1, 0)
    low, high = np.percentile(volume, [0.0, 100.0])
    scaled = np.clip((volume - low) / max(high - low, 1e-6) * 255, 0, 255).astype(np.uint8)
    for z in np.flatnonzero(label_volume.any(axis=(1, 2))):
        yield int(z), scaled[z], label_volume[z].astype(np.int32)


def encode_case(job: tuple[Path, dict[str, str], str, str]) -> list[dict[str, Any]]:
    """Give the arguments of `StoreWriter.add` for every slice of one case."""
    folder, row, kind, codec = job
    packed = []
    for z, image, labels in slices_of(folder, row["case"]):
        masks = objects_of(labels, kind)
        if masks:
            packed.append(
                {
                    "encoded_image": encode_image(np.ascontiguousarray(image), codec),  # type: ignore[arg-type]
                    "objects": [encode_runs(mask) for mask in masks],
                    "dataset": row["dataset"],
                    "modality": row["dataset"].split("/")[0],
                    "case": row["case"],
                    "group": row["group"],
                    "split": row["split"],
                    "size_hw": image.shape[:2],
                    "z": z,
                }
            )
    return packed


def main(argv: Sequence[str] | None = None) -> int:
    """Pack every case of index.csv."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, help="folder that holds index.csv")
    parser.add_argument("out", type=Path, help="store to write")
    parser.add_argument("--codec", choices=["png", "jpeg"], default="png")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args(argv)
    with (options.source / "index.csv").open() as source:
        rows = list(csv.DictReader(source))
    kinds = {
        dataset: json.loads((options.source / dataset / "dataset.json").read_text())["labels"]
        for dataset in {row["dataset"] for row in rows}
    }
    jobs = [(options.source / row["dataset"], row, kinds[row["dataset"]], options.codec) for row in rows]
    count = 0
    with ProcessPoolExecutor(options.workers) as pool, StoreWriter(options.out) as writer:
        for packed in pool.map(encode_case, jobs, chunksize=16):
            for arguments in packed:
                writer.add(**arguments)
                count += 1
    print(f"{count} slices in {options.out}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
