"""What a call adds to memory."""

import numpy as np
import pytest

from radialbench.kernels.measure import telemetry
from radialbench.kernels.measure.telemetry import peak_memory


def test_peak_memory_is_what_a_call_holds_at_once() -> None:
    size = 64 << 20

    def call() -> str:
        first = np.ones(size, np.uint8)
        del first
        np.ones(size, np.uint8)
        return "result"

    result, memory = peak_memory(call)
    assert result == "result"
    assert memory.peak_bytes is not None
    assert 0.95 * size <= memory.peak_bytes < 1.5 * size


def test_an_earlier_peak_does_not_count() -> None:
    np.ones(64 << 20, np.uint8)
    _, memory = peak_memory(lambda: None)
    assert memory.peak_bytes is not None
    assert memory.peak_bytes < 8 << 20


def test_a_system_without_a_mark_is_reported(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    nowhere = tmp_path_factory.mktemp("proc") / "none" / "clear_refs"
    monkeypatch.setattr(telemetry, "_CLEAR", nowhere)
    result, memory = peak_memory(lambda: 7)
    assert (result, memory.peak_bytes) == (7, None)
    assert memory.source.startswith("not measured")


def test_an_error_of_the_call_is_not_taken_for_one_of_the_system() -> None:
    def call() -> None:
        raise FileNotFoundError("weights")

    with pytest.raises(FileNotFoundError, match="weights"):
        peak_memory(call)


@pytest.mark.gpu
def test_on_a_gpu_it_is_what_the_call_allocates() -> None:
    import torch

    def call() -> torch.Tensor:
        torch.empty(3 << 20, dtype=torch.uint8, device="cuda")
        torch.empty(64 << 20, dtype=torch.uint8, device="cuda")
        return torch.empty(16 << 20, dtype=torch.uint8, device="cuda")

    call()
    result, memory = peak_memory(call, device="cuda")
    assert memory.peak_bytes == 64 << 20
    assert memory.workspace_bytes == (64 - 16) << 20
    assert result.nbytes == 16 << 20
    if memory.process_bytes is not None:  # a container hides the process from NVML
        assert memory.process_bytes > torch.cuda.memory_reserved()
