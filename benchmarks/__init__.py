"""Scripts that measure, and the results they wrote: every figure in the README names a file of results/."""

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
"""The checkout's folder."""
