"""Compiling our kernels without a GPU: registers, spills and shared memory on any architecture."""

import re
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from radialbench.errors import BackendError
from radialbench.kernels.arch import SHARED_LIMITS
from radialbench.kernels.codegen.sass import Mix, code_hash, mix_of, program_hash
from radialbench.records.offline import KernelFigures
from radialbench.records.problem import KernelConfig

KERNELS = ("hopper", "triton")

_ELEMENTS = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}
_SHORT = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}


@dataclass(frozen=True, slots=True)
class KernelVariant:
    """One of our kernels, in one configuration, for one architecture: what decides its code.

    Attributes:
        kernel: `hopper` or `triton`.
        config: Blocks; warps and stages if they are not the default ones.
        arch: Compute capability times ten.
        head_dim: Numbers per head and token.
        dtype: Type of q, k and v.
        ragged: Whether the last key block is short.
        key_lens: Whether sequences have lengths of their own.
        grouped: Whether groups of heads have tables of their own.
    """

    kernel: str
    config: KernelConfig
    arch: int
    head_dim: int = 128
    dtype: str = "bfloat16"
    ragged: bool = True
    key_lens: bool = False
    grouped: bool = False

    @property
    def name(self) -> str:
        """What is compiled, such as `triton@128x128/d128bf16/ragged/sm_90`."""
        config = self.config
        how = f"{config.block_m}x{config.block_n}"
        how += f"w{config.num_warps}" if config.num_warps else ""
        how += f"s{config.num_stages}" if config.num_stages else ""
        flags = [flag for flag in ("ragged", "key_lens", "grouped") if getattr(self, flag)]
        shape = f"d{self.head_dim}{_SHORT[self.dtype]}"
        return "/".join([f"{self.kernel}@{how}", shape, *flags, f"sm_{self.arch}"])


@dataclass(frozen=True, slots=True)
class Compiled:
    """What a kernel takes on one architecture.

    Attributes:
        registers: Registers per thread.
        stack_bytes: Local memory per thread: spills, or arrays the compiler could not keep in
            registers.
        spills: Instructions that store to or load from it.
        shared_bytes: Shared memory per thread block.
        matrix: Matmul instructions, in the whole kernel.
        copies: Instructions that load a tile by TMA.
        warps: Warps per thread block, with those that specialization adds.
        scratch_bytes: Global memory per thread block.
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


def absent_reasons(variant: KernelVariant) -> list[str]:
    """Return why there is no such kernel; empty if there is."""
    from radialbench.kernels.checks import DTYPES
    from radialbench.kernels.select import config_reasons, variant_reasons

    config = variant.config
    blocks = (config.block_m, config.block_n)
    reasons = variant_reasons(variant.kernel, DTYPES[variant.dtype], variant.head_dim, blocks)
    if variant.kernel == "hopper" and variant.arch != 90:
        reasons.append(f"needs compute capability 9.0, sm_{variant.arch} is another")
    return reasons or config_reasons(variant.kernel, config, variant.head_dim)


def kernel_figures(variant: KernelVariant) -> KernelFigures:
    """Compile a kernel and return what it takes; no GPU is asked.

    For general arguments: a launch can compile a variant of its own, such as for a single head.

    Raises:
        BackendError: There is no such kernel, it cannot be compiled, or it does not fit.
    """
    if reasons := absent_reasons(variant):
        raise BackendError("; ".join(reasons))
    found, limit = compile_kernel(variant), SHARED_LIMITS[variant.arch]
    if found.shared_bytes > limit:
        raise BackendError(f"takes {found.shared_bytes:,} bytes of shared memory, of {limit:,}")
    mix = asdict(found.mix)
    return KernelFigures(
        registers=found.registers,
        stack_bytes=found.stack_bytes,
        spills=mix.pop("local"),
        shared_bytes=found.shared_bytes,
        scratch_bytes=found.scratch_bytes,
        warps=found.warps,
        code=found.code,
        program=found.program,
        **mix,
    )


def compile_kernel(variant: KernelVariant) -> Compiled:
    """Compile a kernel, whether it fits or not.

    Raises:
        BackendError: It cannot be compiled.
    """
    source, options = (_hopper if variant.kernel == "hopper" else _triton)(variant)
    return _compile(source, variant.arch, options)


def _triton(variant: KernelVariant) -> tuple[Any, dict[str, int]]:
    from triton.compiler import ASTSource

    from radialbench.kernels.arch import Target
    from radialbench.kernels.checks import DTYPES
    from radialbench.kernels.select import copy_reasons, portable_columns, portable_options
    from radialbench.kernels.triton.forward import block_sparse_fwd as kernel

    config, dtype, head_dim = variant.config, DTYPES[variant.dtype], variant.head_dim
    columns, target = portable_columns(head_dim), Target("cuda", variant.arch)
    copies = not copy_reasons(dtype, head_dim, target)
    constants: dict[str, Any] = {
        "BLOCK_M": config.block_m,
        "BLOCK_N": config.block_n,
        "HEAD_DIM": head_dim,
        "BLOCK_D": columns,
        "GROUPED": variant.grouped,
        "KEY_LENS": variant.key_lens,
        "RAGGED": variant.ragged or variant.key_lens,
        "COPIES": copies,
        "PRECISION": "ieee",
    }
    element = _ELEMENTS[variant.dtype]
    kinds = dict.fromkeys(("q_ptr", "k_in", "v_in", "out_ptr"), "*" + element)
    if copies:
        block = [1, 1, config.block_n, columns]
        kinds |= dict.fromkeys(("k_in", "v_in"), f"tensordesc<{element}{block}>")
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
    shared = target.shared_bytes
    return source, portable_options(config, dtype, head_dim, copies=copies, shared=shared)


def _hopper(variant: KernelVariant) -> tuple[Any, dict[str, int]]:
    from triton.experimental.gluon import language as gl
    from triton.experimental.gluon._runtime import GluonASTSource

    from radialbench.kernels.select import hopper_columns
    from radialbench.kernels.triton.forward_hopper import block_sparse_fwd_hopper as kernel
    from radialbench.kernels.triton.launch import HOPPER_OPTIONS

    config, columns = variant.config, hopper_columns(variant.head_dim)
    element = {"float16": gl.float16, "bfloat16": gl.bfloat16}[variant.dtype]

    def descriptor(rows: int) -> str:
        block = [1, 1, rows, columns]
        layout = gl.NVMMASharedLayout.get_default_for(block, element)
        return f"tensordesc<{_ELEMENTS[variant.dtype]}{block},{layout!r}>"

    constants = {
        "BLOCK_M": config.block_m,
        "BLOCK_N": config.block_n,
        "BLOCK_D": columns,
        "GROUPED": variant.grouped,
        "KEY_LENS": variant.key_lens,
        "RAGGED": variant.ragged or variant.key_lens,
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
    return source, HOPPER_OPTIONS


def _signature(kernel: Any, kinds: dict[str, str], constants: dict[str, Any]) -> dict[str, str]:
    return {
        name: "constexpr" if name in constants else kinds.get(name, "*i32")
        for name in kernel.arg_names
    }


def _constexprs(kernel: Any, constants: dict[str, Any]) -> dict[tuple[int], Any]:
    return {(kernel.arg_names.index(name),): value for name, value in constants.items()}


def _compile(source: Any, arch: int, options: dict[str, int]) -> Compiled:
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
    """Return the registers per thread, and the bytes of its local memory.

    Raises:
        BackendError: The tool does not say.
    """
    usage = _ask(cubin, "-res-usage")
    found = re.search(r"REG:(\d+) STACK:(\d+)", usage)
    if found is None:
        raise BackendError(f"cuobjdump reports no usage of registers: {usage[:200]!r}")
    return int(found[1]), int(found[2])


def _ask(cubin: bytes, option: str) -> str:
    """Return what Triton's own copy of NVIDIA's tool says about a kernel."""
    import triton

    tools = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(cubin)
        command = [str(tools / "cuobjdump"), option, str(path)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
