"""Numbers of NumPy, empty batches, other types and other bytes work, or end in a sentence."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from radialbench import BlockTable, TokenGrid, block_sparse_attention, compile_mask, load_mask
from radialbench.errors import GridError, RadialBenchError
from radialbench.integrations.module import RadialAttention
from radialbench.maskgen.grid import Segment
from radialbench.records.codec import to_json
from radialbench.records.fidelity_record import read_fidelity
from radialbench.records.measurement import Measurement
from radialbench.records.problem import KernelConfig, Problem
from radialbench.records.store import RESULTS, read
from radialbench.records.tuning import TuningKey
from tests.commands.line import Capture, Cli

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
GRID = TokenGrid(3, 4, 4)

# For arguments that their types do not allow.
attend: Any = block_sparse_attention
attention_of: Any = RadialAttention
compiled: Any = compile_mask
grid_of: Any = TokenGrid
segment: Any = Segment


@pytest.fixture(scope="module")
def table() -> BlockTable:
    return compile_mask("radial", GRID, 32, 32)


def inputs(batch: int = 1, tokens: int = 48) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (batch, 2, tokens, 32)
    return [torch.randn(shape, generator=generator).to(DEVICE) for _ in "qkv"]


@pytest.mark.parametrize("whole", [np.int64, np.int32, np.uint8, np.array, torch.tensor])
def test_whole_numbers(whole: Callable[[int], Any], table: BlockTable) -> None:
    grid = TokenGrid(whole(3), whole(4), whole(4), whole(5), query_frames=(whole(1), whole(2)))
    assert repr(grid) == repr(TokenGrid(3, 4, 4, 5, query_frames=(1, 2)))
    sides = (whole(3), whole(4), whole(4))
    audio = Segment("audio", whole(5), valid=whole(2))
    assert TokenGrid.of(Segment("video", sides=sides), audio).label == "video=3x4x4+audio=2of5"
    mask = load_mask("radial", sink_frames=whole(0))
    assert to_json(mask.identity) == to_json(load_mask("radial", sink_frames=0).identity)
    plain = compile_mask(load_mask("radial", sink_frames=0), GRID, 32, 32)
    assert compile_mask(mask, TokenGrid(*sides), whole(32), whole(32)) == plain
    config = KernelConfig(whole(32), whole(32), whole(4), whole(2))
    assert to_json(config) == to_json(KernelConfig(32, 32, 4, 2))
    problem = Problem("f", GRID, whole(1), whole(4), whole(64), "float32", kv_heads=whole(2))
    assert to_json(problem) == to_json(Problem("f", GRID, 1, 4, 64, "float32", kv_heads=2))
    attention = RadialAttention(GRID, dense_layers=whole(1), dense_steps=whole(0))
    assert attention(*inputs(tokens=51), layer=whole(2), text_tokens=whole(3)).shape[2] == 51


@pytest.mark.parametrize("number", [np.float64, np.float32, np.array, torch.tensor])
def test_other_numbers(number: Callable[[float], Any], table: BlockTable) -> None:
    mask, plain = load_mask("radial", decay=number(0.5)), load_mask("radial", decay=0.5)
    assert (mask, mask.fingerprint) == (plain, plain.fingerprint)
    assert to_json(mask.identity) == to_json(plain.identity)
    problem = Problem("f", GRID, 1, 2, 64, "float32", sm_scale=number(0.5))
    assert to_json(problem) == to_json(Problem("f", GRID, 1, 2, 64, "float32", sm_scale=0.5))
    q, k, v = inputs()
    out = block_sparse_attention(q, k, v, table, sm_scale=number(0.5))
    assert torch.equal(out, block_sparse_attention(q, k, v, table, sm_scale=0.5))
    measured = Measurement((number(1.5), number(2.0)), 0, "warm", "perf_counter", None)
    assert to_json(measured) == to_json(Measurement((1.5, 2.0), 0, "warm", "perf_counter", None))


def test_a_batch_without_sequences_has_an_empty_result(table: BlockTable) -> None:
    q, k, v = inputs(0)
    lengths = torch.zeros(0, dtype=torch.int32, device=DEVICE)
    for key_len in (None, lengths):
        out, lse = block_sparse_attention(q, k, v, table, key_len=key_len, return_lse=True)
        assert (out.shape, lse.shape) == (q.shape, q.shape[:3])
    for backend in ("sdpa", "triton"):
        for dense_layers in (0, 1):
            attention = RadialAttention(GRID, backend=backend, dense_layers=dense_layers)
            assert attention(q, k, v, layer=0).shape == q.shape
    for one in (q, k, v):
        one.requires_grad_()
    for out in (block_sparse_attention(q, k, v, table), RadialAttention(GRID)(q, k, v)):
        out.sum().backward()
        assert all(one.grad is not None and one.grad.shape == q.shape for one in (q, k, v))


def test_other_empty_tensors_and_other_types_are_refused(table: BlockTable) -> None:
    q, k, v = inputs()
    empty = torch.empty(1, 2, 48, 0, device=DEVICE)
    calls: list[tuple[Callable[[], object], str]] = [
        (lambda: attend(q[:, :, :0], k, v, table), "q must be .batch, heads, 48"),
        (lambda: attend(q[:, :0], k[:, :0], v[:, :0], table), "k must be"),
        (lambda: attend(empty, empty, empty, table), "head_dim must be"),
        (
            lambda: attend(q.cpu().numpy(), k, v, table),
            "q must be a tensor",
        ),
        (lambda: attend(q, k, v, table, key_len=[48]), "key_len must be a tensor"),
        (lambda: attend(q, k, v, "radial"), "compile_heads or boxed returns, got str"),
        (lambda: attend(q, k, v, table, config={}), "a KernelConfig, got dict"),
        (lambda: attention_of("radial", GRID), "grid must be a TokenGrid, got str"),
        (lambda: attention_of(GRID)(q, k.long(), v), "k must be a tensor of floating-point numb"),
        (lambda: attention_of(GRID)(q, k, None), "v must be a tensor of floating-point numbers, g"),
        (lambda: attention_of(GRID)(q, k, v, text_len=[0]), "text_len must be a tensor"),
        (lambda: compiled("radial", "3x4x4"), "grid must be a TokenGrid, got str"),
        (lambda: compiled("radial", GRID, np.float64(32)), "block_m must be a whole number"),
        (lambda: TuningKey("cpu", "c", "f", 1, 1, 1, 1, True, 8, "float32"), "heads must be"),
    ]
    for call, message in calls:
        with pytest.raises(RadialBenchError, match=message):
            call()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: grid_of(np.float32(3), 4, 4), "frames must be a whole number of at least 1"),
        (lambda: grid_of(np.bool_(True), 4, 4), "frames must be a whole number"),
        (lambda: grid_of(3, 4, 4, query_frames=(1,)), "query_frames must be 2 whole numbers"),
        (lambda: grid_of(3, 4, 4, query_frames=(0.5, 1)), "queries are frames from 0 to 2"),
        (lambda: segment("video", sides=(2, 3)), "sides must be 3 whole numbers"),
    ],
)
def test_grids_of_other_numbers(make: Callable[[], object], message: str) -> None:
    with pytest.raises(GridError, match=message):
        make()


def test_paths_that_are_no_utf8(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    cli = Cli(monkeypatch, capsys)
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xe9"))
    odd.mkdir()
    (odd / os.fsdecode(b"m\xe9.yaml")).write_text("name: m\nmask: abs(dt) <= 1\n")
    suite, results = odd / os.fsdecode(b"s\xe9.yaml"), odd / "out"
    suite.write_text(
        "cases:\n- masks: [radial]\n  grids: [{frames: 3, height: 4, width: 4}]\n"
        "  heads: 1\n  head_dim: 8\n  backends: [cpu]\n"
    )
    mask = odd / os.fsdecode(b"m\xe9.yaml")
    for line in (
        ("run", suite, "-o", results, "--quiet"),
        ("run", suite, "-o", results, "--quiet", "--resume"),
        ("report", results, "-o", odd / "report.html"),
        ("baseline", "update", results, "-o", odd / "base", "--reason", "first"),
        ("check", results, "--baseline", odd / "base", "-o", f"json={odd / 'check.json'}"),
        ("fidelity", mask, "--grid", "3x4x4", "-o", odd / "fidelity"),
    ):
        code, _, err = cli(*line)
        assert code == 0, (line[0], err)
    for path in odd.rglob("*"):
        if path.is_file() and path.suffix not in (".png", ".parquet"):
            path.read_text(encoding="utf-8")
    assert [one.status for one in read(results / RESULTS).records] == ["ok"]
    assert [one.mask.name for one in read_fidelity(odd / "fidelity")] == ["m?"]
