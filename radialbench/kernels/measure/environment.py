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
from radialbench.kernels.measure.nvml import NvmlError, answer, number, opened
from radialbench.machine import cores, load
from radialbench.plain import utf8
from radialbench.plugins import plugin_versions
from radialbench.records.result import Environment

LIBRARIES = ("numpy", "torch", "triton")
PEERS = (
    "fa3-fwd",
    "fastvideo-kernel",
    "flash-attn-4",
    "flashinfer-python",
    "nvidia-cudnn-frontend",
    "nvidia-cutlass-dsl",
)

GIT_PLACES = ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE")
"""Variables of git's hooks, which would direct our commands to another repository or index."""


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
        | plugin_versions()
        | (_gpu_versions() if device == "cuda" else {}),
        commit=_commit(Path(radialbench.__file__).resolve()),
        command=utf8(command),
        host=host(),
        card=card() if device == "cuda" else None,
        load=load(),
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
    with opened(), suppress(NvmlError):
        libraries["driver"] = str(answer("nvmlSystemGetDriverVersion"))
    return libraries


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU of the machine.

    Attributes:
        name: Its product name.
        capability: Compute capability, major and minor; None if NVML does not report it, as for
            the others.
        memory_bytes: Its memory.
        driver: Version of its driver.
    """

    name: str
    capability: tuple[int, int] | None
    memory_bytes: int | None
    driver: str | None

    @property
    def text(self) -> str:
        """The GPU in one line, as far as it is known."""
        parts = [self.name]
        if self.capability:
            parts.append("compute capability {}.{}".format(*self.capability))
        if self.memory_bytes:
            parts.append(f"{self.memory_bytes / 2**30:.0f} GiB")
        return ", ".join([*parts, *([f"driver {self.driver}"] if self.driver else [])])


def gpus() -> tuple[list[Gpu], str]:
    """List the NVIDIA GPUs of the machine, without PyTorch.

    Returns:
        The GPUs, none without a driver; and why some or all cannot be listed, empty if they can.
    """
    with opened() as problem:
        if problem:
            return [], "" if problem.is_absent else f"the driver does not answer: {problem}"
        try:
            count = answer("nvmlDeviceGetCount")
        except NvmlError as error:
            return [], f"the driver does not answer: {error}"
        found, problems = [], []
        for place in range(count):
            try:
                found.append(_gpu(answer("nvmlDeviceGetHandleByIndex", place)))
            except NvmlError as error:
                problems.append(f"GPU {place} does not answer: {error}")
        return found, "; ".join(problems)


def _gpu(handle: Any) -> Gpu:
    """Describe a GPU; only its name must be known."""
    facts: dict[str, Any] = dict.fromkeys(("capability", "memory", "driver"))
    queries: dict[str, Callable[[], Any]] = {
        "capability": lambda: tuple(answer("nvmlDeviceGetCudaComputeCapability", handle)),
        "memory": lambda: answer("nvmlDeviceGetMemoryInfo", handle).total,
        "driver": lambda: str(answer("nvmlSystemGetDriverVersion")),
    }
    for name, query in queries.items():
        with suppress(NvmlError, AttributeError, TypeError):  # What it returns may differ, too.
            facts[name] = query()
    name = str(answer("nvmlDeviceGetName", handle))
    return Gpu(name, facts["capability"], facts["memory"], facts["driver"])


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
        queries = {
            "max_sm_mhz": number("nvmlDeviceGetMaxClockInfo", handle, constant="NVML_CLOCK_SM"),
            "max_memory_mhz": number(
                "nvmlDeviceGetMaxClockInfo", handle, constant="NVML_CLOCK_MEM"
            ),
        }
        limits = {name: value for name, value in queries.items() if value is not None}
        if (milliwatts := number("nvmlDeviceGetEnforcedPowerLimit", handle)) is not None:
            limits["power_limit_w"] = milliwatts / 1e3
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


def git_environment() -> dict[str, str]:
    """Return the environment for a call of git that means the repository of its own folder."""
    return {name: value for name, value in os.environ.items() if name not in GIT_PLACES}


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            env=git_environment(),
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
