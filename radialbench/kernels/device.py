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
