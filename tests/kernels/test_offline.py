"""Both kernels compile for GPUs that are not here, and stay on their fast paths."""

import json
import os
import subprocess
import sys

import pytest

CODE = """
import json, sys
from dataclasses import asdict
from radialbench.kernels import offline
from radialbench.records.problem import KernelConfig
kernel, config, options = json.loads(sys.argv[1])
made = getattr(offline, f"compile_{kernel}")(KernelConfig(**config), **options)
print(json.dumps(asdict(made) | {"limit": offline.SHARED_LIMITS[options.get("arch", 90)]}))
"""


def compiled(kernel: str, config: dict[str, int], **options: object) -> dict[str, int]:
    """Compile in a process of its own: a bad kernel can abort it, and this one interprets them."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, json.dumps([kernel, config, options])],
        capture_output=True,
        text=True,
        env=os.environ | {"TRITON_INTERPRET": "0"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, int] = json.loads(done.stdout)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("arch", [80, 89, 90, 100, 120])
def test_portable_kernel(arch: int) -> None:
    config = {"block_m": 64, "block_n": 64, "num_warps": 4, "num_stages": 2}
    found = compiled("triton", config, arch=arch)
    assert found["matrix"] > 0
    assert found["shared_bytes"] <= found["limit"]


@pytest.mark.slow
@pytest.mark.parametrize("head_dim", [64, 128, 256])
def test_hopper(head_dim: int) -> None:
    config = {"block_n": 64 if head_dim == 256 else 128, "num_stages": 2}
    found = compiled("hopper", config, head_dim=head_dim, ragged=False)
    assert found["spills"] == 0
    assert found["matrix"] > 0
    assert found["shared_bytes"] <= found["limit"]
