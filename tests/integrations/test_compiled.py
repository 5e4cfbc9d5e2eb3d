"""What `apply_radial` set up is compiled whole or block by block, once dense and once sparse."""

from typing import Any

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from radialbench.integrations.diffusers import apply_radial, remove_radial
from tests.integrations.small import SMALL, called, close, replaced

pytestmark = pytest.mark.filterwarnings("ignore:In CPU autocast")


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("wan", {"num_layers": 1}),
        ("hunyuan", {"num_layers": 0, "num_single_layers": 1}),
        ("hunyuan", {"num_layers": 1, "num_single_layers": 0}),
        ("mochi", {"num_layers": 1}),
    ],
)
def test_compiled_blocks(name: str, layers: dict[str, int]) -> None:
    small = SMALL[name]
    transformer = small.build(**layers)
    apply_radial(transformer, size=small.size, decay=0.3, dense_steps=1)
    timesteps = [0.0, 10.0, 20.0] if name == "mochi" else [900.0, 800.0, 700.0]
    wanted = [called(transformer, small.inputs(t)) for t in timesteps]
    torch._dynamo.reset()
    counted = CompileCounter()
    for blocks in ("blocks", "transformer_blocks", "single_transformer_blocks"):
        for block in getattr(transformer, blocks, []):
            block.compile(fullgraph=True, backend=counted)
    for t, out in zip(timesteps, wanted, strict=True):
        close(called(transformer, small.inputs(t)), out)
    # Once dense and once sparse, not at every step.
    assert counted.frame_count == 2


@pytest.mark.parametrize("first", [False, True])
def test_a_transformer_that_is_compiled_whole(first: bool) -> None:
    small = SMALL["wan"]
    transformer = small.build(num_layers=1)
    apply_radial(transformer, size=small.size, decay=0.3, dense_steps=1)
    timesteps = [900.0, 800.0, 700.0]
    wanted = [called(transformer, small.inputs(t)) for t in timesteps]
    torch._dynamo.reset()
    compiled: Any = torch.compile(transformer, fullgraph=True, backend="eager")
    if first:
        attention = apply_radial(compiled, size=small.size, decay=0.3, dense_steps=1)
        assert attention.denoising.step == 0
    for t, out in zip(timesteps, wanted, strict=True):
        close(called(compiled, small.inputs(t)), out)
    remove_radial(compiled)
    assert replaced(transformer) == 0
