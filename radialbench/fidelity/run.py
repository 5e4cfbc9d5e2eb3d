"""Fidelity of masks on inputs of many layers and steps, as records."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from time import perf_counter

import numpy as np

from radialbench.fidelity.inputs import AttentionInputs
from radialbench.fidelity.kernel import kernel_rows
from radialbench.fidelity.measure import head_fidelity, measure
from radialbench.fidelity.settings import How, Source
from radialbench.kernels.measure.table_stats import table_stats
from radialbench.maskgen.compiler import compile_any
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.head_tables import AnyTable, HeadTables
from radialbench.maskgen.identity import MaskIdentity
from radialbench.maskgen.language.heads import AnyMask
from radialbench.records.fidelity import DEFINITION, Fidelity, HeadFidelity, InputsIdentity
from radialbench.records.fidelity_record import SCHEMA, FidelityRecord
from radialbench.records.problem import KernelConfig
from radialbench.records.result import Environment


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
        begin = perf_counter()
        found = measure_tables(own, [_always(table) for table, _ in compiled], how, on_rows)
        seconds = (perf_counter() - begin) / len(masks)
        batch, heads, _, head_dim = own[0].shape
        for (identity, _), (table, ms), fidelity in zip(masks, compiled, found, strict=True):
            stats = table_stats(table, batch * heads, head_dim, ms)
            created = datetime.now(UTC).isoformat(timespec="seconds")
            parts = (SCHEMA, identity, grid, how.config, stats, fidelity, seconds)
            records.append(FidelityRecord(*parts, environment, created))
    return records


TableOf = Callable[[AttentionInputs], AnyTable]
"""Returns a mask's table for inputs, which may choose its blocks."""


def measure_tables(
    sources: Sequence[Source],
    tables: Sequence[TableOf],
    how: How,
    on_rows: Callable[[int, int], None] = lambda done, total: None,
    load: Callable[[Source, str], AttentionInputs] = lambda source, device: source.load(device),
) -> list[Fidelity]:
    """Measure what tables keep of inputs on one grid; arguments and errors as `measure_fidelity`.

    Of a head plan for more heads than the inputs have, those are taken whose numbers these have.
    `load` loads inputs on a device.

    Returns:
        That of each table, over all inputs.
    """
    layers = []
    for source in sources:
        inputs = load(source, how.device)
        own = [_of_inputs(table(inputs), inputs) for table in tables]
        layers.append(_measure_layer(inputs, own, how, on_rows))
    errors = [layer.kernel_error for layer in layers if layer.kernel_error is not None]
    return [
        Fidelity(
            inputs=combined_identity(sources),
            rows=min(layer.rows for layer in layers),
            sampled_rows=min(layer.sampled_rows for layer in layers),
            bound=how.bound,
            method=how.backend or DEFINITION,
            kernel_error=max(errors) if errors else None,
            heads=tuple(one for layer in layers for one in layer.heads[number]),
        )
        for number in range(len(tables))
    ]


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


def _of_inputs(table: AnyTable, inputs: AttentionInputs) -> AnyTable:
    numbers = inputs.header.heads
    some = isinstance(table, HeadTables) and table.heads > max(len(numbers), *numbers)
    return table.of_heads(numbers) if isinstance(table, HeadTables) and some else table


def _always(table: AnyTable) -> TableOf:
    return lambda inputs: table


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
