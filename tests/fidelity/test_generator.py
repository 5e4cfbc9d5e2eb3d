"""Generated inputs obey the laws that they state."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from radialbench.errors import InputsError
from radialbench.fidelity.files import open_inputs, save_inputs
from radialbench.fidelity.generator import MIXED, WIDE, Generated, HeadLaw
from radialbench.fidelity.inputs import AttentionInputs
from radialbench.fidelity.law import Law
from radialbench.maskgen.grid import Segment, TokenGrid
from radialbench.maskgen.order import Coordinates, TokenOrder

GRID = TokenGrid(5, 6, 7, text_tokens=4, text_first=True)
LAWS = (
    HeadLaw(Law(rate=0.4), 0.3, sink=0.8, text=-1.0),
    HeadLaw(Law("power", 1.5), 0.0, sink=-0.5, sink_frames=2),
    HeadLaw(Law("stretched", 0.7, 0.5), 0.9, sink_frames=9, sink=0.25),
    HeadLaw(Law("stretched", 0.1, 2.0), 0.2, text=2.0),
)


def logits(inputs: AttentionInputs, head: int) -> torch.Tensor:
    q, k = (x[0, head].double() for x in (inputs.q, inputs.k))
    return q @ k.T * inputs.scale


def law_of(grid: TokenGrid, law: HeadLaw) -> torch.Tensor:
    """Return what logits of video queries are to be, by the definition."""
    at = Coordinates(grid, TokenOrder())
    t, y, x = (np.abs(np.subtract.outer(axis, axis)) for axis in (at.t, at.y, at.x))
    made = law.time.logits(t) - law.space * (y + x) + law.sink * (at.t < law.sink_frames)
    made[:, at.text] = law.text
    return torch.from_numpy(made[~at.text])


@pytest.mark.parametrize(("dtype", "head_dim"), [("float32", 32), ("bfloat16", 64)])
def test_logits_are_those_of_the_law(dtype: str, head_dim: int) -> None:
    made = Generated(GRID, LAWS, head_dim, dtype)
    inputs = made.load()
    video = torch.from_numpy(~Coordinates(GRID, TokenOrder()).text)
    for head, law in enumerate(LAWS):
        differs = (logits(inputs, head)[video] - law_of(GRID, law)).abs()
        bound = made.law_error(head)
        assert bound < (1e-5 if dtype == "float32" else 0.03)
        assert differs[:, video].max() <= bound + 1e-6
        assert differs.max() <= bound + abs(law.text) / 128 + 1e-6


def test_queries_may_be_some_of_the_frames() -> None:
    whole, some = (
        Generated(TokenGrid(5, 3, 4, text_tokens=2, query_frames=frames), LAWS, 32).load()
        for frames in (None, (1, 3))
    )
    assert torch.equal(some.q, whole.q[:, :, 12:48])
    assert torch.equal(some.k, whole.k)


def test_too_few_features_leave_an_error_that_is_stated() -> None:
    grid = TokenGrid(9, 20, 20)
    law = HeadLaw(Law(rate=0.5), 0.2)
    few, more = (Generated(grid, (law,), head_dim) for head_dim in (32, 48))
    exact = Generated(grid, (law,), 64)
    assert exact.law_error(0) < 1e-5 < more.law_error(0) < few.law_error(0) < 0.5
    differs = (logits(few.load(), 0) - law_of(grid, law)).abs().max()
    assert 0.5 * few.law_error(0) < differs <= few.law_error(0) + 1e-6


def test_noise_of_logits_has_its_size() -> None:
    grid = TokenGrid(6, 10, 10)
    law = HeadLaw(Law(rate=0.2), 0.1, noise=0.7)
    inputs = Generated(grid, (law,), 128).load()
    noise = logits(inputs, 0) - law_of(grid, law)
    assert float(noise.std()) == pytest.approx(0.7, rel=0.05)
    assert abs(float(noise.mean())) < 0.02


def test_a_seed_means_the_same_and_files_keep_it(tmp_path: Path) -> None:
    made = Generated(GRID, MIXED, 64, seed=3)
    first, again = made.load(), made.load()
    assert all(torch.equal(getattr(first, name), getattr(again, name)) for name in "qkv")
    other = replace(made, seed=4)
    assert not torch.equal(first.k, other.load().k)
    assert made.identity != other.identity
    assert (made.identity.kind, made.header.kind) == ("generated", "generated")
    assert "synthetic" in made.identity.source
    save_inputs(first, tmp_path / "made.safetensors")
    (file,) = open_inputs(tmp_path / "made.safetensors")
    assert file.header == made.header
    assert torch.equal(file.load().q, first.q)


def test_values_are_smooth_in_time_and_space() -> None:
    grid = TokenGrid(12, 10, 10)
    v = Generated(grid, (WIDE,), 64).load().v[0, 0].view(12, 10, 10, 64)
    far = (v[:-6] - v[6:]).square().mean()
    for axis in range(3):
        beside = v.diff(dim=axis).square().mean()
        assert beside < 0.8 * far


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Generated(GRID, LAWS, dtype="float8"), "inputs are .*, got 'float8'"),
        (lambda: Generated(GRID, ()), "at least one head"),
        (lambda: Generated(GRID, LAWS, 8), "head_dim of at least 32, got 8"),
        (
            lambda: Generated(TokenGrid.of(Segment("video", sides=(2, 2, 2)), Segment("audio", 3))),
            "video and text are generated, got the grid video=2x2x2.audio=3",
        ),
        (lambda: Law("gaussian"), "unknown form of decay 'gaussian'"),
        (lambda: Law(rate=float("nan")), "rate of a law is a number"),
        (lambda: Law("power", 1.0, 0.5), "power decay has no exponent, got 0.5"),
        (lambda: Law("stretched", 1.0, 0.0), "above 0 and at most 10, got 0"),
        (lambda: HeadLaw(Law(), 0.1, noise=-1.0), "noise is not negative"),
    ],
)
def test_what_cannot_be_generated_is_named(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(InputsError, match=message):
        make()
