"""Backend: a way to compute attention on a block table, ours or another library's."""

from typing import TYPE_CHECKING, Protocol, TypeAlias

from radialbench.errors import BackendError, load_plugin

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from radialbench.maskgen.table import BlockTable
    from radialbench.records.problem import KernelConfig, Problem

Run: TypeAlias = "Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]"
"""Maps q, k, v to (out, lse).

q and out are [batch, heads, q_len, head_dim], k and v [batch, kv_heads, k_len, head_dim], in the
table's order and of one dtype; lse is float32 [batch, heads, q_len], the natural logarithm of the
sum of exponentials. Query head h attends to the keys of head h // (heads / kv_heads). A query
without keys gets zeros and -inf. nan and infinities in k reach exactly the rows that attend to
their key; those in v may reach, in their channel, all rows of a query block that has their key in a
partial block.
"""

BACKENDS: dict[str, str] = {
    "cpu": "radialbench.kernels.backends.cpu:Cpu",
    "cudnn": "radialbench.kernels.backends.sdpa:Cudnn",
    "fa3": "radialbench.kernels.backends.fa3:Fa3",
    "fa4": "radialbench.kernels.backends.fa4:Fa4",
    "fastvideo": "radialbench.kernels.backends.fastvideo:FastVideo",
    "flash": "radialbench.kernels.backends.sdpa:Flash",
    "flashinfer_fa2": "radialbench.kernels.backends.flashinfer:FlashInferFa2",
    "flashinfer_fa3": "radialbench.kernels.backends.flashinfer:FlashInferFa3",
    "flex": "radialbench.kernels.backends.flex:Flex",
    "flex_tma": "radialbench.kernels.backends.flex:FlexTma",
    "hopper": "radialbench.kernels.backends.triton:Hopper",
    "reference": "radialbench.kernels.backends.reference:Reference",
    "sdpa": "radialbench.kernels.backends.sdpa:Sdpa",
    "triton": "radialbench.kernels.backends.triton:Triton",
}
"""Class of each backend; its module is imported when it is loaded."""


class Backend(Protocol):
    """A way to compute attention. It never falls back to another one silently.

    Attributes:
        name: Its key in `BACKENDS`.
    """

    name: str

    def unsupported_reasons(self, problem: "Problem", device: str) -> list[str]:
        """Return why this problem cannot run on this kind of device; empty if it can."""
        ...

    def plan(self, problem: "Problem", table: "BlockTable", config: "KernelConfig") -> Run:
        """Prepare everything that does not depend on the values of q, k and v.

        Raises:
            BackendError: The problem is unsupported, or the table does not fit it.
        """
        ...

    def needs(self) -> str:
        """Describe in one line what the backend needs, and whether it is here."""
        ...


def load_backend(name: str, backends: "Mapping[str, str]" = BACKENDS) -> Backend:
    """Load a backend by its name in a table such as `BACKENDS`.

    Raises:
        BackendError: No backend has this name.
    """
    backend: Backend = load_plugin(backends, name, kind="backend", error=BackendError)()
    return backend
