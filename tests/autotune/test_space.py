"""What may be tried: every combination, each feasible or rejected with a reason."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from radialbench.autotune.space import SPACES, Axis, Candidates, Space, candidates, default_config
from radialbench.errors import AutotuneError
from radialbench.kernels.arch import target_of
from radialbench.kernels.select import config_reasons, kernel_reasons
from radialbench.maskgen.grid import TokenGrid
from radialbench.records.problem import KernelConfig, Problem
from tests.kernels.test_compile import compiled

PROBLEM = Problem(
    mask_fingerprint="m",
    grid=TokenGrid(2, 16, 32),
    batch=1,
    heads=2,
    head_dim=128,
    dtype="bfloat16",
)
Gpu = Callable[[int, int], None]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    """Pretend that there is a GPU of a compute capability."""

    def pretend(major: int, minor: int) -> None:
        monkeypatch.delenv("TRITON_INTERPRET", raising=False)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (major, minor))

    return pretend


@pytest.mark.parametrize("backend", SPACES)
def test_axes_ascend_and_limits_are_ends(backend: str) -> None:
    for axis in SPACES[backend].axes:
        values = [int(value or 0) for value in axis.values]
        assert values == sorted(set(values))
        assert set(axis.limits) <= {axis.values[0], axis.values[-1]}


@pytest.mark.parametrize("backend", SPACES)
def test_a_configuration_has_one_place(backend: str) -> None:
    space = SPACES[backend]
    configs = list(space.configs())
    places = [space.place(config) for config in configs]
    assert len(set(configs)) == len(configs)
    assert [space.at(place) for place in places if place is not None] == configs


def test_what_is_not_in_a_space_has_no_place() -> None:
    space = SPACES["hopper"]
    assert space.place(KernelConfig(block_n=64, num_stages=2)) == (0, 0)
    assert space.place(KernelConfig(block_n=64, num_stages=7)) is None
    # A field without an axis is not free either.
    assert space.place(KernelConfig(block_m=64, block_n=64, num_stages=2)) is None


@pytest.mark.parametrize("head_dim", [64, 72, 128])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("arch", [(8, 0), (8, 9), (9, 0), (12, 0)])
def test_every_combination_is_feasible_or_rejected(
    gpu: Gpu, arch: tuple[int, int], dtype: str, head_dim: int
) -> None:
    gpu(*arch)
    problem = replace(PROBLEM, dtype=dtype, head_dim=head_dim)
    found = candidates(problem, "triton", "cuda")
    rejected = list(found.rejected)
    assert sorted([*found.feasible, *rejected], key=repr) == sorted(
        SPACES["triton"].configs(), key=repr
    )
    assert found.default == default_config(problem, "triton", "cuda")
    assert sum(found.rejections.values()) == len(rejected)
    for config in found.feasible:
        blocks = (config.block_m, config.block_n)
        torch_dtype = getattr(torch, dtype)
        assert not kernel_reasons("triton", torch_dtype, head_dim, blocks, target_of("cuda"))
        assert not config_reasons("triton", config, head_dim)


def test_defaults_are_what_runs_where_nothing_is_said(gpu: Gpu) -> None:
    gpu(9, 0)
    copied = KernelConfig(block_n=64, num_warps=8, num_stages=5)
    assert default_config(PROBLEM, "triton", "cuda") == copied
    hopper = default_config(replace(PROBLEM, head_dim=256), "hopper", "cuda")
    assert hopper == KernelConfig(block_n=64, num_stages=2)
    gpu(8, 0)
    plain = KernelConfig(block_n=64, num_warps=8, num_stages=2)
    assert default_config(PROBLEM, "triton", "cuda") == plain
    narrow = default_config(replace(PROBLEM, head_dim=64), "triton", "cuda")
    assert narrow == plain
    assert default_config(PROBLEM, "cpu", "cpu") == KernelConfig()


def test_reasons_say_what_is_lacking(gpu: Gpu) -> None:
    gpu(8, 9)
    found = candidates(replace(PROBLEM, dtype="float32", head_dim=64), "triton", "cuda")
    by_kind: dict[str, Any] = dict(found.rejected.values())
    assert set(by_kind) == {"registers", "shared memory"}
    assert "255 is the most" in by_kind["registers"]
    assert "101,376 there are" in by_kind["shared memory"]
    gpu(9, 0)
    found = candidates(PROBLEM, "hopper", "cuda")
    assert found.rejections == {"shared memory": 3}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "head_dim"),
    [
        (KernelConfig(128, 128, num_warps=8, num_stages=2), 128),
        (KernelConfig(64, 64, num_warps=4, num_stages=1), 64),
        (KernelConfig(16, 16, num_warps=2, num_stages=5), 128),
    ],
)
def test_shared_memory_is_bounded_from_below(
    gpu: Gpu, monkeypatch: pytest.MonkeyPatch, config: KernelConfig, head_dim: int
) -> None:
    """What a kernel takes in truth is enough for it to be feasible."""
    asked = {"block_m": config.block_m, "block_n": config.block_n}
    asked |= {"num_warps": config.num_warps or 0, "num_stages": config.num_stages or 0}
    taken = compiled("triton", asked, arch=80, head_dim=head_dim)["shared_bytes"]
    gpu(8, 0)
    monkeypatch.setattr("radialbench.kernels.arch.SHARED_LIMITS", {80: taken})
    monkeypatch.setattr("radialbench.autotune.space.default_config", lambda *_: config)
    assert config in candidates(replace(PROBLEM, head_dim=head_dim), "triton", "cuda").feasible


def test_edges_are_ends_that_could_move() -> None:
    space = Space(
        (
            Axis("block_m", (16, 32, 64), limits=(16,)),
            Axis("num_warps", (2, 4)),
            Axis("num_stages", (1, 2, 3)),
        )
    )
    assert space.edges(KernelConfig(16, num_warps=4, num_stages=2)) == ()
    assert space.edges(KernelConfig(64, num_warps=4, num_stages=2)) == ("block_m",)
    assert space.edges(KernelConfig(64, num_warps=2, num_stages=1)) == ("block_m", "num_stages")


def test_what_cannot_be_tuned() -> None:
    with pytest.raises(AutotuneError, match="unknown backend 'tritn'; did you mean 'triton'"):
        candidates(PROBLEM, "tritn", "cpu")
    for other in ("sdpa", "tests.kernels.theirs:Kernel"):
        with pytest.raises(AutotuneError, match=f"nothing to tune: the backend '{other}' has no"):
            candidates(PROBLEM, other, "cpu")
    with pytest.raises(AutotuneError, match="cpu cannot run what is to be tuned: .* got device"):
        candidates(PROBLEM, "cpu", "cuda")
    with pytest.raises(AutotuneError, match="the default configuration cannot run, got .*block_m="):
        Candidates(SPACES["cpu"], KernelConfig(16, 16), tuple(SPACES["cpu"].configs()))


def test_a_default_that_cannot_run(gpu: Gpu) -> None:
    gpu(8, 0)
    with pytest.raises(AutotuneError, match="default .* cannot run, queries.* 166,912 there are"):
        candidates(replace(PROBLEM, head_dim=256, dtype="float32"), "triton", "cuda")
