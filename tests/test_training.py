"""What the benchmark of training times, on small blocks and a CPU."""

from dataclasses import replace
from typing import Any

import diffusers
import pytest
import torch

from benchmarks import training
from benchmarks.paper_step import BUILT, build, inputs
from benchmarks.parts import read_lines
from radialbench.integrations.attending import twin
from radialbench.integrations.diffusers import apply_radial
from radialbench.maskgen.grid import load_model
from radialbench.reports.paper_reference import VIDEOS

SMALL: dict[str, tuple[str, dict[str, Any]]] = {
    "wan2.1-14b": ("64x48x9", {"ffn_dim": 64}),
    "hunyuanvideo": ("64x48x9", {"num_refiner_layers": 1, "rope_axes_dim": (8, 12, 12)}),
    "mochi-1": ("64x48x7", {"pooled_projection_dim": 32}),
}


@pytest.mark.filterwarnings("ignore:In CPU autocast")  # Mochi's rotary embedding asks for float32.
@pytest.mark.parametrize("model", SMALL)
def test_a_step_has_the_gradients_of_plain_autograd(model: str) -> None:
    size, config = SMALL[model]
    stock = build(
        model, "cpu", **BUILT[model].few, num_attention_heads=2, attention_head_dim=32, **config
    )
    blocks = [getattr(stock, name)[0] for name, _ in BUILT[model].kinds.values()]
    for block in blocks:
        training.adapt(block)
    stock.float()
    given = inputs(stock, load_model(model).grid(size))
    floats = {
        name: x.float() if torch.is_tensor(x) and x.is_floating_point() else x
        for name, x in given.items()
    }
    masked = twin(stock)
    apply_radial(masked, size=size, mask="dense")
    for name, _ in BUILT[model].kinds.values():
        block, own = (getattr(one, name)[0] for one in (stock, masked))
        with torch.no_grad():
            taken = training.arguments(own, lambda: masked(**floats))
        grads = training.gradients_like(own, taken)
        found = training.step_of(own, taken, grads)()
        hidden = taken["hidden_states"].clone().requires_grad_()
        outs = block(**taken | {"hidden_states": hidden})
        outs = outs if isinstance(outs, tuple) else (outs,)
        adapters = [weight for weight in block.parameters() if weight.requires_grad]
        assert len(adapters) in (6, 8)
        wanted = torch.autograd.grad(outs, [hidden, *adapters], grads)
        for got, exact in zip(found, wanted, strict=True):
            assert got is not None
            torch.testing.assert_close(got, exact, rtol=1e-3, atol=1e-4 * float(exact.abs().max()))
        training.check_finite(found, "a block")
        with pytest.raises(SystemExit, match="a block: not all gradients are finite"):
            training.check_finite([*found, torch.tensor(float("nan"))], "a block")


def test_parameters_are_those_of_the_models() -> None:
    for model, built in BUILT.items():
        with torch.device("meta"):
            made = getattr(diffusers, built.name)()
        count = sum(weight.numel() for weight in made.parameters())
        assert training.PARAMETERS[model] == pytest.approx(count, rel=0.01)


def test_a_video_that_fits_needs_what_was_measured_of_each_token() -> None:
    video = next(one for one in VIDEOS if (one.model, one.length) == ("wan2.1-14b", 1))
    measured = read_lines(training.STORED, training.TrainingTime)[0]
    # 300,000 tokens: a block needs 100 kB of each, and 40 layers keep 2 bytes of 5,120 channels.
    one = replace(measured, peak_bytes=video.grid.seq_len * 100_000)
    rows = [training.Trained(video, one, one)]
    room = 2 * 14.3e9 + 300_000 * (100_000 + 40 * 2 * 5_120)
    frames = training.frames_in(room, rows, "radial")
    assert frames is not None
    tokens = video.preset.grid(f"1280x768x{frames}").seq_len
    assert tokens <= 300_000 < video.preset.grid(f"1280x768x{frames + 4}").seq_len
    assert training.frames_in(2 * 14.3e9, rows, "dense") is None
