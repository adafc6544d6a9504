"""What a measurement was made on and with: stored with every figure."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks import ROOT
from graysam.machine import usable_cores

CPU_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
"""Instructions that decide which precision is fast."""


def machine_facts(packages: Sequence[str] = ()) -> dict[str, object]:
    """Give CPU name, cores, decisive CPU flags, memory, versions and the commit; what is unknown is None."""
    cpuinfo = _read("/proc/cpuinfo")
    flags = (_field(cpuinfo, "flags") or "").split()
    memory_kib = (_field(_read("/proc/meminfo"), "MemTotal") or "").split()
    return {
        "cpu": _field(cpuinfo, "model name") or platform.processor() or platform.machine(),
        "cores": usable_cores(),
        "cpu_flags": [flag for flag in CPU_FLAGS if flag in flags],
        "memory_gib": round(int(memory_kib[0]) / 2**20, 1) if memory_kib else None,
        "python": platform.python_version(),
        "versions": {package: _version(package) for package in packages},
        "commit": _commit(),
    }


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:  # not Linux
        return ""


def _field(text: str, name: str) -> str | None:
    """Give the first value of `name : value`."""
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Give the commit that is checked out, with a plus sign where files differ from it."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--exclude=*"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return described.stdout.strip()
