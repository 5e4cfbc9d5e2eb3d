"""`radialbench doctor`: what is installed, what the machine has, what each backend needs."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer

LIBRARIES = ("numpy", "torch", "triton", "pydantic", "pandas", "matplotlib", "optuna")


def doctor(
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell versions, processor, memory, GPUs, and what each backend needs."""
    from radialbench.cli._console import console, print_json

    facts = _facts()
    if json:
        print_json(facts)
        return
    for name, value in facts.items():
        if isinstance(value, dict):
            lines = {f"{name} {key}": text for key, text in value.items()}
        else:
            lines = {name: ", ".join(value) if isinstance(value, list) else value}
        for title, text in lines.items():
            console.print(f"{title:<18} {text}", markup=False, highlight=False, soft_wrap=True)


def _facts() -> dict[str, str | list[str] | dict[str, str]]:
    from radialbench import __version__

    return {
        "radialbench": __version__,
        "python": f"{platform.python_version()}, {platform.system()} {platform.machine()}",
        "library": {name: _version(name) for name in LIBRARIES},
        "cpu": _cpu(),
        "memory": _memory(),
        "gpu": _gpus() or ["none found"],
        "backend": _backends(),
    }


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "not installed"


def _cpu() -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{_cpu_name()}, {cores} cores"


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _memory() -> str:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return "unknown"
    return f"{total / 2**30:.1f} GiB"


def _gpus() -> list[str]:
    try:
        import pynvml
    except ImportError:
        return []
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        driver = pynvml.nvmlSystemGetDriverVersion()
        handles = map(pynvml.nvmlDeviceGetHandleByIndex, range(pynvml.nvmlDeviceGetCount()))
        return [f"{_gpu(handle)}, driver {driver}" for handle in handles]
    finally:
        pynvml.nvmlShutdown()


def _gpu(handle: object) -> str:
    import pynvml

    name = pynvml.nvmlDeviceGetName(handle)
    major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
    total = pynvml.nvmlDeviceGetMemoryInfo(handle).total
    return f"{name}, compute capability {major}.{minor}, {total / 2**30:.0f} GiB"


def _backends() -> dict[str, str]:
    from radialbench.kernels.backend import BACKENDS, load_backend

    needs = {}
    for name in BACKENDS:
        try:
            needs[name] = load_backend(name).needs()
        except ImportError as error:
            needs[name] = f"cannot be imported: {error}"
    return needs
