"""`python -m data_prep inspect | cases | store | import-store | pack | join | split | check`.

Every command takes a folder of sources (see sources.py), shows its progress on stderr and gives an exit
status: 0 when all went well, 1 when a case failed or `--strict` found a problem, 2 when the command itself
makes no sense. A module here adds its commands to the parser, each with the function that runs it.
"""

from __future__ import annotations

import argparse
import io
import logging
import sys
from collections.abc import Sequence

from data_prep.cli import cases, inspect, splits, stores
from data_prep.cli.options import tell
from graysam.errors import GraySamError

MODULES = (inspect, cases, stores, splits)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; see the module's head."""
    parser = _build_parser()
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files may be no UTF-8
            stream.reconfigure(errors="backslashreplace")
    try:
        status: int = options.run(options)
    except GraySamError as error:
        tell(f"data_prep: {error}")
        return 2
    return status


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m data_prep", description=__doc__.split("\n", 1)[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in MODULES:
        module.add_commands(commands)
    return parser
