"""`graysam doctor`: what this machine would run and why, and whether it does, for bug reports.

Nothing is sent anywhere, and nothing is written.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import shutil
import sys
import zlib
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import Any

from graysam.errors import CaseError, CheckpointError, EngineError

# Name in the package index, and what is imported.
PACKAGES = (
    ("numpy", "numpy"),
    ("opencv-python-headless", "cv2"),
    ("openvino", "openvino"),
    ("openvino-telemetry", "openvino_telemetry"),
    ("torch", "torch"),
    ("nibabel", "nibabel"),
    ("pydicom", "pydicom"),
    ("python-gdcm", "gdcm"),
    ("highdicom", "highdicom"),
    ("simpleitk", "SimpleITK"),
    ("pillow", "PIL"),
)
FILE_PACKAGES = ("nibabel", "pydicom", "highdicom", "simpleitk", "pillow")
# Instruction sets that decide how fast a network runs.
TOLD_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "asimd")
TEST_SIDE = 128


def main(argv: Sequence[str] | None = None) -> int:
    """Print the findings, and give the exit status: 0 when a model runs here, 2 when none does."""
    parser = argparse.ArgumentParser(
        prog="graysam doctor",
        description="Say what would run on this machine and why, and try it. Nothing is sent anywhere.",
    )
    parser.add_argument("--json", action="store_true", help="as JSON, for bug reports")
    parser.add_argument("--weights", type=Path, metavar="PATH", help="folder or checkpoint of another model")
    parser.add_argument("-i", "--input", type=Path, metavar="PATH", help="also tell what predict would find there")
    parser.add_argument("-o", "--output", type=Path, default=Path(), metavar="DIR", help="where to look for room")
    options = parser.parse_args(argv)
    findings = examine(options.weights, options.input, options.output)
    print(json.dumps(findings, indent=1) if options.json else in_words(findings))
    return 0 if findings["self_test"]["works"] else 2


def examine(weights: Path | None, place: Path | None, output: Path) -> dict[str, Any]:
    """Give all findings as plain values for JSON."""
    from graysam import __version__
    from graysam.engines.select import read_cpu_facts
    from graysam.machine import allowed_cpus, cpu_quota

    cpu = read_cpu_facts()
    return {
        "graysam": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "cpu": {
            "model": cpu.model,
            "flags": [flag for flag in TOLD_FLAGS if flag in cpu.flags],
            "cpus": len(allowed_cpus()),
            "quota": cpu_quota(),
            "threads": cpu.threads,
        },
        "packages": {name: package_version(name, module) for name, module in PACKAGES},
        "engine": _engine(weights),
        "model": _model(weights),
        "self_test": _self_test(weights),
        "input": None if place is None else _input(place),
        "free_bytes": _free_bytes(output),
        "telemetry": _telemetry(),
    }


def package_version(name: str, module: str) -> str | None:
    """Give a package's version, "unknown" where it was put there without its papers, None where it is not."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown" if importlib.util.find_spec(module) is not None else None


def _engine(weights: Path | None) -> dict[str, Any]:
    """Give what `auto` takes for these weights, and why."""
    from graysam.api import default_weights
    from graysam.engines.select import (
        BF16_FLAGS,
        BF16_TILES,
        INT8_FLAGS,
        INT8_PAYS_FROM,
        choose_engine,
        read_cpu_facts,
    )

    path = default_weights() if weights is None else weights
    facts = read_cpu_facts()
    found = {"weights": str(path), "name": None, "precision": None}
    try:
        choice = choose_engine(path, "auto", "auto", facts)
    except EngineError as error:
        return {**found, "why": str(error)}
    if facts.has_bf16_tiles:
        speed = f"the CPU has {BF16_TILES}, with which bf16 is fastest"
    elif facts.has_int8:
        few = choose_engine(path, "auto", "auto", facts, 0).precision
        speed = f"the CPU has {', '.join(sorted(INT8_FLAGS & facts.flags))}, with which int8 is fastest"
        if few != choice.precision:
            speed += f"; below {INT8_PAYS_FROM[few]} slices and boxes in all, {few} is, as it is compiled sooner"
    elif facts.has_bf16:
        speed = f"the CPU has {', '.join(sorted(BF16_FLAGS & facts.flags))}, with which bf16 is fastest"
    else:
        speed = "the CPU has no instructions for int8 or bf16, so that fp32 is fastest"
    here = choice.engine == "openvino"
    order = "OpenVINO is here and so are its files" if here else "OpenVINO or its files are not here"
    return {**found, "name": choice.engine, "precision": choice.precision, "why": f"{order}; {speed}"}


def _model(weights: Path | None) -> dict[str, Any] | None:
    """Give what lies with the weights of what they take and when they flag; None for a checkpoint file and nothing."""
    from graysam.api import default_weights
    from graysam.engines.select import SPEC_FILE
    from graysam.inference.confidence import read_flag_rule
    from graysam.models.spec import ModelSpec

    path = default_weights() if weights is None else weights
    if not (path / SPEC_FILE).is_file():
        return None
    try:
        spec, rule = ModelSpec.from_json((path / SPEC_FILE).read_text(encoding="utf-8")), read_flag_rule(path)
    except (CheckpointError, OSError, ValueError) as error:
        return {"error": f"{type(error).__name__}: {error}"}
    flagged = {"flag_below": None, "why": ""} if rule is None else {"flag_below": rule.below, "why": rule.why}
    return {"name": spec.name, "takes_clicks": spec.hints, "is_told_how_boxes_fit": spec.hints, **flagged}


def _self_test(weights: Path | None) -> dict[str, Any]:
    """Load the model, segment a drawn disc, and give seconds, Dice, and the mask's checksum to compare reports by."""
    import numpy as np

    start = perf_counter()
    try:
        from graysam.api import Segmenter

        segmenter = Segmenter.load(weights=weights)
        loaded = perf_counter()
        image, box, disc = drawn_disc()
        mask = segmenter.segment_image(image, [box]) == 1
    except (CaseError, CheckpointError, EngineError, ImportError, RuntimeError, OSError) as error:
        return {"works": False, "error": f"{type(error).__name__}: {error}"}
    shared = int(np.count_nonzero(mask & disc))
    dice = 2 * shared / max(1, int(np.count_nonzero(mask)) + int(np.count_nonzero(disc)))
    return {
        "works": True,
        "load_seconds": round(loaded - start, 3),
        "segment_seconds": round(perf_counter() - loaded, 3),
        "pixels": int(np.count_nonzero(mask)),
        "dice": round(dice, 4),
        "checksum": f"{zlib.crc32(np.packbits(mask).tobytes()):08x}",
    }


def drawn_disc() -> tuple[Any, list[int], Any]:
    """Give a gray image (128, 128) with a brighter disc, its box, and its mask."""
    import numpy as np

    rows, columns = np.mgrid[:TEST_SIDE, :TEST_SIDE]
    disc = (rows - 60) ** 2 + (columns - 70) ** 2 <= 25**2
    image = (60 + (rows + columns) % 16).astype(np.uint8)
    image[disc] += 100
    return image, [45, 35, 95, 85], disc


def _input(place: Path) -> dict[str, Any]:
    """Give which cases predict would find."""
    from graysam.formats.registry import list_cases

    try:
        cases = list_cases(place)
    except CaseError as error:
        return {"path": str(place), "cases": 0, "error": str(error)}
    formats: dict[str, int] = {}
    for case in cases:
        formats[case.format.name] = formats.get(case.format.name, 0) + 1
    refused = [case.refused for case in cases if case.refused is not None]
    return {"path": str(place), "cases": len(cases), "formats": formats, "refused": refused[:10]}


def _free_bytes(folder: Path) -> int | None:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def _telemetry() -> dict[str, Any]:
    """Tell whether prediction has loaded the package by which OpenVINO's tools count their use."""
    return {"openvino_telemetry_loaded": sys.modules.get("openvino_telemetry") is not None}


def in_words(findings: dict[str, Any]) -> str:
    """Give the findings for people."""
    cpu, engine, test = findings["cpu"], findings["engine"], findings["self_test"]
    quota = "none" if cpu["quota"] is None else f"{cpu['quota']:g} CPUs"
    free = findings["free_bytes"]
    lines = [
        f"graysam    {findings['graysam']}, Python {findings['python']}, {findings['system']}",
        f"CPU        {cpu['model']}; {', '.join(cpu['flags']) or 'no flags that matter'}",
        f"threads    {cpu['threads']} of {cpu['cpus']} CPUs that this process may use; quota: {quota}",
        f"engine     {engine['name'] or 'none'} {engine['precision'] or ''}: {engine['why']}",
        f"weights    {engine['weights']}",
        *_model_in_words(findings["model"]),
    ]
    if test["works"]:
        lines.append(
            f"self-test  loaded in {test['load_seconds']} s, segmented in {test['segment_seconds']} s, "
            f"Dice {test['dice']}, checksum {test['checksum']}"
        )
    else:
        lines.append(f"self-test  FAILED: {test['error']}")
    packages = ", ".join(f"{name} {found}" for name, found in findings["packages"].items() if found)
    missing = [name for name in FILE_PACKAGES if not findings["packages"][name]]
    lines.append(f"packages   {packages}")
    if missing:
        from graysam.formats.extras import install_command

        lines.append(f"files      {', '.join(missing)} missing for hospital files; run: {install_command()}")
    lines.append("disk       free space unknown" if free is None else f"disk       {free / 1e9:.1f} GB free")
    found = findings["input"]
    if found is not None:
        counts = ", ".join(f"{count} {name}" for name, count in found.get("formats", {}).items())
        told = found.get("error") or counts or "no case"
        lines.append(f"input      {found['path']}: {told}")
    loaded = " (openvino_telemetry IS loaded)" if findings["telemetry"]["openvino_telemetry_loaded"] else ""
    lines.append(f"network    nothing is sent anywhere{loaded}")
    return "\n".join(lines)


def _model_in_words(model: dict[str, Any] | None) -> list[str]:
    """Say what a model takes, and below which confidence an object is flagged."""
    if model is None:
        return []
    if "error" in model:
        return [f"model      {model['error']}"]
    prompts = "boxes, clicks and earlier answers, and how boxes fit" if model["takes_clicks"] else "boxes alone"
    if model["flag_below"] is None:
        flagged = "nothing is flagged: no confidence.json lies with the weights"
    else:
        flagged = f"objects below {model['flag_below']:g} are flagged; {model['why'] or 'nobody says why'}"
    return [f"model      {model['name']} takes {prompts}", f"confidence {flagged}"]
