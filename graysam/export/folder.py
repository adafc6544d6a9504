"""The folder of exported files: owns which there are, in what order they are made, and their checksums.

A checkpoint comes in, `networks` makes the OpenVINO files of it, and the engines of `graysam.engines` load them.
"""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import Final

from graysam.engines.select import OPENVINO_FOLDERS, SPEC_FILE, TORCH_FILE
from graysam.errors import EngineError
from graysam.export.calibration import CALIBRATION_SLICES, calibration_slices
from graysam.export.networks import convert, quantize, send_nothing
from graysam.inference.confidence import CONFIDENCE_FILE
from graysam.models.checkpoint import load_model, save_checkpoint
from graysam.models.spec import ModelSpec

logger = logging.getLogger(__name__)

CALIBRATION_FILE: Final = "calibration.json"
CHECKSUM_FILE: Final = "checksums.sha256"


def export(
    checkpoint: Path,
    out: Path,
    *,
    calibration: Path | None = None,
    count: int = CALIBRATION_SLICES,
    spec: ModelSpec | None = None,
) -> None:
    """Write all files of a model; int8 ones only with a source of calibration slices.

    Args:
        checkpoint: a file that `train.run` or `save_checkpoint` made, with its spec; or one of others' making.
        out: the folder, made if missing; files of an earlier export are replaced.
        spec: what the checkpoint is, needed where it does not say so itself.
        calibration: a packed store or a folder of cases.
        count: how many slices to calibrate with.

    Raises:
        GraySamError: something cannot be read, or openvino or nncf is not installed.
    """
    send_nothing()
    try:
        import openvino
    except ImportError as cause:
        raise EngineError("export needs openvino: pip install openvino.") from cause
    model = load_model(checkpoint, spec=spec).requires_grad_(False)
    for folder in sorted({"", *OPENVINO_FOLDERS.values()}):
        if calibration is not None or folder != OPENVINO_FOLDERS["int8"]:
            (out / folder).mkdir(parents=True, exist_ok=True)
    save_checkpoint(out / TORCH_FILE, model, model.spec, half=True)
    # What is exported to OpenVINO are the rounded weights, so that all engines run the same model.
    model = load_model(out / TORCH_FILE).requires_grad_(False)
    (out / SPEC_FILE).write_text(model.spec.to_json(), encoding="utf-8")
    networks = convert(model)
    for name, network in zip(("encoder", "decoder"), networks, strict=True):
        openvino.save_model(network, out / OPENVINO_FOLDERS["fp32"] / f"{name}.xml", compress_to_fp16=True)
    logger.info("float networks in %s", out / OPENVINO_FOLDERS["fp32"])
    if calibration is not None:
        slices = calibration_slices(calibration, model.spec, count)
        for name, network in zip(("encoder", "decoder"), quantize(*networks, slices, model), strict=True):
            openvino.save_model(network, out / OPENVINO_FOLDERS["int8"] / f"{name}.xml", compress_to_fp16=True)
        record = {"source": calibration.name, "count": len(slices), "slices": [each.name for each in slices]}
        (out / CALIBRATION_FILE).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        logger.info("int8 networks in %s, from %d slices", out / OPENVINO_FOLDERS["int8"], len(slices))
    # That of an earlier model says nothing of this one; `python -m benchmarks.confidence` measures it.
    (out / CONFIDENCE_FILE).unlink(missing_ok=True)
    write_checksums(out)


def write_checksums(folder: Path) -> None:
    """Write checksums.sha256 over the files of an exported folder, in order of name."""
    names = sorted([TORCH_FILE, SPEC_FILE, CALIBRATION_FILE, CONFIDENCE_FILE])
    paths = [folder / name for name in names if (folder / name).is_file()]
    for sub_folder in sorted(set(OPENVINO_FOLDERS.values())):
        paths += sorted((folder / sub_folder).glob("*coder.*"))
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}" for path in paths
    ]
    (folder / CHECKSUM_FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")
