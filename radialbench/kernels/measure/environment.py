"""The environment of a measurement: machine, versions, source."""

import hashlib
import os
import platform
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import radialbench
from radialbench.kernels.arch import cpu_name, versions
from radialbench.machine import cores
from radialbench.records.result import Environment

LIBRARIES = ("numpy", "torch", "triton")
PEERS = ("fa3-fwd", "flash-attn-4", "nvidia-cutlass-dsl", "flashinfer-python", "fastvideo-kernel")


def environment(command: str, *, device: str = "cpu") -> Environment:
    """Describe this process and its machine.

    Args:
        command: The command line.
        device: Where attention runs, `cpu` or `cuda`.
    """
    import torch

    return Environment(
        device=torch.cuda.get_device_name() if device == "cuda" else device,
        cpu=cpu_name(),
        cores=cores(),
        threads=torch.get_num_threads(),
        memory_bytes=memory_bytes(),
        os=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        versions={"radialbench": radialbench.__version__}
        | versions(LIBRARIES)
        | (_gpu_versions() if device == "cuda" else {}),
        commit=_commit(Path(radialbench.__file__).resolve()),
        command=command,
        host=host(),
        card=card() if device == "cuda" else None,
        **(clock_limits() if device == "cuda" else {}),
    )


def host() -> str:
    """Return twelve digits of a hash of the machine's name, which identify the machine."""
    return _hashed(platform.node())


def card() -> str | None:
    """Return twelve digits of a hash of the current GPU's UUID; None if the driver has none."""
    import torch

    uuid = getattr(torch.cuda.get_device_properties(), "uuid", None)
    return None if uuid is None else _hashed(str(uuid))


def _hashed(name: str) -> str:
    return hashlib.sha256(f"radialbench:{name}".encode()).hexdigest()[:12]


def memory_bytes() -> int:
    """Return the physical memory; 0 if the system does not report it."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 0


def _gpu_versions() -> dict[str, str]:
    import torch

    libraries = versions(PEERS)
    if torch.version.cuda:
        libraries["cuda"] = torch.version.cuda
    if torch.backends.cudnn.is_available():
        libraries["cudnn"] = str(torch.backends.cudnn.version())
    for gpu in gpus()[0][:1]:
        libraries["driver"] = gpu.driver
    return libraries


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU of the machine.

    Attributes:
        name: Its product name.
        capability: Compute capability, major and minor.
        memory_bytes: Its memory.
        driver: Version of its driver.
    """

    name: str
    capability: tuple[int, int]
    memory_bytes: int
    driver: str

    @property
    def text(self) -> str:
        """The GPU in one line."""
        major, minor = self.capability
        memory = f"{self.memory_bytes / 2**30:.0f} GiB"
        return f"{self.name}, compute capability {major}.{minor}, {memory}, driver {self.driver}"


def gpus() -> tuple[list[Gpu], str]:
    """List the NVIDIA GPUs of the machine, without PyTorch.

    Returns:
        The GPUs, none without a driver; and why they cannot be listed, empty if they can.
    """
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # Without the library, or without a driver.
        return [], ""
    try:
        driver = pynvml.nvmlSystemGetDriverVersion()
        handles = map(pynvml.nvmlDeviceGetHandleByIndex, range(pynvml.nvmlDeviceGetCount()))
        return [
            Gpu(
                name=pynvml.nvmlDeviceGetName(handle),
                capability=tuple(pynvml.nvmlDeviceGetCudaComputeCapability(handle)),
                memory_bytes=pynvml.nvmlDeviceGetMemoryInfo(handle).total,
                driver=driver,
            )
            for handle in handles
        ], ""
    except pynvml.NVMLError as error:
        return [], f"the driver does not answer: {error}"
    finally:
        pynvml.nvmlShutdown()


def likely_device_name(device: str) -> str | None:
    """Return the name of the first GPU that NVML lists, or of the CPU, without PyTorch.

    `device` is `cpu`, `cuda`, or `auto` for a GPU if there is one. None if there is no such device.
    """
    if device != "cpu":
        for gpu in gpus()[0]:
            return gpu.name
    return None if device == "cuda" else cpu_name()


def clock_limits() -> dict[str, Any]:
    """Return what limits the current CUDA device, by field of `Environment`, as far as known."""
    from radialbench.kernels.measure.telemetry import nvml

    limits: dict[str, Any] = {}
    with nvml() as (handle, _):
        if handle is None:
            return limits
        import pynvml

        clock = pynvml.nvmlDeviceGetMaxClockInfo
        queries: dict[str, Callable[[], float]] = {
            "max_sm_mhz": lambda: clock(handle, pynvml.NVML_CLOCK_SM),
            "max_memory_mhz": lambda: clock(handle, pynvml.NVML_CLOCK_MEM),
            "power_limit_w": lambda: pynvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1e3,
        }
        for name, query in queries.items():
            with suppress(pynvml.NVMLError):
                limits[name] = query()
    return limits


def _commit(source: Path) -> str | None:
    """Return the checked-out commit, with a + if the package differs from it.

    None outside a checkout, or if the package is not part of the checkout's project.
    """
    folder = source.parent
    if not _git(folder, "ls-files", "--", str(source)):
        return None
    commit = _git(folder, "rev-parse", "--short=12", "HEAD")
    if not commit:
        return None
    return commit + ("+" if _git(folder, "status", "--porcelain", "--", ".") else "")


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
