"""Other people's kernels refuse what they would get wrong, and say what they need."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from radialbench.errors import BackendError
from radialbench.kernels import checks
from radialbench.kernels.backends import fa4, fastvideo, flashinfer, flex
from radialbench.kernels.checks import check_whole_blocks, describe, loading, package_reasons
from tests.kernels.tables import config_of, mixed_mask, problem_of, rows_of, table_of

PEERS = (
    flex.Flex,
    flex.FlexTma,
    fa4.Fa4,
    flashinfer.FlashInferFa2,
    flashinfer.FlashInferFa3,
    fastvideo.FastVideo,
)


def reasons(backend: type, **fields: Any) -> str:
    table = table_of(np.ones((128, 128), np.bool_), 64, 64)
    fields = {"dtype": "bfloat16", "head_dim": 128} | fields
    return "; ".join(backend().unsupported_reasons(problem_of(table, **fields), "cuda"))


def test_whole_blocks_pass() -> None:
    check_whole_blocks("peer", table_of(np.ones((96, 96), np.bool_), 32, 48))


@pytest.mark.parametrize(
    ("mask", "blocks", "message"),
    [
        (np.tril(np.ones((64, 64), np.bool_)), (32, 32), "2 of the table's 3 blocks are partial"),
        (np.ones((70, 70), np.bool_), (35, 32), "70 tokens are not a multiple of 32 key tokens"),
        (np.ones((70, 70), np.bool_), (32, 35), "70 tokens are not a multiple of 32 query tokens"),
        (
            np.eye(2, dtype=np.bool_).repeat(8, 0).repeat(8, 1)[::-1] & (np.arange(16) < 8),
            (8, 8),
            "1 of 2 rows have none, the first is 0",
        ),
    ],
)
def test_what_is_not_made_of_whole_blocks_is_refused(
    mask: np.ndarray, blocks: tuple[int, int], message: str
) -> None:
    with pytest.raises(BackendError, match=message):
        check_whole_blocks("peer", table_of(mask, *blocks))


def test_a_package_that_does_not_load_says_so() -> None:
    message = (
        f"numpy {np.__version__} does not load beside torch .*: No module named 'no_such_part'"
    )
    with pytest.raises(BackendError, match=message), loading("numpy"):
        import no_such_part  # type: ignore[import-not-found]  # noqa: F401


def test_a_package_is_named_with_its_version_or_how_to_get_it() -> None:
    assert describe("numpy") == f"numpy {np.__version__}"
    assert package_reasons("numpy") == []
    assert describe("no-such-package") == "no-such-package (not installed)"
    assert package_reasons("no-such-package") == [
        "needs no-such-package: pip install no-such-package"
    ]


@pytest.mark.parametrize(
    ("backend", "fields", "message"),
    [
        (flex.Flex, {"head_dim": 8}, "head_dim is at least 16, got 8"),
        (fa4.Fa4, {"head_dim": 72, "dtype": "float32"}, "got float32"),
        (flashinfer.FlashInferFa2, {"head_dim": 96}, "head_dim is 64, 128 or 256, got 96"),
        (flashinfer.FlashInferFa3, {"batch": 2}, "takes a batch of 1, got 2"),
        (fastvideo.FastVideo, {"dtype": "float16"}, "computes bfloat16, got float16"),
        (fastvideo.FastVideo, {"head_dim": 96}, "head_dim is 64 or 128, got 96"),
        (
            fastvideo.FastVideo,
            {"heads": 4, "kv_heads": 2},
            "takes as many key heads as heads, got 2 and 4",
        ),
        (fastvideo.FastVideo, {"sm_scale": 0.5}, "1/√head_dim built in, got 0.5"),
    ],
)
def test_reasons_say_what_is_taken(backend: type, fields: dict[str, Any], message: str) -> None:
    assert message in reasons(backend, **fields)
    assert message not in reasons(backend)


@pytest.mark.parametrize("backend", PEERS)
def test_needs_names_torch_and_the_gpu(backend: type) -> None:
    needs = backend().needs()
    assert needs.startswith(f"torch {torch.__version__}")
    assert "GPU" in needs


@pytest.fixture
def on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let FlexAttention run uncompiled on the CPU in place of a GPU."""
    to, compiled = Tensor.to, torch.compile
    monkeypatch.setattr(Tensor, "to", lambda x, *a, **k: x if a == ("cuda",) else to(x, *a, **k))
    monkeypatch.setattr(torch, "compile", lambda f, **k: compiled(f, **k, backend="eager"))
    monkeypatch.setattr(flex.Flex, "unsupported_reasons", lambda *_: [])


@pytest.mark.usefixtures("on_the_cpu")
def test_flex_computes_full_and_partial_blocks_of_more_plans_than_pytorch_recompiles() -> None:
    runs = []
    for seq_len in range(130, 250, 11):
        table = table_of(mixed_mask(seq_len, empty=False), 128, 128)
        problem = problem_of(table, head_dim=16)
        runs.append((table, problem, flex.Flex().plan(problem, table, config_of(table))))
    assert len(runs) > torch._dynamo.config.recompile_limit
    for table, problem, run in runs:
        q, k, v = (torch.randn(1, problem.heads, table.seq_len, 16) for _ in range(3))
        out, lse = checks.check_result(problem, table, run(q, k, v))
        scores = (q @ k.mT * problem.scale).masked_fill(
            ~torch.from_numpy(table.to_dense()), -torch.inf
        )
        torch.testing.assert_close(out, scores.softmax(-1) @ v, rtol=0, atol=1e-5)
        torch.testing.assert_close(lse, scores.logsumexp(-1), rtol=0, atol=1e-5)


@pytest.mark.usefixtures("on_the_cpu")
def test_flex_computes_shared_key_heads_and_fewer_queries_than_keys() -> None:
    mask = mixed_mask(300, empty=False)
    table = rows_of(table_of(mask, 128, 128), 1, 150)
    problem = problem_of(table, head_dim=16, heads=4, kv_heads=2)
    q, (k, v) = torch.randn(1, 4, 150, 16), torch.randn(2, 1, 2, 300, 16)
    run = flex.Flex().plan(problem, table, config_of(table))
    out, lse = checks.check_result(problem, table, run(q, k, v))
    k, v = (x.repeat_interleave(2, dim=1) for x in (k, v))
    scores = (q @ k.mT * problem.scale).masked_fill(~torch.from_numpy(mask[128:278]), -torch.inf)
    torch.testing.assert_close(out, scores.softmax(-1) @ v, rtol=0, atol=1e-5)
    torch.testing.assert_close(lse, scores.logsumexp(-1), rtol=0, atol=1e-5)


def test_fastvideo_takes_as_many_queries_as_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fastvideo.FastVideo, "unsupported_reasons", lambda *_: [])
    table = rows_of(table_of(np.ones((256, 256), np.bool_), 64, 64), 1, 128)
    problem = problem_of(table, dtype="bfloat16", head_dim=64)
    with pytest.raises(BackendError, match="takes as many queries as keys, got 128 and 256"):
        fastvideo.FastVideo().plan(problem, table, config_of(table))


@pytest.mark.usefixtures("on_the_cpu")
def test_flex_takes_blocks_in_multiples_of_128() -> None:
    table = table_of(np.ones((128, 128), np.bool_), 128, 64)
    with pytest.raises(BackendError, match="takes a block_n in multiples of 128, got 64"):
        flex.Flex().plan(problem_of(table), table, config_of(table))


@pytest.mark.parametrize(
    ("head_dim", "blocks", "message"),
    [
        (128, (64, 128), "block_m in multiples of 128, got 64"),
        (128, (128, 40), "block_n of 16 to 128 in multiples of 16 at head_dim 128, got 40"),
        (256, (128, 128), "block_n of 16 to 80 in multiples of 16 at head_dim 256, got 128"),
    ],
)
def test_fa4_takes_the_blocks_of_its_tiles(
    head_dim: int, blocks: tuple[int, int], message: str
) -> None:
    with pytest.raises(BackendError, match=message):
        fa4._check_blocks(table_of(mixed_mask(300), *blocks), head_dim)
