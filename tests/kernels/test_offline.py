"""Both kernels compile for GPUs that are not here, and stay on their fast paths."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from radialbench.kernels.select import config_reasons
from radialbench.records.problem import KernelConfig

CODE = """
import json, sys
from dataclasses import asdict
from radialbench.kernels.arch import SHARED_LIMITS
from radialbench.kernels.codegen.compile import KernelVariant, compile_kernel
from radialbench.records.problem import KernelConfig
kernel, config, variants = json.loads(sys.argv[1])
for options in variants:
    variant = KernelVariant(kernel, KernelConfig(**config), **({"arch": 90} | options))
    print(json.dumps(asdict(compile_kernel(variant)) | {"limit": SHARED_LIMITS[variant.arch]}))
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


FORMS: list[dict[str, object]] = [
    {"ragged": False},
    {"ragged": True},
    {"key_lens": True, "grouped": True},
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "forms", "head_dims"),
    [("bfloat16", FORMS, [64, 128]), ("float16", FORMS[-1:], [16, 32, 80, 96, 128])],
)
def test_keys_and_values_are_copied(
    dtype: str, forms: list[dict[str, object]], head_dims: list[int]
) -> None:
    """On Hopper, in the default configuration, which fits there."""
    more: dict[str, object] = {"arch": 90, "dtype": dtype}
    forms = [form | more | {"head_dim": head_dim} for head_dim in head_dims for form in forms]
    for form, found in zip(forms, each_compiled("triton", {}, forms), strict=True):
        assert found["copies"] > 0, form
        assert found["matrix"] > 0, form
        assert found["spills"] == 0, form
        assert found["shared_bytes"] <= found["limit"], form
        assert found["scratch_bytes"] == 0, form


@pytest.mark.slow
@pytest.mark.parametrize("arch", [80, 89, 100, 120])
def test_the_default_configuration_fits(arch: int) -> None:
    found = compiled("triton", {}, arch=arch)
    assert found["shared_bytes"] <= found["limit"]


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
        return config_reasons("hopper", config, head_dim)

    assert reasons(most) == []
    assert "bytes of shared memory at head_dim" in reasons(most + 1)[0]
    assert reasons(1) == []
