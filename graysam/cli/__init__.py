"""The command `graysam`: arguments in, exit status out; each sub-command is a module with a `main`.

A sub-command is imported when it is called for, so that `graysam --help` answers at once.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence

# Name, the module whose `main(argv)` runs it, and one line for the help.
COMMANDS: dict[str, tuple[str, str]] = {
    "predict": ("graysam.cli.predict", "segment a folder of images and volumes"),
    "view": ("graysam.cli.view", "draw boxes and correct masks in the browser, on this machine alone"),
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
    status: int = importlib.import_module(module).main(options.arguments)
    return status


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
