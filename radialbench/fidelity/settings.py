"""How fidelity is measured, and of what; without PyTorch."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from radialbench.fidelity.files import InputsHeader
from radialbench.records.fidelity import InputsIdentity
from radialbench.records.problem import KernelConfig

if TYPE_CHECKING:
    from radialbench.fidelity.inputs import AttentionInputs

SAMPLED_ROWS = 256
"""Rows of each head that are looked at, if not all."""

LEAST_HEAD_DIM = 32
"""Least head_dim of generated inputs."""

BOUND = 0.9
"""Mass below which a row counts as one that loses much."""


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

    @property
    def shape(self) -> tuple[int, ...]:
        """[batch, heads, rows, head_dim] of q."""
        ...

    def load(self, device: str = "cpu") -> "AttentionInputs":
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
