"""FidelityRecord: fidelity of a mask with what is needed to measure it again, and its file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.identity import MaskIdentity
from radialbench.records import codec
from radialbench.records.fidelity import Fidelity
from radialbench.records.problem import KernelConfig
from radialbench.records.result import Environment, TableStats
from radialbench.records.store import read_every, write_errors, write_whole

SCHEMA = 1
"""Version of the stored form."""


@dataclass(frozen=True, slots=True)
class FidelityRecord:
    """Fidelity of a mask on a grid, with what is needed to measure it again.

    Attributes:
        schema: Version of the stored form.
        mask: The mask.
        grid: Layout of the tokens.
        config: The blocks of the table.
        table: The block table: what the mask costs.
        fidelity: What it keeps.
        seconds: How long that took.
        environment: Where it was measured.
        created: When, in ISO 8601 with its zone.
    """

    schema: int
    mask: MaskIdentity
    grid: TokenGrid
    config: KernelConfig
    table: TableStats
    fidelity: Fidelity
    seconds: float
    environment: Environment
    created: str

    def __post_init__(self) -> None:
        codec.check_ints(self, "schema", at_least=1)
        codec.check_numbers(self, "seconds")
        codec.check_time(self, "created")


def read_fidelity(path: Path) -> tuple[FidelityRecord, ...]:
    """Read a file of fidelity records.

    Raises:
        RecordError: The file cannot be read, or a line is no such record of this version; the
            message names the line.
    """
    hint = "Mend the line, or remove it"
    return read_every(path, FidelityRecord, SCHEMA, what="a fidelity", hint=hint)


def write_fidelity(path: Path, records: Sequence[FidelityRecord]) -> None:
    """Write a file of fidelity records, in place of the former one.

    Raises:
        RecordError: The folder cannot be used.
        WriteError: The disk is full; the former file is kept.
    """
    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, records)
