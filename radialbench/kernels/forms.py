"""KernelForm: what decides the machine code of one of our kernels, and figures of that code."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from radialbench.errors import BackendError
from radialbench.records.offline import KernelFigures
from radialbench.records.problem import KernelConfig

if TYPE_CHECKING:
    from radialbench.kernels.offline import Compiled

ARCHITECTURES = (80, 89, 90, 100, 120)
"""Compute capabilities times ten: A100, L40S, H100, B200, RTX PRO 6000."""

KERNELS = ("hopper", "triton")

_SHORT = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}


@dataclass(frozen=True, slots=True)
class KernelForm:
    """One of our kernels, in one configuration, for one architecture.

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
    head_dim: int
    dtype: str
    ragged: bool
    key_lens: bool = False
    grouped: bool = False

    @property
    def name(self) -> str:
        """Says what is compiled, such as `triton@128x128/d128bf16/ragged/sm_90`."""
        config = self.config
        how = f"{config.block_m}x{config.block_n}"
        how += f"w{config.num_warps}" if config.num_warps else ""
        how += f"s{config.num_stages}" if config.num_stages else ""
        flags = [flag for flag in ("ragged", "key_lens", "grouped") if getattr(self, flag)]
        shape = f"d{self.head_dim}{_SHORT[self.dtype]}"
        return "/".join([f"{self.kernel}@{how}", shape, *flags, f"sm_{self.arch}"])


def absent_reasons(form: KernelForm) -> list[str]:
    """Say why there is no such kernel; empty if there is."""
    from radialbench.kernels.checks import DTYPES
    from radialbench.kernels.defaults import config_reasons, form_reasons

    config = form.config
    blocks = (config.block_m, config.block_n)
    reasons = form_reasons(form.kernel, DTYPES[form.dtype], form.head_dim, blocks)
    if form.kernel == "hopper" and form.arch != 90:
        reasons.append(f"needs compute capability 9.0, sm_{form.arch} is another")
    return reasons or config_reasons(form.kernel, config, form.head_dim)


def kernel_figures(form: KernelForm) -> KernelFigures:
    """Compile a kernel and tell what it takes; no GPU is asked.

    For general arguments: a launch can compile a form of its own, such as for a single head.

    Raises:
        BackendError: There is no such kernel, it cannot be compiled, or it does not fit.
    """
    from radialbench.kernels.offline import SHARED_LIMITS

    if reasons := absent_reasons(form):
        raise BackendError("; ".join(reasons))
    found, limit = _compiled(form), SHARED_LIMITS[form.arch]
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


def _compiled(form: KernelForm) -> "Compiled":
    from radialbench.kernels.offline import compile_hopper, compile_triton

    if form.kernel == "hopper":
        return compile_hopper(
            form.config,
            head_dim=form.head_dim,
            dtype=form.dtype,
            ragged=form.ragged,
            key_lens=form.key_lens,
            grouped=form.grouped,
        )
    return compile_triton(
        form.config,
        arch=form.arch,
        head_dim=form.head_dim,
        dtype=form.dtype,
        ragged=form.ragged,
        key_lens=form.key_lens,
        grouped=form.grouped,
    )
