"""Our kernels compiled without a GPU: registers, spills and instructions on any architecture."""

import hashlib
import re
import subprocess
import tempfile
from collections import Counter
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from radialbench.errors import BackendError
from radialbench.kernels.arch import SHARED_LIMITS
from radialbench.records.offline import KernelFigures
from radialbench.records.problem import KernelConfig

KERNELS = ("hopper", "triton")
PORTABLE_GRADIENTS = ("rows", "dq", "dkdv")

_ELEMENTS = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}
_SHORT = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}

FIXED = {"lse_ptr": "*fp32", "scale_log2": "fp32", "heads": "i32", "q_len": "i32", "rows": "i32"}
"""Types of arguments that every variant has; all others that are not named are tables."""

_LINE = re.compile(r"^\s+(?:/\*[0-9a-f]{4,}\*/(?P<text>.*?);)?\s*/\* (?P<word>0x[0-9a-f]{16}) \*/$")
_REGISTER = re.compile(r"\b(UR|UP|R|P|B)\d+\b")
_WAITS = 41
"""First of the bits that describe waits, in the second word of an instruction, since Volta."""

_FOR_DEBUGGERS = re.compile(r"\.loc\b|\.file\b|\$L__tmp\d+:|\$L__func_\w+:")
_OPERATION = re.compile(r"\s*(?:@!?\w+\s+)?([A-Z]\w*)")

INSTRUCTIONS = {
    "wgmma": "[A-Z]GMMA",
    "tcgen05": "UTC[A-Z]*MMA",
    "mma": "[A-Z]MMA",
    "special": "MUFU",
    "spills": "LDL|STL",
    "global_loads": "LDG|LDGSTS",
    "global_stores": "STG",
    "shared_loads": "LDS|LDSM",
    "shared_stores": "STS|STSM",
    "copy_loads": "UTMALDG",
    "copy_stores": "UTMASTG",
    "barriers": "BAR",
    "mbarriers": "SYNCS",
}
"""Patterns of instruction names, by the field of `KernelFigures` that counts them."""


@dataclass(frozen=True, slots=True)
class KernelVariant:
    """A kernel, its configuration and its architecture, which decide its machine code.

    Attributes:
        kernel: `hopper` or `triton`.
        config: Blocks; warps, stages and steps if they are not the default ones.
        arch: Compute capability times ten.
        head_dim: Numbers per head and token.
        dtype: Type of q, k and v.
        ragged: Whether the last key block is short.
        key_lens: Whether sequences have lengths of their own.
        grouped: Whether groups of heads have tables of their own.
        heads_per_kv: Query heads that share a key head.
        part: What is computed: `out`, or out on a table of `boxes`, or of the gradients `rows`,
            `dq` or `dkdv`; `grads`, all of them, by the kernel for Hopper.
    """

    kernel: str
    config: KernelConfig
    arch: int
    head_dim: int = 128
    dtype: str = "bfloat16"
    ragged: bool = True
    key_lens: bool = False
    grouped: bool = False
    heads_per_kv: int = 1
    part: str = "out"

    @property
    def name(self) -> str:
        """What is compiled, such as `triton@128x128/d128bf16/ragged/sm_90`."""
        config = self.config
        how = f"{config.block_m}x{config.block_n}"
        how += f"w{config.num_warps}" if config.num_warps else ""
        how += f"s{config.num_stages}" if config.num_stages else ""
        if config.gradients and self.part in ("dq", "dkdv"):
            how += "/{}x{}w{}s{}".format(*astuple(getattr(config.gradients, self.part)))
        flags = [flag for flag in ("ragged", "key_lens", "grouped") if getattr(self, flag)]
        flags += [f"g{self.heads_per_kv}"] if self.heads_per_kv > 1 else []
        flags += [self.part] if self.part != "out" else []
        shape = f"d{self.head_dim}{_SHORT[self.dtype]}"
        return "/".join([f"{self.kernel}@{how}", shape, *flags, f"sm_{self.arch}"])


def absent_reasons(variant: KernelVariant) -> list[str]:
    """Return why a variant does not exist; empty if it does."""
    from radialbench.kernels.checks import DTYPES
    from radialbench.kernels.select import config_reasons, variant_reasons

    config = variant.config
    blocks = (config.block_m, config.block_n)
    reasons = variant_reasons(variant.kernel, DTYPES[variant.dtype], variant.head_dim, blocks)
    own = ("out", "boxes", "grads") if variant.kernel == "hopper" else ("out", *PORTABLE_GRADIENTS)
    if variant.part not in own:
        reasons.append(f"has no part {variant.part!r}")
    if variant.kernel == "hopper" and variant.arch != 90:
        reasons.append(f"needs compute capability 9.0, sm_{variant.arch} is another")
    return reasons or config_reasons(variant.kernel, config, variant.head_dim)


def kernel_figures(variant: KernelVariant) -> KernelFigures:
    """Compile a kernel for general arguments and return what it needs, without a GPU.

    A launch can compile another variant, such as for a single head.

    Raises:
        BackendError: There is no such kernel, it cannot be compiled, or it does not fit.
    """
    if reasons := absent_reasons(variant):
        raise BackendError("; ".join(reasons))
    figures, limit = compile_kernel(variant), SHARED_LIMITS[variant.arch]
    if figures.shared_bytes > limit:
        raise BackendError(f"takes {figures.shared_bytes:,} bytes of shared memory, of {limit:,}")
    return figures


def compile_kernel(variant: KernelVariant) -> KernelFigures:
    """Compile a kernel, whether or not it fits, and return what it needs.

    Raises:
        BackendError: It cannot be compiled.
    """
    import triton
    from triton.backends.compiler import GPUTarget

    source, options = _SOURCES[variant.kernel, variant.part](variant)
    try:
        kernel = triton.compile(source, target=GPUTarget("cuda", variant.arch, 32), options=options)
    except Exception as error:  # Triton raises many kinds.
        reason = " ".join(str(error).split())[-300:]
        raise BackendError(
            f"{source.fn.__name__} cannot be compiled for {variant.arch}: {reason}"
        ) from None
    registers, stack_bytes = resource_usage(kernel.asm["cubin"])
    listing = _cuobjdump(kernel.asm["cubin"], "-sass")
    return KernelFigures(
        registers=registers,
        stack_bytes=stack_bytes,
        shared_bytes=int(kernel.metadata.shared),
        scratch_bytes=int(kernel.metadata.global_scratch_size),
        warps=int(kernel.metadata.num_warps),
        code=code_hash(listing),
        program=program_hash(kernel.asm["ptx"]),
        **count_instructions(listing),
    )


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
        "HEADS_PER_KV": variant.heads_per_kv,
        "k_len": None,
        "PRECISION": "ieee",
    }
    element = _ELEMENTS[variant.dtype]
    kinds = dict.fromkeys(("q_ptr", "k_in", "v_in", "out_ptr"), "*" + element)
    if copies:
        block = [1, 1, config.block_n, columns]
        kinds |= dict.fromkeys(("k_in", "v_in"), f"tensordesc<{element}{block}>")
    kinds |= FIXED
    source = _source(ASTSource, kernel, kinds, constants)
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
        "HEADS_PER_KV": variant.heads_per_kv,
        "k_len": None,
        "BUFFERS": config.num_stages or 2,
    }
    kinds = dict.fromkeys(("desc_q", "desc_out"), descriptor(config.block_m // 2))
    kinds |= FIXED | dict.fromkeys(("desc_k", "desc_v"), descriptor(config.block_n))
    source = GluonASTSource(
        kernel,
        signature=_signature(kernel, kinds, constants),
        constexprs=_constexprs(kernel, constants),
    )
    return source, HOPPER_OPTIONS


def _boxes(variant: KernelVariant) -> tuple[Any, dict[str, int]]:
    from triton.experimental.gluon import language as gl
    from triton.experimental.gluon._runtime import GluonASTSource

    from radialbench.kernels.select import hopper_columns
    from radialbench.kernels.triton.boxes_launch import CHANNELS
    from radialbench.kernels.triton.forward_boxes import block_sparse_fwd_boxes as kernel
    from radialbench.kernels.triton.launch import HOPPER_OPTIONS
    from radialbench.maskgen.boxes import PIECE, SHORTEST

    config, element = variant.config, _ELEMENTS[variant.dtype]
    kind = {"float16": gl.float16, "bfloat16": gl.bfloat16}[variant.dtype]

    def descriptor(*block: int) -> str:
        shape = [1, 1, *block, CHANNELS]
        layout = gl.NVMMASharedLayout.get_default_for(shape, kind)
        return f"tensordesc<{element}{shape},{layout!r}>"

    constants = {
        "BLOCK_M": config.block_m,
        "BLOCK_N": config.block_n,
        "BLOCK_D": hopper_columns(variant.head_dim),
        "HEAD_DIM": variant.head_dim,
        "GROUPED": variant.grouped,
        "HEADS_PER_KV": variant.heads_per_kv,
        "BUFFERS": config.num_stages or 2,
        "RUN": SHORTEST,
    }
    kinds = {f"box_{name}": descriptor(PIECE // SHORTEST, SHORTEST) for name in "qkv"}
    kinds |= {f"run_{name}": descriptor(SHORTEST) for name in "qkv"}
    kinds |= FIXED | {"out_ptr": "*" + element, "width": "i32"}
    return _source(GluonASTSource, kernel, kinds, constants), HOPPER_OPTIONS


def _backward(variant: KernelVariant) -> tuple[Any, dict[str, int]]:
    from triton.compiler import ASTSource

    from radialbench.kernels.arch import Target
    from radialbench.kernels.checks import DTYPES
    from radialbench.kernels.select import copy_reasons, default_gradients, portable_columns
    from radialbench.kernels.triton import backward
    from radialbench.kernels.triton.backward_launch import ROWS

    config, dtype, head_dim = variant.config, DTYPES[variant.dtype], variant.head_dim
    columns, target = portable_columns(head_dim), Target("cuda", variant.arch)
    kernel = getattr(backward, f"block_sparse_{variant.part}")
    default = default_gradients(dtype, head_dim, (config.block_m, config.block_n), target)
    both = config.gradients or default.gradients
    assert both is not None
    steps = both.dkdv if variant.part == "dkdv" else both.dq
    copies = not copy_reasons(dtype, head_dim, target)
    element = _ELEMENTS[variant.dtype]
    constants: dict[str, Any] = {
        "BLOCK_M": config.block_m,
        "BLOCK_N": config.block_n,
        "OWN": steps.own,
        "STEP": steps.step,
        "ROWS": ROWS,
        "HEAD_DIM": head_dim,
        "BLOCK_D": columns,
        "GROUPED": variant.grouped,
        "KEY_LENS": variant.key_lens,
        "RAGGED": variant.ragged or (variant.key_lens and variant.part == "dq"),
        "COPIES": copies,
        "CLEAN": False,
        "HEADS_PER_KV": variant.heads_per_kv,
        "k_len": None,
        "PRECISION": "ieee",
        "WITH_LSE": False,
        "MARK": True,
    }
    constants = {name: constants[name] for name in kernel.arg_names if name in constants}
    tensors = ("q_ptr", "k_ptr", "v_ptr", "out_ptr", "dout_ptr", "dq_ptr", "dk_ptr", "dv_ptr")
    looped = ("q_in", "k_in", "v_in", "dout_in")
    block = [1, 1, steps.step, columns]
    kinds = dict.fromkeys(tensors, "*" + element)
    kinds |= dict.fromkeys(looped, f"tensordesc<{element}{block}>" if copies else "*" + element)
    kinds |= dict.fromkeys(("lse_in", "dlse_ptr", "delta_ptr"), "*fp32") | {"sm_scale": "fp32"}
    kinds |= FIXED | {"columns": "i32"}
    source = _source(ASTSource, kernel, kinds, constants)
    if variant.part == "rows":
        return source, {"num_warps": 4}
    return source, {"num_warps": steps.num_warps, "num_stages": steps.num_stages}


def _backward_hopper(variant: KernelVariant) -> tuple[Any, dict[str, int]]:
    from triton.experimental.gluon import language as gl
    from triton.experimental.gluon._runtime import GluonASTSource

    from radialbench.kernels.select import hopper_columns
    from radialbench.kernels.triton.backward_hopper import block_sparse_bwd_hopper as kernel
    from radialbench.kernels.triton.backward_hopper_launch import BLOCK, BUFFERS, STEP
    from radialbench.kernels.triton.launch import HOPPER_OPTIONS

    columns = hopper_columns(variant.head_dim)
    constants: dict[str, Any] = {
        "BLOCK": BLOCK,
        "HEAD_DIM": variant.head_dim,
        "BLOCK_D": columns,
        "GROUPED": variant.grouped,
        "KEY_LENS": variant.key_lens,
        "HEADS_PER_KV": variant.heads_per_kv,
        "BUFFERS": BUFFERS,
    }
    element = _ELEMENTS[variant.dtype]

    def copied(name: str, rows: int, width: int, *, halves: int = 1) -> str:
        kind = {"bf16": gl.bfloat16, "fp16": gl.float16, "fp32": gl.float32}[name]
        layout = gl.NVMMASharedLayout.get_default_for([1, 1, rows, width // halves], kind)
        return f"tensordesc<{name}{[1, 1, rows, width]},{layout!r}>"

    flat = gl.NVMMASharedLayout(swizzle_byte_width=0, element_bitwidth=32, rank=2)
    kinds = dict.fromkeys(("desc_q", "desc_dout"), copied(element, STEP, columns))
    kinds |= {"desc_k": copied(element, BLOCK, columns, halves=2)}
    kinds |= {"desc_v": copied(element, BLOCK, columns)}
    kinds |= dict.fromkeys(("desc_lse", "desc_delta"), f"tensordesc<fp32{[1, STEP]},{flat!r}>")
    kinds |= {"desc_dq": copied("fp32", STEP, columns // 2)}
    kinds |= dict.fromkeys(("dk_ptr", "dv_ptr"), "*" + element) | {"sm_scale": "fp32"}
    kinds |= FIXED | {"columns": "i32", "k_len": "i32"}
    source = _source(GluonASTSource, kernel, kinds, constants)
    return source, HOPPER_OPTIONS


_SOURCES = {
    ("hopper", "out"): _hopper,
    ("hopper", "boxes"): _boxes,
    ("hopper", "grads"): _backward_hopper,
    ("triton", "out"): _triton,
    **{("triton", part): _backward for part in PORTABLE_GRADIENTS},
}
"""What makes the source and the options, by kernel and part."""


def _source(form: Any, kernel: Any, kinds: dict[str, str], constants: dict[str, Any]) -> Any:
    """Return a source with strides of 64 bits; they and addresses are multiples of 16."""
    kinds = kinds | {name: "i64" for name in kernel.arg_names if name.startswith("stride_")}
    aligned = [n for n in kernel.arg_names if kinds.get(n, "").startswith(("*", "i64"))]
    return form(
        kernel,
        signature=_signature(kernel, kinds, constants),
        constexprs=_constexprs(kernel, constants),
        attrs={(kernel.arg_names.index(name),): [["tt.divisibility", 16]] for name in aligned},
    )


def _signature(kernel: Any, kinds: dict[str, str], constants: dict[str, Any]) -> dict[str, str]:
    return {
        name: "constexpr" if name in constants else kinds.get(name, "*i32")
        for name in kernel.arg_names
    }


def _constexprs(kernel: Any, constants: dict[str, Any]) -> dict[tuple[int], Any]:
    return {(kernel.arg_names.index(name),): value for name, value in constants.items()}


def resource_usage(cubin: bytes) -> tuple[int, int]:
    """Return the registers per thread, and the bytes of its local memory.

    Raises:
        BackendError: The tool does not report it.
    """
    usage = _cuobjdump(cubin, "-res-usage")
    match = re.search(r"REG:(\d+) STACK:(\d+)", usage)
    if match is None:
        raise BackendError(f"cuobjdump reports no usage of registers: {usage[:200]!r}")
    return int(match[1]), int(match[2])


def _cuobjdump(cubin: bytes, option: str) -> str:
    """Return the output of the copy of NVIDIA's tool that comes with Triton."""
    import triton

    tools = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(cubin)
        command = [str(tools / "cuobjdump"), option, str(path)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def count_instructions(listing: str) -> dict[str, int]:
    """Count the instructions of a listing by kind, as fields of `KernelFigures`."""
    counts = Counter(
        operation[1]
        for line in _lines(listing)
        if line["text"] and (operation := _OPERATION.match(line["text"]))
    )
    kinds = {
        kind: sum(n for name, n in counts.items() if re.fullmatch(pattern, name))
        for kind, pattern in INSTRUCTIONS.items()
    }
    return {"instructions": counts.total()} | kinds


def code_hash(listing: str) -> str:
    """Return a short hash of a listing's instructions and their waits, without addresses.

    Register numbers do not count: NVIDIA's assembler can choose others for the same program (seen
    for sm_100).
    """
    digest = hashlib.sha256()
    for line in _lines(listing):
        if line["text"]:
            text = " ".join(line["text"].split())
            digest.update(_REGISTER.sub(r"\1", text).encode())
        else:
            digest.update(f" {int(line['word'], 16) >> _WAITS:x}\n".encode())
    return digest.hexdigest()[:16]


def program_hash(ptx: str) -> str:
    """Return a short hash of the program that the assembler gets, without source positions."""
    digest = hashlib.sha256()
    for line in ptx.splitlines():
        text = line.partition("//")[0].strip()
        if text.startswith(".section"):
            break  # Debug tables follow.
        if text and not _FOR_DEBUGGERS.match(text):
            digest.update(f"{text}\n".encode())
    return digest.hexdigest()[:16]


def _lines(listing: str) -> list[re.Match[str]]:
    return [match for line in listing.splitlines() if (match := _LINE.match(line))]
