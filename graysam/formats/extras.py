"""What to say where a package of the extra `files` is missing: the one command that brings it."""

from __future__ import annotations

from pathlib import Path

from graysam.errors import CaseError

_LIST = Path(__file__).resolve().parents[2] / "requirements" / "files.txt"


def install_command() -> str:
    """Give the command that installs the readers: by the checkout's own list, else as the extra of the package."""
    return f"pip install -r {_LIST}" if _LIST.is_file() else 'pip install "graysam[files]"'


def missing_package(name: str, error: ImportError) -> CaseError:
    """Give the error for a file that cannot be read or written without a package."""
    return CaseError(f"{name}: this needs the package {error.name}; run: {install_command()}")
