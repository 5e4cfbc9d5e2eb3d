"""Whether a case can fit in memory, judged before it is tried."""

from pathlib import Path

from radialbench.kernels.backends.reference import CHUNK_BYTES
from radialbench.records.problem import Problem

ITEM_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


def needed_bytes(problem: Problem, *, permuted: bool) -> int:
    """Estimate the least a case takes: its tensors, copies in another order, the accuracy check."""
    head = problem.seq_len * problem.head_dim
    tensors = (10 if permuted else 4) * problem.batch * problem.heads * head
    chunk = min(CHUNK_BYTES, 8 * problem.seq_len**2)
    check = 2 * 8 * head + chunk + chunk // 8
    return tensors * ITEM_BYTES[problem.dtype] + check


def available_bytes(device: str) -> int | None:
    """Tell how much memory is free, of the GPU or of the machine and this group of processes.

    What PyTorch's allocator keeps for reuse is free.

    None where it is not known.
    """
    if device == "cuda":
        import torch

        kept = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
        return int(torch.cuda.mem_get_info()[0]) + kept
    free = [_meminfo(), _group_room()]
    known = [value for value in free if value is not None]
    return min(known, default=None)


def _meminfo() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    found = [line.split() for line in lines if line.startswith("MemAvailable:")]
    return int(found[0][1]) * 1024 if found else None


def _group_room() -> int | None:
    group = Path("/sys/fs/cgroup")
    try:
        most = (group / "memory.max").read_text().strip()
        used = int((group / "memory.current").read_text())
    except (OSError, ValueError):
        return None
    return int(most) - used if most.isdigit() else None
