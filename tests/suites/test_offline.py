"""A suite's kernels and masks without a GPU: exact figures, the same twice, and what changes."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from radialbench.errors import SuiteError
from radialbench.kernels.codegen.compile import KernelVariant, absent_reasons
from radialbench.kernels.row_order import SM_COUNT, row_order
from radialbench.maskgen.compiler import compile_mask
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.library import load_mask
from radialbench.maskgen.table import BlockTable
from radialbench.records.codec import to_json
from radialbench.records.offline import KernelFigures, Offline, OfflineHead, OfflineRow
from radialbench.records.problem import KernelConfig
from radialbench.reports.offline_diff import OfflineOutcome, compare_offline
from radialbench.suites.offline import (
    KernelJob,
    attends_hash,
    kernel_variants,
    launched_blocks,
    makespan,
    mask_figures,
    mask_jobs,
    offline,
)
from radialbench.suites.pool import Failed, JobPool
from tests.suites import small

SMALL = KernelVariant(
    "triton", KernelConfig(16, 16), arch=80, head_dim=16, dtype="float16", ragged=True
)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobPool]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        with JobPool(2, limit_s=1200) as one:
            yield one


def figures(pool: JobPool, form: KernelVariant) -> KernelFigures:
    found = pool.result(KernelJob(form))
    assert isinstance(found, KernelFigures), found
    return found


def table(mask: str = "radial", block: int = 16) -> BlockTable:
    return compile_mask(load_mask(mask), TokenGrid(4, 4, 5), block, block)


def test_masks_are_counted_exactly() -> None:
    one = table()
    found = mask_figures(one, 2, 8, attends=attends_hash(one))
    dense = one.to_dense()
    assert found.pairs == dense.sum()
    assert found.density == dense.sum() / 80**2
    blocks = dense.reshape(5, 16, 5, 16).transpose(0, 2, 1, 3).reshape(5, 5, 256)
    visited, full = blocks.any(2), blocks.all(2)
    assert (found.full, found.partial) == (full.sum(), visited.sum() - full.sum())
    assert found.flops == 4 * 2 * 8 * dense.sum()
    assert found.executed_flops == 4 * 2 * 8 * 256 * visited.sum()
    assert found.longest_row == visited.sum(1).max()
    assert found.imbalance == pytest.approx(visited.sum(1).max() / visited.sum(1).mean())
    # Ten rows, each on a processor of its own.
    assert found.makespan == found.longest_row
    assert found.over_ideal == pytest.approx(found.makespan / (2 * visited.sum() / SM_COUNT))


def test_the_hash_tells_which_pairs_attend() -> None:
    one = table()
    assert attends_hash(one) == attends_hash(table())
    backwards = replace(
        one,
        bitmaps=np.ascontiguousarray(one.bitmaps[::-1]),
        bitmap_of=(len(one.bitmaps) - 1 - one.bitmap_of).astype(np.int32),
    )
    assert attends_hash(backwards) == attends_hash(one)
    flipped = one.bitmaps.copy()
    flipped[0, 0, 0] ^= 1
    assert attends_hash(replace(one, bitmaps=flipped)) != attends_hash(one)
    hashes = {attends_hash(table(*mask)) for mask in product(("radial", "dense"), (16, 32))}
    assert len(hashes) == 4
    whole = table("dense", 80)
    assert (len(whole.bitmaps), len(attends_hash(whole))) == (0, 16)


def test_work_goes_to_the_processor_that_is_free_first() -> None:
    assert makespan([5, 3, 3, 2, 1], 2) == 7
    assert makespan([5, 3, 3, 2, 1], 9) == 5
    assert makespan([5, 3, 3, 2, 1], 1) == 14
    assert makespan([], 3) == 0
    one = table()
    begun = one.any_blocks().sum(1)[row_order(one)].tolist()
    assert launched_blocks(one, 2) == begun + begun


def test_kernels_of_a_suite_are_listed_once() -> None:
    cases = small.cases(backends=["hopper", "triton", "cpu"], dtype="bfloat16")
    names = [form.name for form in kernel_variants(cases, (80, 90))]
    assert names == [
        "hopper@16x16/d8bf16/ragged/sm_80",
        "hopper@16x16/d8bf16/ragged/sm_90",
        "triton@16x16/d8bf16/ragged/sm_80",
        "triton@16x16/d8bf16/ragged/sm_90",
    ]
    jobs = mask_jobs(cases)
    assert len(jobs) == 4
    assert sorted(name for names in jobs.values() for name in names)[0].startswith("dense/")


def test_masks_of_one_name_are_refused() -> None:
    one, *_ = small.cases()
    other = replace(one, mask=load_mask("radial", decay=0.5))
    with pytest.raises(SuiteError, match="2 masks would be named"):
        mask_jobs([one, other])


def test_kernels_that_do_not_exist() -> None:
    whole = replace(SMALL, kernel="hopper", config=KernelConfig(), dtype="bfloat16", head_dim=128)
    assert absent_reasons(whole) == ["needs compute capability 9.0, sm_80 is another"]
    assert absent_reasons(replace(whole, arch=90)) == []
    deep = replace(whole, arch=90, config=KernelConfig(num_stages=9))
    assert "bytes of shared memory" in absent_reasons(deep)[0]
    assert absent_reasons(SMALL) == []
    odd = replace(SMALL, config=KernelConfig(17, 16))
    assert "takes blocks of 16 to 256" in absent_reasons(odd)[0]


@pytest.mark.slow
def test_two_checks_are_identical_whatever_is_cached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = small.cases(backends=["hopper", "triton"], dtype="bfloat16", head_dim=16)
    found: list[Offline] = []
    for place in ("one", "one", "other"):
        monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / place))
        found += offline({"small": cases}, (80, 100), children=2)
    lines = ["".join(map(to_json, (one.head, *one.rows))) for one in found]
    assert lines[0] == lines[1] == lines[2]
    rows = {row.name: row for row in found[0].rows}
    assert list(rows) == [row.name for row in sorted(rows.values(), key=lambda r: (r.kind, r.name))]
    kernel = rows["triton@16x16/d16bf16/ragged/sm_100"].kernel
    assert kernel is not None
    assert kernel.instructions > 100
    assert "sm_100 is another" in rows["hopper@16x16/d16bf16/ragged/sm_100"].reason
    assert all(row.mask for row in rows.values() if row.kind == "mask")


def test_several_suites_give_what_each_alone_gives() -> None:
    one, other = small.cases(), small.cases(masks=["radial", "sta"])
    both = offline({"one": one, "other": other}, children=1)
    assert both == (*offline({"one": one}, children=1), *offline({"other": other}, children=1))
    assert [found.head.suite for found in both] == ["one", "other"]


@pytest.mark.slow
def test_a_planted_change_is_found_and_named(pool: JobPool) -> None:
    """Fewer stages, under the name of more."""
    form = replace(SMALL, config=KernelConfig(32, 32, num_stages=3), head_dim=64)
    before = figures(pool, form)
    planted = figures(pool, replace(form, config=KernelConfig(32, 32, num_stages=2)))
    both = [
        Offline(
            OfflineHead("small", "triton", SM_COUNT, rows=1),
            (OfflineRow("kernel", form.name, kernel=kernel),),
        )
        for kernel in (before, planted)
    ]
    (found,) = compare_offline(*both)
    assert found.outcome == OfflineOutcome.CHANGED
    assert found.name == "triton@32x32s3/d64f16/ragged/sm_80"
    assert {"code", "program", "shared_bytes"} <= {change.figure for change in found.changes}


@pytest.mark.slow
def test_a_kernel_that_does_not_fit_is_a_reason(pool: JobPool) -> None:
    config = KernelConfig(16, 128, num_stages=6)
    big = replace(SMALL, arch=89, head_dim=128, config=config)
    found = pool.result(KernelJob(big))
    assert isinstance(found, Failed), found
    assert found.reason.endswith("bytes of shared memory, of 101,376")
