"""Backend: a way to compute attention on a block table, ours or another library's."""

from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

from radialbench import plugins
from radialbench.errors import BackendError, load_plugin, unknown
from radialbench.maskgen.head_tables import AnyTable, HeadTables

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from importlib.metadata import EntryPoint

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
    "bsa": "radialbench.kernels.backends.bsa:Bsa",
    "bsa_fp8": "radialbench.kernels.backends.bsa:BsaFp8",
    "cpu": "radialbench.kernels.backends.cpu:Cpu",
    "cudnn": "radialbench.kernels.backends.sdpa:Cudnn",
    "fa3": "radialbench.kernels.backends.fa3:Fa3",
    "fa3_fp8": "radialbench.kernels.backends.fa3:Fa3Fp8",
    "fa4": "radialbench.kernels.backends.fa4:Fa4",
    "fastvideo": "radialbench.kernels.backends.fastvideo:FastVideo",
    "flash": "radialbench.kernels.backends.sdpa:Flash",
    "flashinfer_fa2": "radialbench.kernels.backends.flashinfer:FlashInferFa2",
    "flashinfer_fa3": "radialbench.kernels.backends.flashinfer:FlashInferFa3",
    "flex": "radialbench.kernels.backends.flex:Flex",
    "flex_tma": "radialbench.kernels.backends.flex:FlexTma",
    "hopper": "radialbench.kernels.backends.triton:Hopper",
    "hopper_boxes": "radialbench.kernels.backends.boxes:HopperBoxes",
    "hopper_fp8": "radialbench.kernels.backends.fp8:HopperFp8",
    "reference": "radialbench.kernels.backends.reference:Reference",
    "sdpa": "radialbench.kernels.backends.sdpa:Sdpa",
    "topk_cpu": "radialbench.kernels.backends.topk:TopkCpu",
    "topk_hopper": "radialbench.kernels.backends.topk:TopkHopper",
    "topk_triton": "radialbench.kernels.backends.topk:TopkTriton",
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


METHODS = ("unsupported_reasons", "plan", "needs")
"""What a class of another package must have."""


def load_backend(name: str, backends: "Mapping[str, str]" = BACKENDS) -> Backend:
    """Load a backend by its name: ours, one that an installed package adds, or `module:Class`.

    Args:
        name: The name.
        backends: Our classes, such as `BACKENDS`.

    Raises:
        BackendError: No backend has this name, or that of another package cannot be imported or
            made, or is none.
    """
    if name in backends:
        ours: Backend = load_plugin(backends, name, kind="backend", error=BackendError)()
        return ours
    path = name if plugins.is_path(name) else plugins.path_of(_added(name))
    made = plugins.load("backend", name, path, BackendError)
    missing = [method for method in METHODS if not callable(getattr(made, method, None))]
    if not isinstance(made, type) or missing:
        what = f"has no {' and no '.join(missing)}" if missing else "is no class"
        raise BackendError(
            f"the backend {name!r} {what}; radialbench.kernels.backends.Backend says what it needs"
        )
    try:
        theirs: Backend = made()
    except Exception as fault:
        raise BackendError(
            f"the backend {name!r} cannot be made: {plugins.reason(fault)}"
        ) from None
    return theirs


def check_backend(name: str) -> None:
    """Refuse a name that no backend has, without importing one.

    Raises:
        BackendError: It is not ours, not of an installed package, and no `module:Class` of a module
            that is here.
    """
    if name in BACKENDS:
        return
    if not plugins.is_path(name):
        _added(name)
    elif find_spec(top := name.partition(":")[0].partition(".")[0]) is None:
        raise BackendError(
            f"the backend {name!r} is of a module that is not here; is {top} installed, or on "
            "PYTHONPATH?"
        )


def added_backends() -> "Mapping[str, EntryPoint]":
    """Return the backends that installed packages add, by name.

    Raises:
        BackendError: Two have one name.
    """
    return plugins.added("backend", BACKENDS, BackendError)


def _added(name: str) -> "EntryPoint":
    added = added_backends()
    if name not in added:
        raise BackendError(unknown("backend", name, [*BACKENDS, *added]))
    return added[name]


@runtime_checkable
class TakesHeads(Protocol):
    """A backend that computes heads with different tables in one launch."""

    def plan_heads(self, problem: "Problem", table: AnyTable, config: "KernelConfig") -> Run:
        """Prepare as `Backend.plan`, for the tables of heads."""
        ...


def plan_table(
    backend: Backend, problem: "Problem", table: AnyTable, config: "KernelConfig"
) -> Run:
    """Plan a backend for a table, or for the tables of heads.

    A backend that takes one table for all heads is launched once for each group of heads, on a copy
    of the group's heads where they are no neighbours; both are part of the call.

    Raises:
        BackendError: As `Backend.plan`, or the tables are for another number of heads.
    """
    if not isinstance(table, HeadTables):
        return backend.plan(problem, table, config)
    if table.heads != problem.heads:
        raise BackendError(f"the tables are for {table.heads} heads, q has {problem.heads}")
    if isinstance(backend, TakesHeads):
        return backend.plan_heads(problem, table, config)
    return _by_group(backend, problem, table, config)


def _by_group(
    backend: Backend, problem: "Problem", table: HeadTables, config: "KernelConfig"
) -> Run:
    shared = problem.heads // problem.key_heads
    groups: list[tuple[slice | list[int], slice | list[int], Run]] = []
    for number, one in enumerate(table.tables):
        heads = [head for head, group in enumerate(table.group_of_head) if group == number]
        if not heads:
            continue
        part = replace(problem, heads=len(heads), kv_heads=None)
        planned = backend.plan(part, one, config)
        groups.append((_compact(heads), _compact([head // shared for head in heads]), planned))

    def run(q: "Tensor", k: "Tensor", v: "Tensor") -> "tuple[Tensor, Tensor]":
        out, lse = q.new_empty(q.shape), q.new_empty(q.shape[:3]).float()
        for heads, key_heads, attend in groups:
            out[:, heads], lse[:, heads] = attend(q[:, heads], k[:, key_heads], v[:, key_heads])
        return out, lse

    return run


def _compact(heads: list[int]) -> slice | list[int]:
    """Return neighbours as a slice, which copies nothing."""
    neighbours = heads == list(range(heads[0], heads[0] + len(heads)))
    return slice(heads[0], heads[0] + len(heads)) if neighbours else heads


@runtime_checkable
class Selects(Protocol):
    """A planned call that chooses its blocks from q and k, and so does not compute its table."""

    def selected(self, q: "Tensor", k: "Tensor") -> HeadTables:
        """Return the tables of a call, which define its result."""
        ...


@runtime_checkable
class InRaster(Protocol):
    """A planned call whose q, k, v and out are in raster order, whatever the table's is.

    Attributes:
        in_raster: True.
    """

    in_raster: bool
