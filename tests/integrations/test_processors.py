"""What the processors share: turning pairs of channels, as the stock ones do."""

import pytest
import torch

from radialbench.integrations.processors import rotated


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("angles", [torch.float32, torch.float64, torch.bfloat16])
def test_pairs_turn_by_their_angles_eager_and_compiled(
    dtype: torch.dtype, angles: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(0)
    # A part of a longer sequence, of projections that lie side by side.
    whole = torch.randn(2, 12, 3 * 4 * 16, generator=generator).to(dtype)
    x = whole.chunk(3, dim=-1)[1].unflatten(2, (4, 16))[:, 1:10]
    turn = torch.rand(9, 1, 8, generator=generator) * 6.3
    cos, sin = turn.cos().to(angles), turn.sin().to(angles)
    even, odd = (x[..., start::2].double() for start in (0, 1))
    c, s = cos.double(), sin.double()
    wanted = torch.stack([even * c - odd * s, even * s + odd * c], dim=-1).flatten(-2)
    before = x.clone()
    found = rotated(x, cos, sin)
    assert torch.equal(x, before)
    assert (found.dtype, found.shape) == (dtype, x.shape)
    bound = 2e-2 if torch.bfloat16 in (dtype, angles) else 1e-5
    torch.testing.assert_close(found.double(), wanted, rtol=bound, atol=bound)
    compiled = torch.compile(rotated, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, cos, sin).double(), wanted, rtol=bound, atol=bound)
