"""Where attention runs."""

import torch

from radialbench.errors import BackendError


def find_device(wanted: str) -> str:
    """Give the device that is asked for, `auto` being a GPU where there is one, else the CPU.

    Raises:
        BackendError: The machine has no such device.
    """
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
    """Tell whether an earlier error has left the GPU unusable for this process."""
    if not torch.cuda.is_initialized():
        return False
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return True
    return False
