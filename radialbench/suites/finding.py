"""What trying cases tells: how far it is, and in the end what was found."""

from dataclasses import dataclass, replace

from radialbench.records.measurement import Accuracy, Measurement, Memory, Telemetry
from radialbench.records.result import Status, TableStats


@dataclass(frozen=True, slots=True)
class Finding:
    """What trying a case gave; the part of a record that is not known before.

    Attributes:
        status: How it ended.
        reason: Why it did not end well.
        table: The block table's figures.
        accuracy: Distance from the definition.
        timing: Samples.
        permute_ms: Time of the token order.
        plan_ms: Time of planning.
        memory: Peak memory of a call.
        isolated: Samples of launches that each follow a pause.
        ceiling: Samples of the matrix product beside it.
        telemetry: What the GPU's counters said.
    """

    status: Status = Status.OK
    reason: str | None = None
    table: TableStats | None = None
    accuracy: Accuracy | None = None
    timing: Measurement | None = None
    permute_ms: float | None = None
    plan_ms: float | None = None
    memory: Memory | None = None
    isolated: Measurement | None = None
    ceiling: Measurement | None = None
    telemetry: Telemetry | None = None

    def ended(self, status: Status, reason: str) -> "Finding":
        """The same, without a time and with the reason."""
        line = " ".join(reason.split()) or status.value
        return replace(self, status=status, reason=line[:1000], timing=None)


@dataclass(frozen=True, slots=True)
class Begins:
    """A case is about to be prepared.

    Attributes:
        place: Its place among those that are tried together, from 0.
    """

    place: int


@dataclass(frozen=True, slots=True)
class Samples:
    """All cases that are tried together are prepared; those that can be are sampled from here on.

    Attributes:
        found: What is known of each; one that is not ok has ended.
    """

    found: tuple[Finding, ...]


Step = Begins | Samples
