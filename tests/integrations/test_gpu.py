"""RadialAttention and the processors on a GPU: our kernels inside a module and a model."""

import numpy as np
import pytest
import torch
from torch import Tensor

from radialbench import TokenGrid, load_mask
from radialbench.integrations.diffusers import apply_radial, remove_radial
from radialbench.integrations.module import RadialAttention
from radialbench.kernels.arch import target_of
from radialbench.kernels.select import kernel_reasons
from radialbench.maskgen.library import parse_head_plan
from tests.integrations.raster import raster_mask
from tests.integrations.small import wan
from tests.integrations.test_module import definition

pytestmark = [
    pytest.mark.gpu,
    # Importing what compiles for a GPU, PyTorch warns of itself.
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
]

JOINT = TokenGrid(5, 12, 20, text_tokens=30)
kernels = pytest.mark.parametrize("backend", ["hopper", "triton"])


def needs(backend: str) -> None:
    reasons = kernel_reasons(backend, torch.bfloat16, 128, (128, 128), target_of("cuda"))
    if reasons:
        pytest.skip("; ".join(reasons))


def close(got: Tensor, wanted: Tensor, bound: float) -> None:
    """Compare with a bound on errors, as a share of what the outputs spread.

    An output of bfloat16 is rounded by up to 2⁻⁹ of itself, and so are the weights it sums up with.
    """
    assert got.isfinite().all()
    exact = wanted.double()
    error = ((got.double() - exact).abs() - 2**-8 * exact.abs()).max() / exact.std()
    assert error < bound, float(error)


@kernels
@pytest.mark.parametrize("mask", ["radial", "sta", "svg_temporal", "halves"])
def test_the_module_gives_the_definition(backend: str, mask: str) -> None:
    needs(backend)
    generator = torch.Generator("cuda").manual_seed(0)
    shape = (2, JOINT.seq_len, 3, 128)
    in_model_layout = [
        torch.randn(shape, generator=generator, device="cuda", dtype=torch.bfloat16)
        for _ in range(3)
    ]
    q, k, v = (x.transpose(1, 2) for x in in_model_layout)
    lengths = torch.tensor([30, 4], device="cuda")
    keys = np.arange(JOINT.seq_len) < 1200 + np.array([30, 4])[:, None]
    heads = ("svg_spatial", "svg_temporal", "sta") if mask == "halves" else (mask,) * 3
    by_head = np.stack([raster_mask(load_mask(name), JOINT) for name in heads])
    allowed = by_head & keys[:, None, None, :]
    plan = parse_head_plan({"name": "halves", "heads": {str(n): m for n, m in enumerate(heads)}})
    attention = RadialAttention(JOINT, plan if mask == "halves" else mask, backend=backend)
    wanted = definition((q.cpu(), k.cpu(), v.cpu()), allowed)
    close(attention(q, k, v, text_len=lengths).cpu(), wanted, 0.02)
    compiled = torch.compile(attention, fullgraph=True)
    close(compiled(q, k, v, text_len=lengths).cpu(), wanted, 0.02)


@kernels
def test_a_model_gives_what_it_gives_with_the_whole_mask(backend: str) -> None:
    needs(backend)
    transformer = wan(attention_head_dim=64).to("cuda", torch.bfloat16)
    generator = torch.Generator("cuda").manual_seed(0)
    made = {
        "hidden_states": torch.randn(2, 4, 3, 24, 40, generator=generator, device="cuda"),
        "timestep": torch.full((2,), 900.0, device="cuda"),
        "encoder_hidden_states": torch.randn(2, 10, 16, generator=generator, device="cuda"),
    }
    inputs = {name: value.to(torch.bfloat16) for name, value in made.items()}
    outs = []
    for kind in (backend, "sdpa"):
        attention = apply_radial(transformer, size="320x192x9", decay=0.3, backend=kind)
        assert attention.grid == TokenGrid(3, 12, 20)
        with torch.no_grad():
            outs.append(transformer(**inputs, return_dict=False)[0].cpu())
        remove_radial(transformer)
    close(outs[0], outs[1], 0.1)
