"""Where attention runs: devices, what their architectures allow, and installed libraries."""

import platform
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from radialbench.errors import BackendError

ARCHITECTURES = (80, 89, 90, 100, 120)
"""Compute capabilities times ten: A100, L40S, H100, B200, RTX PRO 6000."""

SHARED_LIMITS = {80: 166_912, 86: 101_376, 89: 101_376, 90: 232_448, 100: 232_448, 120: 101_376}
"""Bytes of shared memory per thread block, by compute capability times ten."""


@dataclass(frozen=True, slots=True)
class Target:
    """A device and its architecture.

    Attributes:
        device: Its name in PyTorch, such as `cuda:0`.
        arch: Compute capability times ten; None if it is not an NVIDIA GPU.
    """

    device: str
    arch: int | None

    def __str__(self) -> str:
        if self.arch is None:
            return repr(self.device)
        return f"{self.arch // 10}.{self.arch % 10} ({self.device})"

    @property
    def shared_bytes(self) -> int:
        """Shared memory per thread block; for an unknown GPU, that of the next older one."""
        arch = max(self.arch or 80, 80)
        return SHARED_LIMITS[max(known for known in SHARED_LIMITS if known <= arch)]

    @property
    def hopper_reasons(self) -> list[str]:
        """Why kernels for Hopper do not run here; empty if they do."""
        if self.arch == 90:
            return []
        return [f"needs a GPU of compute capability 9.0, got {self}"]

    @property
    def tma_reasons(self) -> list[str]:
        """Why there is no TMA here; empty if there is."""
        if self.arch is not None and self.arch >= 90:
            return []
        return [f"needs a GPU of compute capability 9.0 or later, got {self}"]


def target_of(device: object) -> Target:
    """Return the target of a device of PyTorch or its name."""
    import torch

    name = str(device)
    if not name.startswith("cuda") or not torch.cuda.is_available() or torch.version.hip:
        return Target(name, None)
    major, minor = torch.cuda.get_device_capability(name)
    return Target(name, 10 * major + minor)


def find_device(wanted: str) -> str:
    """Return the device that is asked for; `auto` is a GPU if there is one, else the CPU.

    Raises:
        BackendError: The machine has no such device.
    """
    import torch

    if wanted == "cpu":
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    if wanted == "auto":
        return "cpu"
    raise BackendError(f"asks for device {wanted!r}, and PyTorch finds none on this machine")


class DeviceLostError(BackendError):
    """An error after which no call on the GPU succeeds in this process, such as a device assert."""


def device_lost() -> bool:
    """Return whether an earlier error has left the GPU unusable for this process."""
    import torch

    if not torch.cuda.is_initialized():
        return False
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return True
    return False


def cpu_name() -> str:
    """Return the name of the CPU."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def versions(libraries: Iterable[str]) -> dict[str, str]:
    """Return the versions of the libraries that are installed."""
    installed = {}
    for library in libraries:
        with suppress(PackageNotFoundError):
            installed[library] = version(library)
    return installed
