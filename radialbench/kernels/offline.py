"""Compiling our kernels without a GPU: registers, spills and shared memory on any architecture."""

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radialbench.errors import BackendError
from radialbench.kernels.sass import Mix, code_hash, mix_of, program_hash
from radialbench.records.problem import KernelConfig

SHARED_LIMITS = {80: 166_912, 86: 101_376, 89: 101_376, 90: 232_448, 100: 232_448, 120: 101_376}
"""Bytes of shared memory a thread block may have, by compute capability times ten."""

_ELEMENTS = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}


@dataclass(frozen=True, slots=True)
class Compiled:
    """What a kernel takes on one architecture.

    Attributes:
        registers: Of a thread.
        stack_bytes: Local memory of a thread: spills, or arrays the compiler could not keep in
            registers.
        spills: Instructions that store to or load from it.
        shared_bytes: Of a thread block.
        matrix: Matrix instructions, in the whole kernel.
        copies: Instructions that have the copy engine bring a tile.
        warps: Of a thread block, with those that specialization adds.
        scratch_bytes: Global memory of a thread block.
        mix: What its instructions are.
        code: Hash of its instructions.
        program: Hash of the program they were assembled from.
    """

    registers: int
    stack_bytes: int
    spills: int
    shared_bytes: int
    matrix: int
    copies: int
    warps: int
    scratch_bytes: int
    mix: Mix
    code: str
    program: str


def compile_triton(
    config: KernelConfig,
    *,
    arch: int,
    head_dim: int = 128,
    dtype: str = "bfloat16",
    ragged: bool = True,
    key_lens: bool = False,
    grouped: bool = False,
    copies: bool | None = None,
) -> Compiled:
    """Compile the portable kernel.

    Args:
        config: Blocks, warps and stages.
        arch: Compute capability times ten, such as 90.
        head_dim: Numbers per head and token.
        dtype: Type of q, k and v.
        ragged: Whether the last key block is short.
        key_lens: Whether sequences have lengths of their own.
        grouped: Whether groups of heads have tables of their own.
        copies: Whether the copy engine brings keys and values; if it can, if not given.

    Raises:
        BackendError: It cannot be compiled.
    """
    from triton.compiler import ASTSource

    from radialbench.kernels._block_sparse_fwd import block_sparse_fwd as kernel
    from radialbench.kernels.checks import DTYPES
    from radialbench.kernels.defaults import portable_columns, portable_options

    columns = portable_columns(head_dim)
    if copies is None:
        copies = arch >= 90 and dtype != "float32" and head_dim % 8 == 0
    constants: dict[str, Any] = {
        "BLOCK_M": config.block_m,
        "BLOCK_N": config.block_n,
        "HEAD_DIM": head_dim,
        "BLOCK_D": columns,
        "GROUPED": grouped,
        "KEY_LENS": key_lens,
        "RAGGED": ragged or key_lens,
        "COPIES": copies,
        "PRECISION": "ieee",
    }
    kinds = dict.fromkeys(("q_ptr", "k_in", "v_in", "out_ptr"), "*" + _ELEMENTS[dtype])
    if copies:
        block = [1, 1, config.block_n, columns]
        kinds |= dict.fromkeys(("k_in", "v_in"), f"tensordesc<{_ELEMENTS[dtype]}{block}>")
    kinds |= {"lse_ptr": "*fp32", "scale_log2": "fp32"}
    kinds |= dict.fromkeys(("heads", "seq_len", "rows"), "i32")
    kinds |= {name: "i64" for name in kernel.arg_names if name.startswith("stride_")}
    aligned = [n for n in kernel.arg_names if kinds.get(n, "").startswith(("*", "i64"))]
    source = ASTSource(
        kernel,
        signature=_signature(kernel, kinds, constants),
        constexprs=_constexprs(kernel, constants),
        attrs={(kernel.arg_names.index(name),): [["tt.divisibility", 16]] for name in aligned},
    )
    options = portable_options(
        config, DTYPES[dtype], head_dim, copies=copies, shared=SHARED_LIMITS[arch]
    )
    return _compiled(source, arch, options)


def compile_hopper(
    config: KernelConfig,
    *,
    head_dim: int = 128,
    dtype: str = "bfloat16",
    ragged: bool = True,
    key_lens: bool = False,
    grouped: bool = False,
) -> Compiled:
    """Compile the kernel for Hopper; arguments as `compile_triton`.

    Raises:
        BackendError: It cannot be compiled.
    """
    from triton.experimental.gluon import language as gl
    from triton.experimental.gluon._runtime import GluonASTSource

    from radialbench.kernels._block_sparse_fwd_hopper import block_sparse_fwd_hopper as kernel
    from radialbench.kernels.defaults import hopper_columns
    from radialbench.kernels.launch import HOPPER_OPTIONS

    columns = hopper_columns(head_dim)
    element = {"float16": gl.float16, "bfloat16": gl.bfloat16}[dtype]

    def descriptor(rows: int) -> str:
        block = [1, 1, rows, columns]
        layout = gl.NVMMASharedLayout.get_default_for(block, element)
        return f"tensordesc<{_ELEMENTS[dtype]}{block},{layout!r}>"

    constants = {
        "BLOCK_M": config.block_m,
        "BLOCK_N": config.block_n,
        "BLOCK_D": columns,
        "GROUPED": grouped,
        "KEY_LENS": key_lens,
        "RAGGED": ragged or key_lens,
        "BUFFERS": config.num_stages or 2,
    }
    kinds = dict.fromkeys(("desc_q", "desc_out"), descriptor(config.block_m // 2))
    kinds |= dict.fromkeys(("desc_k", "desc_v"), descriptor(config.block_n))
    kinds |= {"lse_ptr": "*fp32", "scale_log2": "fp32"}
    kinds |= dict.fromkeys(("heads", "seq_len", "rows"), "i32")
    source = GluonASTSource(
        kernel,
        signature=_signature(kernel, kinds, constants),
        constexprs=_constexprs(kernel, constants),
    )
    return _compiled(source, 90, HOPPER_OPTIONS)


def _signature(kernel: Any, kinds: dict[str, str], constants: dict[str, Any]) -> dict[str, str]:
    return {
        name: "constexpr" if name in constants else kinds.get(name, "*i32")
        for name in kernel.arg_names
    }


def _constexprs(kernel: Any, constants: dict[str, Any]) -> dict[tuple[int], Any]:
    return {(kernel.arg_names.index(name),): value for name, value in constants.items()}


def _compiled(source: Any, arch: int, options: dict[str, int]) -> Compiled:
    import triton
    from triton.backends.compiler import GPUTarget

    try:
        kernel = triton.compile(source, target=GPUTarget("cuda", arch, 32), options=options)
    except Exception as error:  # Triton raises many kinds.
        reason = " ".join(str(error).split())[-300:]
        raise BackendError(
            f"{source.fn.__name__} cannot be compiled for {arch}: {reason}"
        ) from None
    registers, stack_bytes = resource_usage(kernel.asm["cubin"])
    listing = _ask(kernel.asm["cubin"], "-sass")
    mix = mix_of(listing)
    return Compiled(
        registers=registers,
        stack_bytes=stack_bytes,
        spills=mix.local,
        shared_bytes=int(kernel.metadata.shared),
        matrix=mix.wgmma + mix.tcgen05 + mix.mma,
        copies=mix.copy_loads,
        warps=int(kernel.metadata.num_warps),
        scratch_bytes=int(kernel.metadata.global_scratch_size),
        mix=mix,
        code=code_hash(listing),
        program=program_hash(kernel.asm["ptx"]),
    )


def resource_usage(cubin: bytes) -> tuple[int, int]:
    """Give the registers of a thread, and the bytes of its local memory.

    Raises:
        BackendError: The tool does not say.
    """
    usage = _ask(cubin, "-res-usage")
    found = re.search(r"REG:(\d+) STACK:(\d+)", usage)
    if found is None:
        raise BackendError(f"cuobjdump tells no usage of registers: {usage[:200]!r}")
    return int(found[1]), int(found[2])


def _ask(cubin: bytes, option: str) -> str:
    """Ask Triton's own copy of NVIDIA's tool about a kernel."""
    import triton

    tools = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(cubin)
        command = [str(tools / "cuobjdump"), option, str(path)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
