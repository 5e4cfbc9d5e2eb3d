"""A launch without a configuration takes the tuned one, if it can, and config_for says which."""

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from radialbench import TokenGrid, compile_mask, load_mask
from radialbench.errors import RecordError
from radialbench.kernels import op, select, tuned
from radialbench.kernels.arch import Target
from radialbench.kernels.device_table import DeviceTable, upload
from radialbench.kernels.op import block_sparse_attention, config_for, device_table
from radialbench.kernels.select import choose_config, select_kernel
from radialbench.kernels.triton.launch import PREPARE, Launch
from radialbench.maskgen.table import BlockTable
from radialbench.records.problem import KernelConfig
from radialbench.records.tuning import TuningRecord
from tests.kernels.configs import fresh, written
from tests.kernels.tables import mixed_mask, table_of

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
RADIAL = load_mask("radial")
GRID = TokenGrid(3, 2, 6)
TABLE = compile_mask(RADIAL, GRID, 16, 32)
SHAPE = {
    "mask_fingerprint": RADIAL.fingerprint,
    "frames": 3,
    "tokens_per_frame": 12,
    "seq_len": 36,
    "heads": 2,
    "head_dim": 32,
    "dtype": "float16",
}
HOPPER = Target("cuda", 90)
BEST = KernelConfig(16, 32, num_warps=2, num_stages=1)
DEFAULT = KernelConfig(16, 32, num_warps=1, num_stages=2)
launched: list[KernelConfig] = []


@pytest.fixture(autouse=True)
def spied(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Note the configuration of each launch, and look every one up anew."""
    real = PREPARE["triton"]

    def prepare(*layouts: Any, config: KernelConfig, **options: Any) -> Launch:
        run = real(*layouts, config=config, **options)

        def noted(*tensors: Any) -> None:
            launched.append(config)
            run(*tensors)

        return noted

    monkeypatch.setitem(PREPARE, "triton", prepare)
    launched.clear()
    forget()
    yield
    forget()


def forget() -> None:
    """Have every launch prepared anew."""
    choose_config.cache_clear()
    op.forget_plans()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the user's own records."""
    monkeypatch.setenv(tuned.VARIABLE, str(tmp_path))
    return tmp_path


def record(**changes: Any) -> TuningRecord:
    return fresh("triton", DEVICE, **SHAPE | {"config": BEST} | changes)


def inputs(*, batch: int = 1, head_dim: int = 32) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (batch, 2, 36, head_dim)
    q, k, v = (torch.randn(shape, generator=generator).to(DEVICE, torch.float16) for _ in range(3))
    return q, k, v


def run(table: BlockTable | DeviceTable = TABLE, **options: Any) -> Tensor:
    out = block_sparse_attention(*inputs(), table, backend="triton", **options)
    assert isinstance(out, Tensor)
    return out


def definition(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = torch.einsum("bhqd,bhkd->bhqk", q.double(), k.double()) * q.shape[-1] ** -0.5
    scores = scores.masked_fill(~torch.from_numpy(TABLE.to_dense()).to(DEVICE), -math.inf)
    return torch.einsum("bhqk,bhkd->bhqd", scores.softmax(-1), v.double())


def test_the_tuned_configuration_runs(folder: Path) -> None:
    written(folder, record())
    torch.testing.assert_close(run().double(), definition(*inputs()), rtol=0, atol=4e-3)
    assert launched == [BEST]
    found = config_for(inputs()[0], TABLE, backend="triton")
    assert (found.config, found.source, found.record) == (BEST, "tuned", record())
    assert config_for(inputs()[0], device_table(TABLE, DEVICE), backend="triton") == found


def test_without_records_nothing_changes() -> None:
    q, k, v = inputs()
    block_sparse_attention(q, k, v, TABLE)
    run()
    assert launched == [DEFAULT, DEFAULT]
    assert [config_for(q, TABLE, backend=name).config for name in (None, "triton")] == launched
    assert config_for(q, TABLE).source == "default"


def test_a_given_configuration_is_not_looked_up(folder: Path) -> None:
    written(folder, record())
    run(config=KernelConfig(16, 32, num_warps=8))
    assert launched == [KernelConfig(16, 32, num_warps=8)]


def test_a_near_one_is_transferred(folder: Path) -> None:
    written(folder, record(frames=6, seq_len=72))
    run()
    assert launched == [BEST]
    found = config_for(inputs()[0], TABLE, backend="triton")
    assert found.source == "transferred"
    assert found.reason.startswith("tuned for this mask on 6 × 12 tokens and 2 heads, there 1.25")


def test_key_heads_are_part_of_the_problem(folder: Path) -> None:
    shared = record(kv_heads=1, config=KernelConfig(16, 32, num_warps=4, num_stages=1))
    written(folder, record(), shared)
    q, k, v = inputs()
    block_sparse_attention(q, k[:, :1], v[:, :1], TABLE, backend="triton")
    block_sparse_attention(q, k, v, TABLE, backend="triton")
    assert launched == [shared.config, BEST]
    found = config_for(q, TABLE, backend="triton", kv_heads=1)
    assert (found.record, found.source) == (shared, "tuned")


def test_what_was_tuned_for_all_queries_is_transferred_to_some(folder: Path) -> None:
    written(folder, record())
    table = compile_mask(RADIAL, replace(GRID, query_frames=(1, 2)), 16, 32)
    q, k, v = inputs()
    q = q[:, :, 12:]
    block_sparse_attention(q, k, v, table, backend="triton")
    assert launched == [BEST]
    found = config_for(q, table, backend="triton")
    assert (found.source, found.record) == ("transferred", record())
    assert "on 3 × 12 tokens with 36 queries and 2 heads" in found.reason


def test_what_was_tuned_for_some_queries_is_theirs(folder: Path) -> None:
    own = record(q_len=24, config=KernelConfig(16, 32, num_warps=4, num_stages=1))
    written(folder, record(), own)
    table = compile_mask(RADIAL, replace(GRID, query_frames=(1, 2)), 16, 32)
    q = inputs()[0]
    found = config_for(q[:, :, 12:], table, backend="triton")
    assert (found.source, found.record) == ("tuned", own)
    assert config_for(q, TABLE, backend="triton").record == record()


def test_a_configuration_of_other_blocks_than_the_tables_does_not_run(folder: Path) -> None:
    written(folder, record(config=KernelConfig(32, 64, 2, 1)))
    run()
    assert launched == [DEFAULT]
    found = config_for(inputs()[0], TABLE, backend="triton")
    assert (found.source, found.record) == ("default", None)
    assert found.reason.endswith(
        "in blocks of 32×64; the table has 16×32: compile the mask with the former"
    )


def test_a_table_that_does_not_say_what_it_is_of(folder: Path) -> None:
    written(folder, record(mask_fingerprint="test"))
    table = table_of(mixed_mask(36), 16, 32)
    run(table)
    assert launched == [DEFAULT]
    found = config_for(inputs()[0], table, backend="triton")
    assert found.reason == "the mask of the table is not known"


def test_groups_of_heads_have_a_key_of_their_own(folder: Path) -> None:
    dense = load_mask("dense")
    both = upload([TABLE, compile_mask(dense, GRID, 16, 32)], DEVICE, [0, 1])
    assert both.mask_fingerprint == f"{RADIAL.fingerprint}+{dense.fingerprint}"
    assert (both.frames, both.tokens_per_frame) == (3, 12)
    written(folder, record(mask_fingerprint=both.mask_fingerprint))
    run(both)
    assert launched == [BEST]
    assert config_for(inputs()[0], both, backend="triton").source == "tuned"


def test_a_problem_is_looked_up_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(folder, record())
    asked = []
    real = tuned.lookup

    def counted(*arguments: Any, **options: Any) -> Any:
        asked.append(arguments)
        return real(*arguments, **options)

    monkeypatch.setattr("radialbench.kernels.select.lookup", counted)
    for _ in range(3):
        run()
    assert len(asked) == 1
    q, k, v = inputs(batch=2)
    block_sparse_attention(q, k, v, TABLE, backend="triton")
    assert len(asked) == 2


def test_torch_compile_takes_it_whole_whatever_the_batch(folder: Path) -> None:
    other = KernelConfig(16, 32, num_warps=4, num_stages=1)
    written(folder, record(), record(batch=4, config=other))
    table = device_table(TABLE, DEVICE)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return block_sparse_attention(q, k, v, table, backend="triton") + 1

    compiled = torch.compile(attend, fullgraph=True, backend="eager")
    for batch in (4, 2, 1, 3):
        q, k, v = inputs(batch=batch)
        wanted = definition(q, k, v) + 1
        torch.testing.assert_close(compiled(q, k, v).double(), wanted, rtol=0, atol=8e-3)
    assert launched == [other, BEST, BEST, other]


def test_the_operator_keeps_its_promises_to_pytorch(folder: Path) -> None:
    written(folder, record())
    table = device_table(TABLE, DEVICE)
    problem = (table.mask_fingerprint, table.frames, table.tokens_per_frame)
    torch.library.opcheck(
        torch.ops.radialbench.block_sparse_attention.default,
        (
            *inputs(),
            list(table.tensors()),
            None,
            0.2,
            "triton",
            16,
            32,
            36,
            36,
            [0],
            *problem,
            True,
            None,
            None,
            0,
        ),
        test_utils=("test_schema", "test_faketensor"),
    )


def test_records_that_cannot_be_read_are_an_error(folder: Path) -> None:
    (folder / "broken.jsonl").write_text("{")
    with pytest.raises(RecordError, match="broken.jsonl:1: not a tuning record"):
        run()
    with pytest.raises(RecordError, match="broken.jsonl:1: not a tuning record"):
        config_for(inputs()[0], TABLE)


def on_hopper(backend: str, config: KernelConfig, folder: Path) -> Any:
    """Find the configuration of blocks of 128×128, where only their table's facts count."""
    shape = SHAPE | {"head_dim": 128}
    written(folder, fresh(backend, DEVICE, **shape, config=config))
    table = compile_mask(RADIAL, GRID, 128, 128)
    return config_for(inputs(head_dim=128)[0], table, backend=backend)


def test_a_configuration_that_does_not_fit_is_passed_over(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(op, "target_of", lambda device: Target(str(device), 90))
    assert on_hopper("hopper", KernelConfig(128, 128, num_stages=3), folder).source == "tuned"
    forget()
    found = on_hopper("hopper", KernelConfig(128, 128, num_stages=6), folder)
    assert found.source == "default"
    assert "the record of this problem cannot run here: num_stages 6 takes" in found.reason


@pytest.mark.parametrize("version", ["3.6.0", "3.7.1", "3.8.0", "3.9.1+git12"])
def test_a_triton_that_is_known_has_the_kernel_for_hopper(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(select, "compiler_version", lambda backend: {"triton": version})
    assert selected() == "hopper"


@pytest.mark.parametrize("version", ["3.5.1", "3.10.0", "4.0.0", "not installed"])
def test_a_triton_that_is_not_known_has_the_portable_one_and_a_warning(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(select, "compiler_version", lambda backend: {"triton": version})
    words = rf"portable .* known to run with Triton 3\.6 to 3\.9, got {re.escape(version)}"
    with pytest.warns(UserWarning, match=words):
        assert selected() == "triton"
    # Older GPUs never had it, so nothing is lost there.
    assert selected(Target("cuda", 80)) == "triton"


def selected(target: Target = HOPPER) -> str:
    tuned.warn_once.cache_clear()
    return select_kernel(None, torch.bfloat16, 128, (128, 128), target)
