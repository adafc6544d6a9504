"""Fixtures of the readers' tests; see source_files.py."""

import pytest
from source_files import write_png, write_volume

pytest.importorskip("SimpleITK", reason="the extra `prep` is not installed")

__all__ = ["write_png", "write_volume"]
