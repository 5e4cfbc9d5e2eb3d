"""What this process may use of the machine: cores and memory, within its cgroup."""

import math
import os
from contextlib import suppress
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
MEMINFO = Path("/proc/meminfo")


def cores() -> int:
    """Count the cores this process may use, by its affinity and its cgroup's quota; at least 1."""
    if hasattr(os, "sched_getaffinity"):
        allowed = len(os.sched_getaffinity(0))
    else:
        allowed = os.cpu_count() or 1
    return max(1, min(allowed, cpu_quota() or allowed))


def cpu_quota(own: Path = Path("/proc/self/cgroup"), root: Path | None = None) -> int | None:
    """Return the cores' worth of time that a cgroup may use, rounded up; None without a quota.

    Args:
        own: File that names the process's cgroups.
        root: Where they are mounted, version 2, or version 1 with a folder for `cpu`; `CGROUP` if
            not given.
    """
    root = root or CGROUP
    quotas = []
    with suppress(OSError, ValueError):
        for line in own.read_text(encoding="utf-8").splitlines():
            number, kinds, name = line.split(":", 2)
            if number != "0" and "cpu" not in kinds.split(","):
                continue
            mount = root if number == "0" else root / "cpu"
            group = mount / name.lstrip("/")
            # Each group limits those in it. In a container some of these folders are not there.
            for folder in (group, *group.parents):
                quotas.append(_quota(folder))
                if folder == mount:
                    break
    return min((math.ceil(quota) for quota in quotas if quota), default=None)


def _quota(group: Path) -> float | None:
    """Return the cores' worth of time of one cgroup; None without a quota."""
    with suppress(OSError, ValueError):
        quota, period = (group / "cpu.max").read_text(encoding="ascii").split()
        return int(quota) / int(period)
    with suppress(OSError, ValueError):
        names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        quota_us, period_us = (int((group / name).read_text(encoding="ascii")) for name in names)
        return quota_us / period_us if quota_us > 0 else None
    return None


BUSY = 0.5
"""Load above which other work takes cores from what is timed."""


def load() -> float | None:
    """Return how many processes ran or waited, per core of the machine, over the last minute.

    None if the system does not say.
    """
    try:
        return os.getloadavg()[0] / (os.cpu_count() or 1)
    except (AttributeError, OSError):
        return None


def free_memory() -> int | None:
    """Return the free bytes of memory, within the cgroup; None if the system does not say."""
    known = []
    try:
        lines = MEMINFO.read_text().splitlines()
        known += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    except OSError:
        pass
    most, used = _cgroup("memory.max"), _cgroup("memory.current")
    if most.isdigit() and used.isdigit():
        known.append(max(0, int(most) - int(used)))
    return min(known, default=None)


def _cgroup(name: str) -> str:
    try:
        return (CGROUP / name).read_text().strip()
    except OSError:
        return ""
