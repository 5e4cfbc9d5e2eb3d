"""What is compiled ahead is what a launch in another process asks for."""

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from radialbench.kernels.triton.precompile import MOST_STACK_BYTES, Built, over_limits
from radialbench.records.problem import GradientSteps, KernelConfig, Steps

COMMON = """
import json, sys
import torch
from radialbench.errors import BackendError
from radialbench.kernels.triton import precompile
from radialbench.maskgen.compiler import compile_any
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.library import load_mask, parse_head_plan
from radialbench.records.codec import from_dict
from radialbench.records.problem import KernelConfig, Problem
from tests.kernels.tables import rows_of

def made(case):
    heads, grid = case["plan"], TokenGrid(*case["grid"])
    mask = parse_head_plan({"name": "p", "heads": heads}) if heads else load_mask(case["mask"])
    config = from_dict(KernelConfig, case["config"])
    problem = Problem(
        *(mask.fingerprint, grid, 1, case["heads"], case["head_dim"], case["dtype"]),
        kv_heads=case["kv_heads"],
        direction=case["direction"],
    )
    table = compile_any(mask, grid, config.block_m, config.block_n)
    return problem, rows_of(table, 1, case["q_len"]) if case["q_len"] else table, config
"""

AHEAD = """
for case in json.loads(sys.argv[1]):
    problem, table, config = made(case)
    try:
        built = precompile.precompile(case["backend"], problem, table, config, arch=case["arch"])
        print(json.dumps([built.code, built.registers, built.stack_bytes, built.shared_bytes]))
    except BackendError as error:
        print(json.dumps(str(error)))
"""

# The whole way of a launch, on tensors with memory, on the same simulated GPU: Triton compiles what
# it launches, and reports whether that was on the disk.
LATER = """
import triton
from radialbench.kernels import backward, op
from radialbench.kernels.arch import Target
from radialbench.kernels.checks import DTYPES

def listen(*, src, cache_hit, **rest):
    print(json.dumps([src.fn.__name__, cache_hit]))

triton.knobs.compilation.listener = listen
triton.runtime.driver.set_active(precompile._simulated_gpu(90))
op.target_of = backward.target_of = lambda device: Target("cuda", 90)
op.runs_on_host = lambda q: False
for case in reversed(json.loads(sys.argv[1])):
    problem, table, config = made(case)
    keys = problem.key_heads, table.k_len
    q, k, v = (
        torch.zeros(problem.batch, *size, problem.head_dim, dtype=DTYPES[problem.dtype])
        for size in ((problem.heads, table.q_len), keys, keys)
    )
    gradients = problem.direction == "backward"
    for x in (q, k, v):
        x.requires_grad_(gradients)
    out = op.block_sparse_attention(q, k, v, table, config=config, backend=case["backend"])
    if gradients:
        torch.autograd.grad(out, (q, k, v), torch.zeros_like(out))
"""


def case(backend: str, config: KernelConfig, **fields: object) -> dict[str, Any]:
    plain: dict[str, object] = {
        "mask": "radial", "grid": (4, 8, 12), "heads": 3, "kv_heads": None, "q_len": None,
        "head_dim": 64, "dtype": "bfloat16", "arch": 90, "plan": None, "direction": "forward",
    }  # fmt: skip
    return {"backend": backend, "config": asdict(config), **plain, **fields}


def ran(program: str, cases: list[dict[str, Any]], cache: Path) -> list[Any]:
    done = subprocess.run(
        [sys.executable, "-c", COMMON + program, json.dumps(cases)],
        capture_output=True,
        text=True,
        env=os.environ | {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(cache)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


STEPS = GradientSteps(Steps(64, 32, 4, 2), Steps(32, 64, 4, 2))
OTHER = GradientSteps(Steps(128, 64, 8, 2), Steps(64, 64, 4, 2))
SMALL = KernelConfig(32, 32, num_warps=2, num_stages=2)
LARGE = KernelConfig(128, 128, num_warps=8, num_stages=3)


@pytest.mark.slow
def test_a_launch_finds_what_was_compiled_ahead(tmp_path: Path) -> None:
    cases = [
        case("triton", SMALL),
        # One head, an odd number of tokens, and no partial block.
        case("triton", SMALL, grid=(3, 7, 9), heads=1, mask="dense", dtype="float16"),
        case("triton", LARGE),
        case("triton", LARGE, mask="dense", grid=(4, 8, 15)),
        case("triton", SMALL, heads=6, kv_heads=2),
        case("hopper", KernelConfig(128, 64, num_stages=2)),
        case("hopper", KernelConfig(128, 64, num_stages=2), heads=6, kv_heads=2),
        case("triton", SMALL, plan={"0,2": "svg_spatial", "1": "svg_temporal"}),
        case("hopper", KernelConfig(128, 64, num_stages=2), plan={"0,2": "radial", "1": "dense"}),
        case("triton", SMALL, q_len=100),
        case("hopper", KernelConfig(128, 64, num_stages=2), q_len=200),
    ]
    built = ran(AHEAD, cases, tmp_path)
    assert len({code for code, *_ in built}) == len(cases)
    assert all(0 < registers <= 255 and shared > 0 for _, registers, _, shared in built)
    portable, hopper = "block_sparse_fwd", "block_sparse_fwd_hopper"
    kernels = [*[hopper, portable] * 2, *[hopper] * 2, *[portable] * 5]
    assert ran(LATER, cases, tmp_path) == [[kernel, True] for kernel in kernels]


@pytest.mark.slow
def test_gradients_find_what_was_compiled_ahead(tmp_path: Path) -> None:
    """In the steps of their configuration; the kernel for Hopper takes none."""
    large = KernelConfig(128, 128)
    cases = [
        case("triton", replace(large, gradients=STEPS), direction="backward"),
        case("triton", replace(large, gradients=OTHER), direction="backward", heads=6, kv_heads=2),
        case("hopper", large, direction="backward", heads=1, grid=(3, 7, 9), dtype="float16"),
    ]
    built = ran(AHEAD, cases, tmp_path)
    assert len({code for code, *_ in built}) == 3
    rows, dkdv = "block_sparse_rows", "block_sparse_dkdv"
    portable = ["block_sparse_fwd", rows, dkdv, dkdv, "block_sparse_dq"]
    hopper = ["block_sparse_fwd_hopper", rows, "block_sparse_bwd_hopper"]
    kernels = [*hopper, *portable * 2]
    assert ran(LATER, cases, tmp_path) == [[kernel, True] for kernel in kernels]


@pytest.mark.slow
def test_shared_key_heads_and_fewer_queries_need_no_more_of_an_sm(tmp_path: Path) -> None:
    for arch, backend in ((80, "triton"), (90, "triton"), (90, "hopper")):
        config = KernelConfig(128, 64, num_stages=2)
        fields: list[dict[str, object]] = [{}, {"kv_heads": 2}, {"q_len": 200}]
        cases = [case(backend, config, arch=arch, heads=6, **more) for more in fields]
        plain, *others = ran(AHEAD, cases, tmp_path)
        for code, registers, *memory in others:
            assert code != plain[0]
            assert registers <= plain[1] + 8
            assert memory == plain[2:]


@pytest.mark.slow
def test_code_differs_between_configurations(tmp_path: Path) -> None:
    configs = [KernelConfig(16, 16, 2, stages) for stages in (1, 2, 2)]
    # A second head dimension, as the code is hashed and not the configuration.
    cases = [
        *(case("triton", config) for config in configs),
        case("triton", configs[0], head_dim=32),
    ]
    one, two, again, other = ran(AHEAD, cases, tmp_path)
    assert two == again
    assert len({one[0], two[0], other[0]}) == 3


@pytest.mark.slow
def test_what_cannot_be_compiled_says_why(tmp_path: Path) -> None:
    odd = case("triton", KernelConfig(24, 32, num_warps=2, num_stages=2))
    message, (_, registers, *_) = ran(AHEAD, [odd, case("triton", SMALL)], tmp_path)
    assert message.startswith("CompilationError: ")
    assert "power of 2" in message
    assert registers > 0


def test_limits() -> None:
    fits = Built("", 255, MOST_STACK_BYTES, 232_448)
    assert over_limits(fits, 90) is None
    assert over_limits(Built("", 168, 0, 232_449), 90) == (
        "takes 232,449 bytes of shared memory, of 232,448 available"
    )
    assert over_limits(Built("", 255, MOST_STACK_BYTES + 8, 1024), 90) == (
        "spills 520 bytes per thread to local memory, beside 255 registers"
    )
    # The GPU itself says no where nobody has written down what it has.
    assert over_limits(Built("", 168, 0, 999_999), 123) is None
