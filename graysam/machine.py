"""What of this machine the process may use: its CPUs, and how much of their time."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
CGROUP_ROOT: Final = Path("/sys/fs/cgroup")


def usable_cores(proc: Path = PROC, cgroup_root: Path = CGROUP_ROOT) -> int:
    """Count the CPUs that the process may use, but not more than its cgroup's quota, rounded up; at least 1."""
    quota = cpu_quota(proc, cgroup_root)
    count = len(allowed_cpus())
    return count if quota is None else max(1, min(count, math.ceil(quota)))


def allowed_cpus() -> set[int]:
    """Give the numbers of the CPUs that the process may run on: on Linux its affinity, elsewhere all."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def cpu_quota(proc: Path = PROC, cgroup_root: Path = CGROUP_ROOT) -> float | None:
    """Give how many CPUs' worth of time the process's cgroup may use, None without a limit.

    Knows version 2 (cpu.max) and version 1 (cpu.cfs_quota_us), and takes the smallest limit on the way up to the root:
    a container sees its own group as the root, a batch job on a cluster does not.
    """
    quotas = []
    for folder in _cgroup_folders(proc, cgroup_root):
        quota = _quota_of(folder)
        if quota is not None:
            quotas.append(quota)
    return min(quotas, default=None)


def _cgroup_folders(proc: Path, cgroup_root: Path) -> list[Path]:
    """Give the folders of the process's group and of those above it, both versions; some may not exist."""
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        lines = []
    folders = [cgroup_root, cgroup_root / "cpu", cgroup_root / "cpu,cpuacct"]
    for line in lines:
        _, controllers, group = (*line.split(":", 2), "", "")[:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        roots = [cgroup_root] if not controllers else [cgroup_root / "cpu", cgroup_root / controllers]
        parts = [part for part in group.split("/") if part not in ("", "..")]
        folders += [root.joinpath(*parts[:depth]) for root in roots for depth in range(1, len(parts) + 1)]
    return folders


def _quota_of(folder: Path) -> float | None:
    try:
        if (folder / "cpu.max").is_file():
            quota, period = (folder / "cpu.max").read_text().split()[:2]
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
        if quota in ("max", "-1") or float(period) <= 0:
            return None
        return float(quota) / float(period)
    except (OSError, ValueError):  # no such group, or a form that no known kernel writes: no limit that we know of
        return None
