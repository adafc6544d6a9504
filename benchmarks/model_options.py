"""Which model a benchmark measures: its options on the command line, and what its figures say of it."""

from __future__ import annotations

import argparse

from graysam.engines.protocol import Engine


def add_engine_options(parser: argparse.ArgumentParser, *, engine: str = "auto", precision: str = "auto") -> None:
    """Add --engine, --precision (with these defaults) and --threads, as `Segmenter.load` takes them."""
    parser.add_argument("--engine", default=engine, choices=("auto", "openvino", "torch"))
    parser.add_argument("--precision", default=precision, choices=("auto", "fp32", "bf16", "int8"))
    parser.add_argument("--threads", type=int)


def engine_facts(engine: Engine) -> dict[str, str]:
    """Give the entries of a file of figures that say which model answered, on which engine."""
    return {"model": engine.spec.name, "engine": engine.name, "precision": engine.precision}
