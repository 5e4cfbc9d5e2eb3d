"""Results stay the same, to the bit, while another process has the GPU half of the time."""

import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from radialbench.kernels.arch import target_of
from radialbench.kernels.op import block_sparse_attention, device_table
from radialbench.kernels.select import kernel_reasons
from tests.kernels.tables import mixed_mask, table_of
from tests.kernels.test_op import close, definition, inputs

BUSY = """
import torch
a = torch.randn(4096, 4096, device="cuda", dtype=torch.bfloat16)
(a @ a).sum().item()
print("busy", flush=True)
while True:
    for _ in range(20):
        a @ a
    torch.cuda.synchronize()
"""


@pytest.fixture
def neighbour() -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"busy\n"
        yield
        process.kill()


@pytest.mark.gpu
@pytest.mark.parametrize("backend", ["hopper", "triton"])
def test_another_process_on_the_gpu_changes_nothing(backend: str, neighbour: None) -> None:
    """Launches of tens of milliseconds, each of which the GPU puts aside several times."""
    if reasons := kernel_reasons(backend, torch.bfloat16, 128, (128, 128), target_of("cuda")):
        pytest.skip("; ".join(reasons))
    small = mixed_mask(1000)
    qkv = inputs(1000, head_dim=128, dtype=torch.bfloat16)
    got = block_sparse_attention(
        *(*qkv, table_of(small, 128, 128)), backend=backend, return_lse=True
    )
    close(got, definition(*qkv, torch.from_numpy(small)))
    mask = np.tile(small, (8, 8))
    table = device_table(table_of(mask, 128, 128), "cuda")
    shape = (2, 80, 8000, 128)
    q, k, v = (torch.randn(shape, device="cuda", dtype=torch.bfloat16) for _ in range(3))
    results = [
        block_sparse_attention(q, k, v, table, backend=backend, return_lse=True) for _ in range(8)
    ]
    for out, lse in results:
        assert bool(out.isfinite().all())
        assert torch.equal(out, results[0][0])
        assert torch.equal(lse, results[0][1])
