"""A transformer with a mask trains when FSDP2 shards its weights over processes."""

import os
import subprocess
import sys
from pathlib import Path

RANKS = 2

PROCESS = """
import sys
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from radialbench.integrations.diffusers import apply_radial
from tests.integrations.small import SMALL

rank, ranks, store = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=ranks)


def gradients(model, sharded, videos, later=False):
    # Each process has its videos; FSDP2 takes the mean of the processes' gradients.
    small = SMALL[model]
    transformer = small.build()
    if not later:
        apply_radial(transformer, size=small.size, mask="radial", decay=0.5)
    transformer.enable_gradient_checkpointing()
    transformer.train()
    if sharded:
        mesh = init_device_mesh("cpu", (ranks,))
        for name in ("blocks", "transformer_blocks", "single_transformer_blocks"):
            for block in getattr(transformer, name, ()):
                fully_shard(block, mesh=mesh)
        fully_shard(transformer, mesh=mesh)
    if later:
        apply_radial(transformer, size=small.size, mask="radial", decay=0.5)
    loss = 0.0
    for timestep in videos:
        out = transformer(**small.inputs(float(timestep)), return_dict=False)[0]
        loss = loss + (out * torch.linspace(-1, 1, out.numel()).view(out.shape)).mean()
    (loss / len(videos)).backward()
    return {
        name: weight.grad.full_tensor() if sharded else weight.grad
        for name, weight in transformer.named_parameters()
        if weight.grad is not None
    }


every = [900.0, 400.0]
for model, later in (("wan", False), ("hunyuan", True)):
    wanted = gradients(model, False, every)
    found = gradients(model, True, [every[rank]], later)
    assert found.keys() == wanted.keys() and len(found) > 20, sorted(found.keys() ^ wanted.keys())
    for name, grad in found.items():
        scale = float(wanted[name].abs().max())
        torch.testing.assert_close(grad, wanted[name], rtol=1e-4, atol=1e-5 * max(scale, 1e-3))
dist.barrier()
dist.destroy_process_group()
print(len(found), "gradients agree")
"""


def test_gradients_of_sharded_weights_are_those_of_one_process(tmp_path: Path) -> None:
    """With the mask put in before sharding, and after it."""
    words = [sys.executable, "-c", PROCESS]
    started = [
        subprocess.Popen(
            [*words, str(rank), str(RANKS), str(tmp_path / "store")],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        )
        for rank in range(RANKS)
    ]
    said = [process.communicate()[0] for process in started]
    assert [process.returncode for process in started] == [0] * RANKS, "\n".join(said)
    assert all("gradients agree" in text for text in said)
