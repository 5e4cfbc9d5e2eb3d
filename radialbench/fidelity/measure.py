"""What masks keep of given inputs, by the definition of attention, on chosen query rows.

For a query row with dense weights p = softmax(q·kᵀ·scale), a mask keeps the mass Σ p over its keys,
and gives the output (Σ p·v) / (Σ p) over them. Sampled are some query blocks, spread over the
sequence, and some rows of each. All of it is float64, in chunks of rows: memory grows with the
tokens, and not with their square.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from radialbench.errors import InputsError
from radialbench.fidelity.files import InputsHeader
from radialbench.fidelity.inputs import AttentionInputs
from radialbench.fidelity.settings import BOUND, SAMPLED_ROWS
from radialbench.kernels.backends.reference import mask_rows
from radialbench.kernels.device_table import permutation
from radialbench.machine import free_memory
from radialbench.maskgen.head_tables import AnyTable, tables_by_head
from radialbench.maskgen.order import Coordinates, TokenOrder
from radialbench.maskgen.table import BlockTable
from radialbench.records.fidelity import HeadFidelity, Kept

Int64 = NDArray[np.int64]

ROWS_OF_A_BLOCK = 16
"""Sampled rows of a query block: enough to tell which key blocks hold its mass."""

CHUNK_BYTES = 96 << 20
"""Most bytes of the weights of a chunk, unless one query block has more."""


@dataclass(frozen=True, eq=False)
class RowFidelity:
    """What is kept of some rows of one head, each [rows] float64.

    Attributes:
        mass: Share of the attention mass.
        difference: ‖out − dense‖².
        dense: ‖dense‖².
        sparse: ‖out‖².
    """

    mass: Tensor
    difference: Tensor
    dense: Tensor
    sparse: Tensor

    @classmethod
    def of(cls, mass: Tensor, out: Tensor, dense: Tensor) -> "RowFidelity":
        """Compare outputs [rows, head_dim] of kept mass [rows]."""
        parts = (out - dense, dense, out)
        norms = (torch.linalg.vector_norm(part, dim=-1).double() for part in parts)
        # A sum of rounded weights may pass 1 by its last bit.
        return cls(mass.double().clamp(max=1.0), *(norm.square() for norm in norms))

    @classmethod
    def join(cls, parts: Sequence["RowFidelity"]) -> "RowFidelity":
        """Return the rows of all parts."""
        names = cls.__dataclass_fields__
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in names))

    @property
    def kept(self) -> Kept:
        """Mean mass, and the relative error of all rows together."""
        return Kept(float(self.mass.mean()), _ratio(self.difference.sum(), self.dense.sum()))

    @property
    def cosine(self) -> float:
        """Cosine of the outputs of all rows together; 1 where both are 0."""
        sparse, dense = float(self.sparse.sum()), float(self.dense.sum())
        product = (sparse + dense - float(self.difference.sum())) / 2
        size = (sparse * dense) ** 0.5
        return max(-1.0, min(product / size, 1.0)) if size else 1.0

    @property
    def worst_error(self) -> float:
        """The greatest relative error of a row."""
        tiny = torch.finfo(torch.float64).tiny
        return float((self.difference / self.dense.clamp(min=tiny)).max().sqrt())

    def below(self, bound: float) -> float:
        """Share of rows that keep less mass than a bound."""
        return float((self.mass < bound).double().mean())


Found = dict[str, RowFidelity]
"""Rows of a head: `mask`; `best`, `window` and `random`, which choose as many blocks of each row of
blocks; and `kernel` if one computed them, whose difference is from the mask's output by the
definition."""


def measure(
    inputs: AttentionInputs,
    tables: Sequence[AnyTable],
    *,
    rows: int | None = SAMPLED_ROWS,
    seed: int = 0,
    outputs: Sequence[Tensor] = (),
    on_rows: Callable[[int, int], None] = lambda done, total: None,
) -> list[list[Found]]:
    """Measure what masks keep of inputs, beside yardsticks of as many blocks.

    Args:
        inputs: q, k and v of a layer.
        tables: The table of each mask, or those of its heads; compiled for the inputs' grid.
        rows: Rows of each head to look at; all of them if None.
        seed: Seed of the sample and of the random blocks.
        outputs: What a kernel computed for each mask, [batch, heads, q_len, head_dim] in raster
            order.
        on_rows: Called with the rows done, over heads and orders of tokens, and their number.

    Returns:
        For each mask its heads, sequence by sequence. With a sample, `best` is chosen by the
        sampled rows of a block alone, and so is an upper bound; it is exact with all rows.

    Raises:
        InputsError: A table is for another grid or number of heads, or memory does not suffice.
    """
    _check(inputs, tables, rows)
    sequences, heads = range(inputs.q.shape[0]), range(inputs.q.shape[1])
    by_head = [tables_by_head(table, len(heads)) for table in tables]
    layouts = {_layout(own): own for table in by_head for own in table}
    plans = {layout: _Plan(inputs, own, rows, seed) for layout, own in layouts.items()}

    def work() -> Iterator[tuple[_Chunk, int, list[int]]]:
        for layout, plan in plans.items():
            for chunk in (one for sequence in sequences for one in plan.chunks(sequence)):
                for head in heads:
                    own = [n for n, table in enumerate(by_head) if _layout(table[head]) == layout]
                    if own:
                        yield chunk, head, own

    total = sum(
        len(plans[layout].queries(sequence))
        for head in heads
        for layout in {_layout(table[head]) for table in by_head}
        for sequence in sequences
    )
    done = 0
    found: dict[tuple[int, int, int], list[Found]] = defaultdict(list)
    for chunk, head, numbers in work():
        own = [by_head[number][head] for number in numbers]
        computed = [chunk.rows_of(outputs[number][:, head]) for number in numbers if outputs]
        compared = _Weights(chunk, head).compare(own, computed)
        for number, one in zip(numbers, compared, strict=True):
            found[number, chunk.sequence, head].append(one)
        done += len(chunk.queries)
        on_rows(done, total)
    return [
        [_joined(found[number, sequence, head]) for sequence in sequences for head in heads]
        for number in range(len(tables))
    ]


def _joined(parts: list[Found]) -> Found:
    return {name: RowFidelity.join([part[name] for part in parts]) for name in parts[0]}


def _layout(table: BlockTable) -> tuple[TokenOrder, int, int]:
    return table.order, table.block_m, table.block_n


def head_fidelity(
    header: InputsHeader,
    sequence: int,
    head: int,
    found: Found,
    rows: RowFidelity,
    *,
    bound: float = BOUND,
) -> HeadFidelity:
    """Return the stored form of what was found in a head.

    Args:
        header: Of its inputs.
        sequence: The sequence of the batch.
        head: The head, as it stands in q.
        found: Sampled rows by choice.
        rows: Rows of the mask: the sampled ones, or all of them.
        bound: As `Fidelity.bound`.
    """
    return HeadFidelity(
        head=header.heads[head],
        layer=header.layer,
        step=header.step,
        sequence=sequence,
        kept=rows.kept,
        cosine=rows.cosine,
        worst_mass=float(rows.mass.min()),
        worst_error=rows.worst_error,
        below=rows.below(bound),
        sampled=found["mask"].kept,
        best=found["best"].kept,
        window=found["window"].kept,
        random=found["random"].kept,
    )


def needed_bytes(inputs: AttentionInputs, block_m: int, block_n: int, rows: int | None) -> int:
    """Return about how many bytes `measure` takes beside its inputs."""
    of_block = block_m if rows is None else min(ROWS_OF_A_BLOCK, rows)
    tokens, head_dim = inputs.grid.seq_len, inputs.q.shape[-1]
    chunk = max(CHUNK_BYTES, of_block * tokens * 8)
    # Weights, those that are kept, and masks; the output of each key block; keys and values.
    return chunk * 3 + chunk * head_dim // block_n + 2 * tokens * head_dim * 8


def _check(inputs: AttentionInputs, tables: Sequence[AnyTable], rows: int | None) -> None:
    """Refuse tables for something else, and what does not fit into memory."""
    heads = inputs.q.shape[1]
    for table in tables:
        if table.grid != inputs.grid:
            raise InputsError(
                f"{table.label} is compiled for the grid {table.grid.label}, and the inputs are of "
                f"{inputs.grid.label}"
            )
        if len(tables_by_head(table, heads)) != heads:
            raise InputsError(
                f"{table.label} has masks for {len(tables_by_head(table, heads))} heads, and the "
                f"inputs have {heads}"
            )
    needed = max((needed_bytes(inputs, t.block_m, t.block_n, rows) for t in tables), default=0)
    free = free_memory()
    if inputs.q.device.type == "cpu" and free is not None and needed > free:
        raise InputsError(
            f"measuring takes about {needed / 2**30:.1f} GiB of memory, and {free / 2**30:.1f} GiB "
            "are free; take fewer rows"
        )


class _Plan:
    """Which rows are looked at, in one order of tokens and one size of blocks."""

    def __init__(
        self, inputs: AttentionInputs, table: BlockTable, rows: int | None, seed: int
    ) -> None:
        self.inputs, self.table, self.seed = inputs, table, seed
        device = inputs.q.device
        there, back = permutation(table, queries=True, device="cpu")
        keys = permutation(table, device=device)[0]
        self.keys = torch.cat([keys, keys[:1].expand(table.columns * table.block_n - len(keys))])
        """[columns · block_n] raster token of each key; behind the last, any."""
        self._there = there
        """[q_len] raster query of each query."""
        has = torch.arange(table.q_len) if inputs.rows is None else inputs.rows
        self._place = torch.full((table.q_len,), -1, dtype=torch.int64)
        self._place[has] = torch.arange(len(has))
        """[q_len] row of `inputs.q` of each raster query; -1 where it has none."""
        self._has = back[has].sort().values.numpy()
        self._rows = rows
        self._padding = [
            Coordinates(inputs.grid_of(sequence), table.order).pad
            for sequence in range(len(inputs.q))
        ]
        self._queries = [self._chosen(sequence) for sequence in range(len(inputs.q))]

    def queries(self, sequence: int) -> Int64:
        """[rows] ascending queries to look at, as positions in the order."""
        return self._queries[sequence]

    def real_keys(self, sequence: int) -> Tensor:
        """[columns · block_n] whether there is a key that is no padding."""
        real = np.zeros(len(self.keys), np.bool_)
        real[: self.table.k_len] = ~self._padding[sequence]
        return torch.from_numpy(real).to(self.inputs.q.device)

    def raster(self, queries: Int64) -> Tensor:
        """Return the raster queries at positions of the order."""
        return self._there[torch.from_numpy(queries)].to(self.inputs.q.device)

    def rows_of_q(self, queries: Int64) -> Tensor:
        """Return where queries stand in q."""
        return self._place.to(self.inputs.q.device)[self.raster(queries)]

    def chunks(self, sequence: int) -> Iterator["_Chunk"]:
        """Yield the rows in chunks of whole query blocks."""
        queries = self.queries(sequence)
        most = max(1, CHUNK_BYTES // (8 * self.table.k_len))
        _, starts = np.unique(queries // self.table.block_m, return_index=True)
        ends = [*starts[1:], len(queries)]
        start = 0
        for this, after in zip(ends, [*ends[1:], np.inf], strict=True):
            if after - start > most:
                yield _Chunk(self, sequence, queries[start:this])
                start = this

    def _chosen(self, sequence: int) -> Int64:
        start = self.table.q_start
        real = ~self._padding[sequence][start : start + self.table.q_len]
        has: Int64 = self._has[real[self._has]]
        if not len(has):
            raise InputsError(f"sequence {sequence} has no query that is no padding")
        if self._rows is None or self._rows >= len(has):
            return has
        blocks = has // self.table.block_m
        names = np.unique(blocks)
        each = min(ROWS_OF_A_BLOCK, self._rows)
        wanted = min(len(names), max(1, self._rows // each))
        rng = np.random.default_rng([self.seed, sequence])
        edges = np.arange(wanted + 1) * len(names) // wanted
        picked = names[rng.integers(edges[:-1], edges[1:])]
        each = -(-self._rows // wanted)
        chosen = [_spread(has[blocks == name], each, rng) for name in picked]
        return np.concatenate(chosen)


def _spread(rows: Int64, count: int, rng: np.random.Generator) -> Int64:
    """Return up to `count` of rows, spread evenly from a random start."""
    if len(rows) <= count:
        return rows
    places = (np.arange(count) * len(rows) + rng.integers(len(rows))) // count
    spread: Int64 = rows[places]
    return spread


class _Chunk:
    """Some query rows of a sequence, of whole query blocks."""

    def __init__(self, plan: _Plan, sequence: int, queries: Int64) -> None:
        self.plan, self.sequence, self.queries = plan, sequence, queries
        self.real = plan.real_keys(sequence)
        self.blocks, self.group = np.unique(queries // plan.table.block_m, return_inverse=True)
        self._masks: dict[int, Tensor] = {}
        self._spaces: dict[str, Tensor] = {}

    def mask(self, table: BlockTable) -> Tensor:
        """[rows, columns · block_n] whether each query attends to each key."""
        if id(table) not in self._masks:
            mask = np.zeros((len(self.queries), len(self.real)), np.bool_)
            mask[:, : table.k_len] = mask_rows(table, self.queries)
            self._masks[id(table)] = torch.from_numpy(mask).to(self.real.device) & self.real
        return self._masks[id(table)]

    def space(self, name: str, *shape: int) -> Tensor:
        """Return memory for numbers, the same for all heads: fetching it anew takes long."""
        if name not in self._spaces:
            device = self.real.device
            self._spaces[name] = torch.empty(shape, dtype=torch.float64, device=device)
        return self._spaces[name]

    def rows_of(self, output: Tensor) -> Tensor:
        """Return the rows of the output of one head, [batch, q_len, head_dim] in raster order."""
        return output[self.sequence][self.plan.raster(self.queries)].double()


class _Weights:
    """Weights of the rows of a chunk in one head, not normalized, and what each key block adds."""

    def __init__(self, chunk: _Chunk, head: int) -> None:
        self._chunk = chunk
        plan, rows = chunk.plan, len(chunk.queries)
        inputs, blocks = plan.inputs, (plan.table.columns, plan.table.block_n)
        place = chunk.sequence, head // (inputs.q.shape[1] // inputs.k.shape[1])
        q = inputs.q[chunk.sequence, head][plan.rows_of_q(chunk.queries)].double()
        k, v = (x[place][plan.keys].double() for x in (inputs.k, inputs.v))
        # With a column of ones a product with the values gives the sums of the weights, too.
        self._v = torch.nn.functional.pad(v, (0, 1), value=1.0)
        scores = chunk.space("weights", rows, len(k))
        torch.mm(q * inputs.scale, k.T, out=scores)
        scores.masked_fill_(~chunk.real, -torch.inf)
        self._weights = scores.sub_(scores.amax(dim=1, keepdim=True)).exp_()
        by_block = self._weights.view(rows, *blocks)
        outs = chunk.space("outs", blocks[0], rows, q.shape[1] + 1)
        torch.bmm(by_block.transpose(0, 1), self._v.view(*blocks, -1), out=outs)
        self._outs = outs.transpose(0, 1)
        """[rows, columns, head_dim + 1] weighted values of each key block, and the weights' sum."""
        together = outs.sum(dim=0)
        self._all = together[:, -1]
        self._dense = together[:, :-1] / self._all[:, None]
        self._ranks = self._ranked_blocks(np.random.default_rng([plan.seed, head, *place]))

    def compare(self, tables: Sequence[BlockTable], computed: Sequence[Tensor]) -> list[Found]:
        """Return what masks keep, and what other choices of blocks do.

        Args:
            tables: The masks.
            computed: [rows, head_dim] what a kernel gives for each, if one was asked.
        """
        found: list[Found] = []
        for number, table in enumerate(tables):
            kept = self._chunk.space("kept", *self._weights.shape)
            torch.mul(self._weights, self._chunk.mask(table), out=kept)
            outs = kept @ self._v
            found.append({"mask": self._rows(outs)})
            if computed:
                mass = outs[:, -1] / self._all
                found[-1]["kernel"] = RowFidelity.of(mass, computed[number], _divided(outs))
        chosen = torch.stack(
            [self._chosen(t, ranks) for t in tables for ranks in self._ranks.values()]
        )
        outs = torch.bmm(chosen.transpose(0, 1), self._outs).transpose(0, 1)
        for place, (one, name) in enumerate((one, name) for one in found for name in self._ranks):
            one[name] = self._rows(outs[place])
        return found

    def _rows(self, outs: Tensor) -> RowFidelity:
        """Compare what some weights sum up to with what all do."""
        return RowFidelity.of(outs[:, -1] / self._all, _divided(outs), self._dense)

    def _chosen(self, table: BlockTable, ranks: Int64) -> Tensor:
        """[rows, columns] 1 where a block is among as many as a mask visits, by rank; else 0."""
        counts = (np.diff(table.full.indptr) + np.diff(table.partial.indptr))[self._chunk.blocks]
        chosen = torch.from_numpy(ranks < counts[:, None])[torch.from_numpy(self._chunk.group)]
        return chosen.to(self._weights.device).double()

    def _ranked_blocks(self, rng: np.random.Generator) -> dict[str, Int64]:
        """[query blocks, columns] in which order each yardstick takes the key blocks."""
        chunk, table = self._chunk, self._chunk.plan.table
        shape = len(chunk.blocks), table.columns
        mass = np.zeros(shape)
        np.add.at(mass, chunk.group, (self._outs[..., -1] / self._all[:, None]).cpu().numpy())
        centres = table.q_start + (chunk.blocks + 0.5) * table.block_m
        away = np.abs((np.arange(table.columns) + 0.5) * table.block_n - centres[:, None])
        return {
            "best": _ranked(-mass),
            "window": _ranked(away),
            "random": _ranked(rng.random(shape)),
        }


def _ranked(keys: NDArray[np.float64]) -> Int64:
    """Return the rank of each column in its row, least first."""
    ranks: Int64 = keys.argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")
    return ranks


def _divided(outs: Tensor) -> Tensor:
    """Return sums of weighted values over those of the weights; zeros for a row without keys."""
    values, sums = outs[..., :-1], outs[..., -1:]
    return values / torch.where(sums > 0, sums, 1.0)


def _ratio(above: Tensor, below: Tensor) -> float:
    tiny = torch.finfo(torch.float64).tiny
    return float((above / below.clamp(min=tiny)).sqrt())
