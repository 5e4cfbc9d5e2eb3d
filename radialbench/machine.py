"""What this process may use of the machine: cores and memory, within its cgroup."""

import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
MEMINFO = Path("/proc/meminfo")


def cores() -> int:
    """Count the cores this process may use, by its affinity and its cgroup's quota; at least 1."""
    if hasattr(os, "sched_getaffinity"):
        allowed = len(os.sched_getaffinity(0))
    else:
        allowed = os.cpu_count() or 1
    quota = _cgroup("cpu.max").split()
    if len(quota) == 2 and quota[0].isdigit() and int(quota[1]) > 0:
        allowed = min(allowed, -(-int(quota[0]) // int(quota[1])))
    return max(1, allowed)


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
