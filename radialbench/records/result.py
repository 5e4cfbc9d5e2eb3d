"""Record: the outcome of one case, with everything needed to verify it."""

from dataclasses import dataclass, field
from enum import StrEnum

from radialbench.errors import RecordError
from radialbench.maskgen.identity import MaskIdentity
from radialbench.records import codec
from radialbench.records.fidelity import Fidelity, InputsIdentity
from radialbench.records.measurement import Accuracy, Measurement, Memory, Telemetry
from radialbench.records.problem import FP8, KernelConfig, Problem, group_id

SCHEMA = 2
"""Version of the stored form. 1: the first. 2: mask, grid and limits of the GPU in fields."""

CEILING_SIZE = 8192
"""Rows and columns of the matrices of `Record.ceiling`."""

CEILING_FLOPS = 2 * CEILING_SIZE**3


class Status(StrEnum):
    """How a case ended."""

    OK = "ok"
    UNSUPPORTED = "unsupported"
    OOM = "oom"
    TIMEOUT = "timeout"
    CRASHED = "crashed"
    FAILED = "failed"
    INACCURATE = "inaccurate"


RETRYABLE = (Status.TIMEOUT, Status.CRASHED, Status.FAILED, Status.INACCURATE)
"""Statuses that fail a run, are tried again on resume, and are replaced by a later record."""


@dataclass(frozen=True, slots=True)
class Environment:
    """Where a case ran.

    Attributes:
        device: Where attention ran: a GPU's name, or `cpu`.
        cpu: The processor's name.
        cores: Cores this process may use.
        threads: Threads the arithmetic used.
        memory_bytes: Memory of the machine.
        os: Operating system and its version.
        python: Version of Python.
        versions: Versions of the libraries present, by name.
        commit: Commit of the source, `+` after it if changed; None outside a checkout.
        command: The command line.
        host: A short hash of the machine's name.
        max_sm_mhz: Highest clock of a GPU's SMs; None on a CPU or if not known, as the next two.
        max_memory_mhz: Highest clock of its memory.
        power_limit_w: Its power limit.
        card: A short hash of the GPU's serial number, which distinguishes GPUs of one kind; None on
            a CPU or if not known.
        load: Processes that ran or waited per core of the machine, over the minute before the first
            case; None if not known.
    """

    device: str
    cpu: str
    cores: int
    threads: int
    memory_bytes: int
    os: str
    python: str
    versions: dict[str, str] = field(hash=False)
    commit: str | None
    command: str
    host: str | None = None
    max_sm_mhz: int | None = None
    max_memory_mhz: int | None = None
    power_limit_w: float | None = None
    card: str | None = None
    load: float | None = None

    def __post_init__(self) -> None:
        codec.check_text(self, "device")
        codec.check_ints(self, "cores", "threads", at_least=1)
        codec.check_ints(self, "memory_bytes", "max_sm_mhz", "max_memory_mhz", at_least=0)
        codec.check_numbers(self, "power_limit_w", "load")
        object.__setattr__(self, "versions", dict(sorted(self.versions.items())))

    @property
    def clocks(self) -> str | None:
        """Limits of a GPU's clocks and power: `SM 1980 MHz, memory 2619 MHz, power 700 W`."""
        limits = (
            ("SM", self.max_sm_mhz, "MHz"),
            ("memory", self.max_memory_mhz, "MHz"),
            ("power", self.power_limit_w, "W"),
        )
        known = [f"{name} {most:.0f} {unit}" for name, most, unit in limits if most is not None]
        return ", ".join(known) or None

    @property
    def processor(self) -> str:
        """Name of the GPU or CPU that attention ran on."""
        return self.cpu if self.device == "cpu" else self.device


@dataclass(frozen=True, slots=True)
class TableStats:
    """Contents and cost of a block table.

    Attributes:
        pairs: Attending (query, key) pairs.
        density: Share of all pairs.
        block_density: Visited blocks as a share of all blocks.
        full: Blocks with only attending pairs.
        partial: Other visited blocks.
        bitmaps: Distinct bitmaps of the partial blocks.
        nbytes: Bytes of the table.
        flops: FLOPs of the attending pairs, over all sequences and heads.
        executed_flops: FLOPs of the visited blocks, computed whole.
        compile_ms: Time to compile the table, once.
    """

    pairs: int
    density: float
    block_density: float
    full: int
    partial: int
    bitmaps: int
    nbytes: int
    flops: int
    executed_flops: int
    compile_ms: float

    def __post_init__(self) -> None:
        counts = ("pairs", "full", "partial", "bitmaps", "nbytes", "flops", "executed_flops")
        codec.check_ints(self, *counts, at_least=0)
        codec.check_share(self, "density", "block_density")
        codec.check_numbers(self, "compile_ms")


@dataclass(frozen=True, slots=True)
class Record:
    """The outcome of one case.

    Attributes:
        schema: Version of the stored form.
        suite: Name of the suite.
        case: The case's id, unique in its suite and the same in every run.
        measure: `attention`, or `compile` for the time to compile the mask's table.
        mask: The mask.
        model: The preset of the grid; None where it is no model's.
        problem: What was computed.
        backend: What computed it; None where only a table was compiled.
        config: The kernel's configuration.
        config_source: Where the configuration comes from.
        table: The block table; None if it could not be compiled.
        status: How the case ended.
        reason: Why it did not end well; None exactly when it did.
        accuracy: Distance from the definition; None where it was not measured.
        timing: Samples; set exactly when the status is ok.
        permute_ms: Time to bring q, k, v into the mask's order and the output back.
        plan_ms: Time of the backend's planning.
        memory: Peak memory of a call.
        environment: Where it ran.
        created: When it ended, in ISO 8601 with its zone.
        isolated: Samples of launches that each follow a pause, on a GPU.
        ceiling: Samples of a matmul of `CEILING_SIZE`³ in the inputs' dtype, taken in turn with
            `timing`: the GPU's rate at that moment.
        telemetry: The GPU's counters over repeated calls.
        gates: The suite's gates, the least changes that count in a check: `latency=5%`.
        inputs: What q, k and v were; None for normal numbers.
        fidelity: What the mask keeps, of those inputs or others; None where it was not measured.
    """

    schema: int
    suite: str
    case: str
    measure: str
    mask: MaskIdentity
    model: str | None
    problem: Problem
    backend: str | None
    config: KernelConfig
    config_source: str
    table: TableStats | None
    status: Status
    reason: str | None
    accuracy: Accuracy | None
    timing: Measurement | None
    permute_ms: float | None
    plan_ms: float | None
    memory: Memory | None
    environment: Environment
    created: str
    isolated: Measurement | None = None
    ceiling: Measurement | None = None
    telemetry: Telemetry | None = None
    gates: tuple[str, ...] = ()
    inputs: InputsIdentity | None = None
    fidelity: Fidelity | None = None

    def __post_init__(self) -> None:
        codec.check_ints(self, "schema", at_least=1)
        codec.check_text(self, "suite", "case", "config_source")
        if self.mask.fingerprint != self.problem.mask_fingerprint:
            raise RecordError(f"Record.mask is not the mask of Record.problem ({self.case})")
        codec.check_choice(self, "measure", ("attention", "compile"))
        codec.check_numbers(self, "permute_ms", "plan_ms")
        ok = self.status == Status.OK
        if ok != (self.timing is not None):
            raise RecordError(f"Record.timing is set exactly when a case is ok ({self.case})")
        if ok != (self.reason is None) or self.reason == "":
            raise RecordError(f"Record.reason is set exactly when a case is not ok ({self.case})")
        if self.measure == "compile" and (self.backend, self.accuracy) != (None, None):
            raise RecordError(f"compiling has no backend and no accuracy ({self.case})")
        if self.measure == "attention" and self.backend is None:
            raise RecordError(f"attention needs a backend ({self.case})")
        if ok and self.measure == "attention" and not (self.accuracy and self.accuracy.passed):
            raise RecordError(f"no time without an accurate result ({self.case})")
        codec.check_time(self, "created")

    @property
    def group(self) -> str:
        """Name of the cases that are compared with each other: all but mask and backend."""
        return group_id(self.problem, self.model, self.inputs)

    @property
    def fp8(self) -> bool:
        """Whether its backend computes in 8 bits, of inputs in the problem's type."""
        return self.backend in FP8

    @property
    def sweep(self) -> str:
        """Name of the cases that differ only in mask, backend and frames; F is for the frames."""
        return group_id(self.problem, self.model, self.inputs, sweep=True, joint=" ")
