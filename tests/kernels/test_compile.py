"""Our kernels compile for GPUs that are not here, and stay on their fast paths."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from radialbench.kernels.select import config_reasons
from radialbench.kernels.triton.compile import code_hash, count_instructions, program_hash
from radialbench.records.problem import KernelConfig

CODE = """
import json, sys
from dataclasses import asdict
from radialbench.kernels.arch import SHARED_LIMITS
from radialbench.kernels.triton.compile import KernelVariant, compile_kernel
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


def matmuls(found: dict[str, Any]) -> int:
    """Count the matmul instructions of every generation."""
    return sum(found[kind] for kind in ("wgmma", "tcgen05", "mma"))


@pytest.mark.slow
@pytest.mark.parametrize("arch", [80, 89, 90, 100, 120])
def test_portable_kernel(arch: int) -> None:
    config = {"block_m": 64, "block_n": 64, "num_warps": 4, "num_stages": 2}
    found = compiled("triton", config, arch=arch)
    assert matmuls(found) > 0
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
        assert found["copy_loads"] > 0, form
        assert matmuls(found) > 0, form
        assert found["spills"] == 0, form
        assert found["shared_bytes"] <= found["limit"], form
        assert found["scratch_bytes"] == 0, form


@pytest.mark.slow
@pytest.mark.parametrize("arch", [80, 89, 100, 120])
def test_the_default_configuration_fits(arch: int) -> None:
    found = compiled("triton", {}, arch=arch)
    assert found["shared_bytes"] <= found["limit"]


GRADIENTS: list[dict[str, object]] = [
    {"part": "rows"},
    {"part": "dq"},
    {"part": "dq", "key_lens": True, "grouped": True, "heads_per_kv": 4},
    {"part": "dkdv"},
    {"part": "dkdv", "key_lens": True, "grouped": True, "heads_per_kv": 4},
    {"part": "dkdv", "head_dim": 64},
]


@pytest.mark.slow
@pytest.mark.parametrize("arch", [80, 90])
def test_gradients(arch: int) -> None:
    """In the default steps: without spills, and on Hopper with copies by TMA.

    Query heads that share a key head are one more loop, which costs a few registers too many.
    """
    forms = [form | {"arch": arch} for form in GRADIENTS]
    for form, found in zip(forms, each_compiled("triton", {}, forms), strict=True):
        assert found["stack_bytes"] <= (64 if "heads_per_kv" in form else 0), form
        assert found["shared_bytes"] <= found["limit"], form
        assert (matmuls(found) > 0) == (form["part"] != "rows"), form
        assert (found["copy_loads"] > 0) == (arch == 90 and form["part"] != "rows"), form


@pytest.mark.slow
def test_gradients_on_hopper() -> None:
    """Without spills in the loop: two registers wait there in memory at 128 channels."""
    forms: list[dict[str, object]] = [
        {"arch": 90, "part": "grads", "head_dim": head_dim} for head_dim in (64, 128)
    ]
    for form, found in zip(forms, each_compiled("hopper", {}, forms), strict=True):
        assert found["stack_bytes"] <= 8, form
        assert found["shared_bytes"] <= found["limit"], form


@pytest.mark.slow
@pytest.mark.parametrize("arch", [89, 100, 120])
def test_gradients_fit(arch: int) -> None:
    forms: list[dict[str, object]] = [
        {"arch": arch, "part": part, "head_dim": head_dim}
        for part in ("dq", "dkdv")
        for head_dim in (128, 256)
    ]
    for form, found in zip(forms, each_compiled("triton", {}, forms), strict=True):
        assert found["shared_bytes"] <= found["limit"], form


STAGES = [(64, 128, 6), (128, 128, 3), (256, 64, 2)]
"""head_dim, block_n and the most stages that fit."""


@pytest.mark.slow
@pytest.mark.parametrize(("head_dim", "block_n", "most"), STAGES)
def test_hopper(head_dim: int, block_n: int, most: int) -> None:
    found = compiled("hopper", {"block_n": block_n, "num_stages": most}, head_dim=head_dim)
    assert found["spills"] == 0
    assert matmuls(found) > 0
    assert found["shared_bytes"] <= found["limit"]


@pytest.mark.slow
def test_boxes() -> None:
    """Without spills; runs of eight tokens and 64 channels are copied one by one."""
    forms: list[dict[str, object]] = [
        {"part": "boxes", "head_dim": head_dim, "grouped": True} for head_dim in (64, 128)
    ]
    for form, found in zip(forms, each_compiled("hopper", {}, forms), strict=True):
        assert found["stack_bytes"] == 0, form
        assert found["copy_loads"] > 40 and found["copy_stores"] == 0, form
        assert found["shared_bytes"] <= found["limit"], form


@pytest.mark.parametrize(("head_dim", "block_n", "most"), [*STAGES, (64, 64, 13), (128, 64, 6)])
def test_hopper_stages(head_dim: int, block_n: int, most: int) -> None:
    def reasons(stages: int) -> list[str]:
        config = KernelConfig(128, block_n, num_stages=stages)
        return config_reasons("hopper", config, head_dim)

    assert reasons(most) == []
    assert "bytes of shared memory at head_dim" in reasons(most + 1)[0]
    assert reasons(1) == []


LISTING = """
	code for sm_90a
		Function : kernel
	.headerflags	@"EF_CUDA_SM90"
        /*0000*/                   LDC R1, c[0x0][0x28] ;            /* 0x00000a00ff017b82 */
                                                                     /* 0x000e700000000800 */
        /*0010*/               @P0 LDG.E R2, desc[UR4][R4.64] ;      /* 0x0000000404028981 */
                                                                     /* 0x000ea8000c1e1900 */
        /*0020*/             @!UP1 UTMALDG.3D [UR8], [UR6] ;         /* 0x00000008060095b4 */
                                                                     /* 0x0001e20008011000 */
        /*0030*/                   HGMMA.64x64x16.F32 R24, gdesc[UR8], R24; /* 0x00e0000008187df0 */
                                                                     /* 0x000fe20008701818 */
        /*0040*/                   STL.64 [R1+0x8], R2 ;             /* 0x0000080201007387 */
                                                                     /* 0x000fe20000100a00 */
        /*0050*/                   MUFU.EX2 R3, R2 ;                 /* 0x0000000200037308 */
                                                                     /* 0x000e240000000800 */
        /*0060*/                   BAR.SYNC.DEFER_BLOCKING 0x0 ;     /* 0x0000000000007b1d */
                                                                     /* 0x000fec0000010000 */
        /*0070*/                   NOP;                              /* 0x0000000000007918 */
                                                                     /* 0x000fc00000000000 */
		..........
"""

PTX = """//
// Generated by LLVM NVPTX Back-End
.version 9.1
	.file	1 "/home/a/kernel.py"
	.loc	1 13 0                          // kernel.py:13:0
$L__tmp0:
	mov.b32 	%r1, 7;
	.section	.debug_abbrev
"""


def test_instructions_are_counted_by_kind() -> None:
    counts = count_instructions(LISTING)
    assert counts["instructions"] == 8
    assert (counts["wgmma"], counts["mma"], counts["tcgen05"]) == (1, 0, 0)
    kinds = ("special", "spills", "global_loads", "copy_loads", "barriers")
    assert [counts[kind] for kind in kinds] == [1] * 5
    assert not any(counts[kind] for kind in ("global_stores", "copy_stores", "mbarriers"))


def test_matmuls_of_blackwell_are_counted_separately() -> None:
    counts = count_instructions(LISTING.replace("HGMMA", "UTCHMMA"))
    assert (counts["wgmma"], counts["mma"], counts["tcgen05"]) == (0, 0, 1)


def test_the_hash_is_of_the_instructions_alone() -> None:
    known = code_hash(LISTING)
    assert code_hash(LISTING.replace("Function : kernel", "Function : other")) == known
    assert code_hash(LISTING.replace("/*0070*/", "/*0080*/")) == known
    # Other registers, in the text and in the word.
    renamed = LISTING.replace("MUFU.EX2 R3, R2", "MUFU.EX2 R5, R2")
    assert code_hash(renamed.replace("0x0000000200037308", "0x0000000200057308")) == known


def test_the_hash_changes_with_what_is_computed_and_with_waits() -> None:
    known = code_hash(LISTING)
    assert code_hash(LISTING.replace("MUFU.EX2", "MUFU.LG2")) != known
    assert code_hash(LISTING.replace("[R1+0x8]", "[R1+0x10]")) != known
    assert code_hash(LISTING.replace("MUFU.EX2 R3", "MUFU.EX2 UR3")) != known
    assert code_hash(LISTING.replace("0x000e240000000800", "0x000e220000000800")) != known


def test_a_programs_hash_leaves_out_what_debuggers_read() -> None:
    known = program_hash(PTX)
    assert program_hash(PTX.replace("13 0", "14 0").replace("/home/a", "/home/b")) == known
    assert program_hash(PTX + "	.b8 1\n") == known
    assert program_hash(PTX.replace("%r1, 7", "%r1, 8")) != known
