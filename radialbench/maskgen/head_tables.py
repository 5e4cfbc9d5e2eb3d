"""HeadTables: the block table of every attention head, where heads have different masks."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from radialbench.errors import TableError
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.identity import MaskIdentity
from radialbench.maskgen.order import TokenOrder
from radialbench.maskgen.table import BlockTable


@dataclass(frozen=True, eq=False)
class HeadTables:
    """The tables of groups of heads, of one grid and block size; their token orders may differ.

    Attributes:
        tables: The table of each group.
        group_of_head: The group of each head.
        mask: The head plan they were compiled from; None for tables of another origin.

    Raises:
        TableError: The tables differ in grid or blocks, or a head's table does not exist.
    """

    tables: tuple[BlockTable, ...]
    group_of_head: tuple[int, ...]
    mask: MaskIdentity | None = None

    def __post_init__(self) -> None:
        shapes = {(table.grid, table.block_m, table.block_n) for table in self.tables}
        if len(shapes) != 1:
            raise TableError(f"tables of heads share grid and block size, got {len(shapes)} kinds")
        if not self.group_of_head or not set(self.group_of_head) <= set(range(len(self.tables))):
            raise TableError(
                f"heads take tables 0 to {len(self.tables) - 1}, got {list(self.group_of_head)}"
            )

    @property
    def label(self) -> str:
        """Name of the head plan for people."""
        return self.mask.label if self.mask else "the tables"

    @property
    def heads(self) -> int:
        """Number of heads."""
        return len(self.group_of_head)

    @property
    def grid(self) -> TokenGrid:
        """Token layout of all tables."""
        return self.tables[0].grid

    @property
    def block_m(self) -> int:
        """Query tokens of a block."""
        return self.tables[0].block_m

    @property
    def block_n(self) -> int:
        """Key tokens of a block."""
        return self.tables[0].block_n

    @property
    def q_len(self) -> int:
        """Query tokens."""
        return self.tables[0].q_len

    @property
    def k_len(self) -> int:
        """Key tokens."""
        return self.tables[0].k_len

    @property
    def rows(self) -> int:
        """Query blocks of a head."""
        return self.tables[0].rows

    @property
    def columns(self) -> int:
        """Key blocks of a head."""
        return self.tables[0].columns

    @property
    def by_head(self) -> tuple[BlockTable, ...]:
        """The table of each head."""
        return tuple(self.tables[group] for group in self.group_of_head)

    def of_heads(self, heads: Sequence[int]) -> "HeadTables":
        """Return the tables of some heads, by their numbers.

        Raises:
            TableError: There is no head of a number.
        """
        if heads and max(heads) >= self.heads:
            raise TableError(
                f"{self.label} has {self.heads} heads, and none of number {max(heads)}"
            )
        return replace(self, group_of_head=tuple(self.group_of_head[head] for head in heads))

    @property
    def orders(self) -> tuple[TokenOrder, ...]:
        """The token order of each head."""
        return tuple(table.order for table in self.by_head)

    @cached_property
    def pairs(self) -> int:
        """Attending pairs of all heads."""
        return sum(table.pairs for table in self.by_head)

    @property
    def nnz(self) -> int:
        """Visited blocks of all heads."""
        return sum(table.nnz for table in self.by_head)

    @property
    def density(self) -> float:
        """Attending pairs as a share of all pairs."""
        return self.pairs / (self.heads * self.q_len * self.k_len)

    @property
    def block_density(self) -> float:
        """Visited blocks as a share of all blocks."""
        return self.nnz / (self.heads * self.rows * self.columns)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(table.nbytes for table in self.tables)

    def flops(self, heads: int, head_dim: int) -> int:
        """Return the floating point operations of the masks, for the heads of all sequences."""
        return 4 * head_dim * self.pairs * (heads // self.heads)

    def executed_flops(self, heads: int, head_dim: int) -> int:
        """Return the floating point operations of the visited blocks, computed whole."""
        blocks = self.nnz * (heads // self.heads)
        return 4 * head_dim * blocks * self.block_m * self.block_n


AnyTable = BlockTable | HeadTables
"""One table for all heads, or that of each head."""


def tables_by_head(table: AnyTable, heads: int) -> tuple[BlockTable, ...]:
    """Return the table of each head."""
    return table.by_head if isinstance(table, HeadTables) else (table,) * heads
