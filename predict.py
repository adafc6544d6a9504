"""The challenge's door: `graysam predict` with the folders that the judges mount as defaults."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from pathlib import Path

from graysam.cli import predict

# Where the judges mount a case (challenge, CVPR24_time_eval.py) and where short commands do.
MOUNTED = (
    (Path("/workspace/inputs"), Path("/workspace/outputs")),
    (Path("/inputs"), Path("/outputs")),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Predict a folder, and give the exit status."""
    return predict.main(argv, prog="predict.py", mounted=MOUNTED)


if __name__ == "__main__":
    # A timed start: imports make a hundred thousand objects that stay, and what is left at the end goes with the
    # process. Looking through them for garbage again and again would take a twentieth of a run of one image.
    gc.set_threshold(100_000)
    status = main()
    gc.freeze()
    sys.exit(status)
