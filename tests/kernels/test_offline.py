"""Both kernels compile for GPUs that are not here, and stay on their fast paths."""

import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from radialbench.kernels.defaults import config_reasons
from radialbench.kernels.launch import SCRATCH_BYTES
from radialbench.records.problem import KernelConfig
from tests.kernels.addresses import LOADED, copied_rows, inline_loads, stored_rows

CODE = """
import json, sys
from dataclasses import asdict
from radialbench.kernels import offline
from radialbench.records.problem import KernelConfig
kernel, config, forms = json.loads(sys.argv[1])
for options in forms:
    made = getattr(offline, f"compile_{kernel}")(KernelConfig(**config), **options)
    print(json.dumps(asdict(made) | {"limit": offline.SHARED_LIMITS[options.get("arch", 90)]}))
"""


def compiled(kernel: str, config: dict[str, int], **options: object) -> dict[str, Any]:
    """Compile in a process of its own: a bad kernel can abort it, and this one interprets them."""
    return each_compiled(kernel, config, [options])[0]


def each_compiled(
    kernel: str, config: dict[str, int], forms: list[dict[str, object]]
) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-c", CODE, json.dumps([kernel, config, forms])],
        capture_output=True,
        text=True,
        env=os.environ | {"TRITON_INTERPRET": "0"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("arch", [80, 89, 90, 100, 120])
def test_portable_kernel(arch: int) -> None:
    config = {"block_m": 64, "block_n": 64, "num_warps": 4, "num_stages": 2}
    found = compiled("triton", config, arch=arch)
    assert found["matrix"] > 0
    assert found["shared_bytes"] <= found["limit"]


PLAIN: dict[str, object] = {"ragged": False, "partial": False}
FORMS = [
    PLAIN,
    PLAIN | {"ragged": True},
    PLAIN | {"partial": True},
    PLAIN | {"grouped": True},
    {"ragged": True, "partial": True, "grouped": True},
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "forms", "head_dims"),
    [
        ("bfloat16", FORMS, [64, 128]),
        ("bfloat16", FORMS[-1:], [80, 96]),
        ("float16", FORMS[-1:], [16, 32, 64, 80, 96, 128]),
    ],
)
def test_specialized_warps_each_store_their_half(
    dtype: str, forms: list[dict[str, object]], head_dims: list[int]
) -> None:
    """What the compiler leaves unspecialized, or gets wrong, it does without a word."""
    more: dict[str, object] = {"arch": 90, "dtype": dtype}
    forms = [form | more | {"head_dim": head_dim} for head_dim in head_dims for form in forms]
    for form, found in zip(
        forms, each_compiled("triton", {"warp_specialize": True}, forms), strict=True
    ):
        assert found["warps"] == 12, form
        assert found["spills"] == 0, form
        assert found["shared_bytes"] <= found["limit"], form
        assert found["scratch_bytes"] == SCRATCH_BYTES, form
        first = 128 * LOADED
        assert copied_rows(found["ttgir"], 64) == [first, first + 64], form
        stores, words = stored_rows(found["ttgir"]), inline_loads(found["ttgir"])
        assert set(stores) == {"partition0", "partition1"}, form
        for half, region in enumerate(sorted(stores)):
            rows = first + 64 * half + np.arange(64)
            assert [values.tolist() for values in stores[region]] == [rows.tolist()] * 2, form
            # A bitmap has four words a row, loaded in pairs, ahead of the loop and in it.
            pairs = [(4 * rows + word).tolist() for word in (0, 2)] * 2
            assert [w.tolist() for w in words.get(region, [])] == (
                pairs if form["partial"] else []
            ), form


STAGES = [(64, 128, 6), (128, 128, 3), (256, 64, 2)]
"""head_dim, block_n and the most stages that fit."""


@pytest.mark.slow
@pytest.mark.parametrize(("head_dim", "block_n", "most"), STAGES)
def test_hopper(head_dim: int, block_n: int, most: int) -> None:
    found = compiled("hopper", {"block_n": block_n, "num_stages": most}, head_dim=head_dim)
    assert found["spills"] == 0
    assert found["matrix"] > 0
    assert found["shared_bytes"] <= found["limit"]


@pytest.mark.parametrize(("head_dim", "block_n", "most"), [*STAGES, (64, 64, 13), (128, 64, 6)])
def test_hopper_stages(head_dim: int, block_n: int, most: int) -> None:
    def reasons(stages: int) -> list[str]:
        config = KernelConfig(128, block_n, num_stages=stages)
        return config_reasons("hopper", config, torch.bfloat16, head_dim, "cuda")

    assert reasons(most) == []
    assert "bytes of shared memory at head_dim" in reasons(most + 1)[0]
    assert reasons(1) == []
