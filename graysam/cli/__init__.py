"""The command `graysam`: arguments in, exit status out; each sub-command is a module with a `main`.

A sub-command is imported when it is called for, so that `graysam --help` answers at once.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from graysam.console import run_command
from graysam.errors import EngineError

OWN_PACKAGE = "graysam."

# Name, the module whose `main(argv)` runs it, and one line for the help.
COMMANDS: dict[str, tuple[str, str]] = {
    "predict": ("graysam.cli.predict", "segment a folder of images and volumes"),
    "view": ("graysam.cli.view", "draw boxes and correct masks in the browser, on this machine alone"),
    "adapt": ("train.adapt.command", "fine-tune the weights on your own labelled cases; in a checkout"),
    "doctor": ("graysam.cli.doctor", "say what would run here and why, and try it, for bug reports"),
}
EPILOGUE = """\
"graysam COMMAND --help" explains a command. In Python: from graysam import Segmenter

exit status: 0 fine; 1 some case failed, the others are there; 2 nothing could be done
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one sub-command, and give its exit status."""
    options = _parser().parse_args(argv)
    module, _ = COMMANDS[options.command]
    if not module.startswith(OWN_PACKAGE) and (missing := _missing_for(module)):
        return run_command(lambda: _refuse(options.command, missing))
    status: int = importlib.import_module(module).main(options.arguments)
    return status


def _missing_for(module: str) -> str:
    """Give the name of what a command outside this package lacks, "" where it can be imported.

    Training stays out of the installed package. In a checkout it lies next to this package, also when `graysam` was
    installed from there with `pip install -e` and is called in another folder.
    """
    checkout = Path(__file__).resolve().parents[2]
    if checkout.joinpath(*module.split(".")).with_suffix(".py").is_file() and str(checkout) not in sys.path:
        sys.path.insert(0, str(checkout))
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        return error.name or module
    return ""


def _refuse(command: str, missing: str) -> None:
    raise EngineError(
        f"graysam {command} trains, and wants {missing!r}, which is not here. Training is used from a checkout of "
        "GraySAM: give there `pip install -e '.[train,prep]'`, and this command again."
    )


def _parser() -> argparse.ArgumentParser:
    from graysam import __version__

    lines = [f"  {name:<10} {text}" for name, (_, text) in COMMANDS.items()]
    parser = argparse.ArgumentParser(
        prog="graysam",
        description="Box-prompted segmentation of medical images on a CPU. Not for clinical use.\n\ncommands:\n"
        + "\n".join(lines),
        epilog=EPILOGUE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="graysam [--help] [--version] COMMAND ...",
    )
    parser.add_argument("--version", action="version", version=f"graysam {__version__}")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help=argparse.SUPPRESS)
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser
