"""How much memory a call adds, at its peak."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from radialbench.kernels.measure.telemetry import process_bytes
from radialbench.records.measurement import Memory

T = TypeVar("T")

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


def peak_memory(run: Callable[[], T], *, device: str = "cpu") -> tuple[T, Memory]:
    """Call once, and measure what that adds to the memory in use, at its peak.

    On a GPU, the memory that PyTorch's allocator gives out: what the call allocates, with its
    outputs and, apart, without them; and what NVML says the process holds. On a CPU, the process's
    resident memory by Linux's own high-water mark, reset just before the call; memory that the
    allocator keeps for reuse is given back first, where the C library can.
    """
    return _host(run) if device == "cpu" else _gpu(run)


def _gpu(run: Callable[[], T]) -> tuple[T, Memory]:
    import torch

    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    result = run()
    torch.cuda.synchronize()
    peak = torch.cuda.max_memory_allocated()
    # The result is still held: what is allocated beyond `before` is the outputs.
    workspace = max(0, peak - max(before, torch.cuda.memory_allocated()))
    source = "growth of the peak of PyTorch's allocator over one call"
    return result, Memory(max(0, peak - before), source, workspace, process_bytes())


def _host(run: Callable[[], T]) -> tuple[T, Memory]:
    _trim()
    before = _resident_bytes()
    result = run()
    if before is None:
        return result, Memory(None, "not measured: the system has no resettable high-water mark")
    source = "growth of the resident set's high-water mark (/proc/self) over one call"
    return result, Memory(max(0, _status_bytes("VmHWM") - before), source)


def _resident_bytes() -> int | None:
    """Reset the high-water mark to what is resident, and return how much that is."""
    try:
        _CLEAR.write_text("5", encoding="ascii")
        return _status_bytes("VmRSS")
    except (OSError, KeyError):
        return None


def _status_bytes(key: str) -> int:
    pairs = (line.split(":", 1) for line in _STATUS.read_text(encoding="ascii").splitlines())
    return int(dict(pair for pair in pairs if len(pair) == 2)[key].split()[0]) * 1024


def _trim() -> None:
    import ctypes

    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):
        return
