"""Fidelity of masks on inputs of many layers and steps, as records."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from time import perf_counter
from typing import Protocol

import numpy as np

from radialbench.fidelity.files import InputsHeader
from radialbench.fidelity.inputs import AttentionInputs
from radialbench.fidelity.kernel import kernel_rows
from radialbench.fidelity.measure import BOUND, SAMPLED_ROWS, head_fidelity, measure
from radialbench.kernels.measure.table_stats import table_stats
from radialbench.maskgen.compiler import compile_any
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.head_tables import AnyTable
from radialbench.maskgen.identity import MaskIdentity
from radialbench.maskgen.language.heads import AnyMask
from radialbench.records.fidelity import (
    DEFINITION,
    SCHEMA,
    Fidelity,
    FidelityRecord,
    HeadFidelity,
    InputsIdentity,
)
from radialbench.records.problem import KernelConfig
from radialbench.records.result import Environment, TableStats


class Source(Protocol):
    """Inputs of a layer that are loaded, or made, when they are needed."""

    @property
    def header(self) -> InputsHeader:
        """What is known of them."""
        ...

    @property
    def identity(self) -> InputsIdentity:
        """What records name them by."""
        ...

    def load(self, device: str = "cpu") -> AttentionInputs:
        """Return the tensors on a device."""
        ...


@dataclass(frozen=True, slots=True)
class How:
    """How fidelity is measured.

    Attributes:
        rows: Rows of each head to look at by the definition; all of them if None.
        bound: As `Fidelity.bound`.
        seed: Seed of the sample and of the random blocks.
        backend: What computes all rows; None to measure the sampled ones alone.
        device: `cpu` or `cuda`.
        config: Blocks of the tables.
    """

    rows: int | None = SAMPLED_ROWS
    bound: float = BOUND
    seed: int = 0
    backend: str | None = None
    device: str = "cpu"
    config: KernelConfig = field(default_factory=KernelConfig)


def measure_fidelity(
    sources: Sequence[Source],
    masks: Sequence[tuple[MaskIdentity, AnyMask]],
    how: How,
    environment: Environment,
    *,
    on_rows: Callable[[int, int], None] = lambda done, total: None,
) -> list[FidelityRecord]:
    """Measure what masks keep of all inputs, with a record a mask and grid.

    Args:
        sources: Inputs of layers and steps.
        masks: Masks, or head plans, with the identity that records store.
        how: How to measure.
        environment: Where.
        on_rows: Called with the rows done and their number, within each of the inputs.

    Raises:
        InputsError: The inputs cannot be read, or do not fit the masks.
        SpecError: A mask does not fit a grid.
        BackendError: The backend cannot run them here.
    """
    grids = {source.header.grid: None for source in sources}
    records = []
    for grid in grids:
        own = [source for source in sources if source.header.grid == grid]
        compiled = [_compiled(mask, grid, how.config) for _, mask in masks]
        tables = [table for table, _ in compiled]
        begin = perf_counter()
        layers = []
        for source in own:
            inputs = source.load(how.device)
            layers.append(_measure_layer(inputs, tables, how, on_rows))
        stats = [_stats(table, inputs, ms) for table, ms in compiled]
        seconds = (perf_counter() - begin) / len(masks)
        errors = [layer.kernel_error for layer in layers if layer.kernel_error is not None]
        for number, (identity, _) in enumerate(masks):
            fidelity = Fidelity(
                inputs=combined_identity(own),
                rows=min(layer.rows for layer in layers),
                sampled_rows=min(layer.sampled_rows for layer in layers),
                bound=how.bound,
                method=how.backend or DEFINITION,
                kernel_error=max(errors) if errors else None,
                heads=tuple(one for layer in layers for one in layer.heads[number]),
            )
            created = datetime.now(UTC).isoformat(timespec="seconds")
            records.append(
                FidelityRecord(
                    *(SCHEMA, identity, grid, how.config, stats[number], fidelity, seconds),
                    *(environment, created),
                )
            )
    return records


def combined_identity(sources: Sequence[Source]) -> InputsIdentity:
    """Return the identity of inputs of several layers and steps together."""
    identities = [source.identity for source in sources]
    if len(identities) == 1:
        return identities[0]
    digest = blake2b(" ".join(one.digest for one in identities).encode(), digest_size=8)
    return InputsIdentity(identities[0].source, identities[0].kind, digest.hexdigest())


def _compiled(mask: AnyMask, grid: TokenGrid, config: KernelConfig) -> tuple[AnyTable, float]:
    begin = perf_counter()
    table = compile_any(mask, grid, config.block_m, config.block_n)
    return table, (perf_counter() - begin) * 1e3


def _stats(table: AnyTable, inputs: AttentionInputs, compile_ms: float) -> TableStats:
    batch, heads, _, head_dim = inputs.q.shape
    return table_stats(table, batch * heads, head_dim, compile_ms)


@dataclass(frozen=True, slots=True)
class _Layer:
    """What was found in the inputs of a layer: the heads of each mask, and by how many rows."""

    heads: list[list[HeadFidelity]]
    rows: int
    sampled_rows: int
    kernel_error: float | None


def _measure_layer(
    inputs: AttentionInputs,
    tables: Sequence[AnyTable],
    how: How,
    on_rows: Callable[[int, int], None],
) -> _Layer:
    computed = [] if how.backend is None else list(kernel_rows(inputs, tables, how.backend))
    outputs = [out for _, out in computed]
    found = measure(inputs, tables, rows=how.rows, seed=how.seed, outputs=outputs, on_rows=on_rows)
    rows_of = [of_mask for of_mask, _ in computed] or [[o["mask"] for o in own] for own in found]
    places = list(np.ndindex(*inputs.q.shape[:2]))
    heads = [
        [
            head_fidelity(inputs.header, sequence, head, one, rows, bound=how.bound)
            for (sequence, head), one, rows in zip(places, of_mask, own_rows, strict=True)
        ]
        for of_mask, own_rows in zip(found, rows_of, strict=True)
    ]
    errors = [one["kernel"].kept.error for of_mask in found for one in of_mask if computed]
    sampled = min(len(one["mask"].mass) for of_mask in found for one in of_mask)
    rows = min(len(one.mass) for of_mask in rows_of for one in of_mask)
    return _Layer(heads, rows, sampled, max(errors) if errors else None)
