"""Plan a suite: the points of its matrices as cases, in stable order with stable ids."""

import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from itertools import groupby, product
from math import prod
from pathlib import Path

from radialbench.errors import SuiteError
from radialbench.fidelity.files import InputsFile
from radialbench.kernels.tuned import find_config
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.identity import MaskIdentity
from radialbench.maskgen.language.heads import AnyMask
from radialbench.records.fidelity import InputsIdentity
from radialbench.records.problem import KernelConfig, Problem, backend_id, group_id
from radialbench.records.result import SCHEMA, Environment, Record, Status
from radialbench.suites.read import LIBRARY
from radialbench.suites.schema import FidelityOf, Matrix, Protocol, SuiteSpec

MAX_CASES = 100_000
WORK_FLOOR = 50.0


@dataclass(frozen=True, slots=True)
class Case:
    """One point of a suite.

    Attributes:
        suite: Name of the suite.
        id: What is measured; the same in every run, whatever else the suite holds.
        measure: `attention` or `compile`.
        identity: Which mask it is, by the suite's name for it.
        mask: The mask, or the head plan.
        model: The preset whose grid it is; None where the grid is no model's.
        problem: What is computed.
        backend: What computes it; None for `compile`.
        config: How.
        config_source: Where the configuration comes from: `suite`, or `default` where the suite
            leaves it open, which `tuned` may replace by `tuned` or `transferred`.
        device: `auto`, `cpu` or `cuda`.
        protocol: How it is sampled.
        config_reason: Why this configuration, where the suite leaves it open and a device is known.
        gates: The least change of a metric that counts in a check, as `latency=5%`.
        give_up_ms: There is only one sample if the first timed calls take longer.
        inputs: File of q, k and v; None for normal numbers.
        fidelity: How to measure what the mask keeps; None not to.
    """

    suite: str
    id: str
    measure: str
    identity: MaskIdentity
    mask: AnyMask
    model: str | None
    problem: Problem
    backend: str | None
    config: KernelConfig
    config_source: str
    device: str
    protocol: Protocol
    config_reason: str = ""
    gates: tuple[str, ...] = ()
    give_up_ms: float | None = None
    inputs: InputsFile | None = None
    fidelity: FidelityOf | None = None

    @property
    def grid(self) -> TokenGrid:
        """The token layout."""
        return self.problem.grid

    @property
    def group(self) -> str:
        """The shape that cases which differ only in mask and backend share."""
        return group_id(self.problem, self.model, self.identity_of_inputs)

    @property
    def identity_of_inputs(self) -> InputsIdentity | None:
        """What q, k and v are; None for normal numbers."""
        return self.inputs.identity if self.inputs else None

    @property
    def in_turn(self) -> bool:
        """Whether it is sampled in turn with its neighbours; compiling never is."""
        return self.protocol.interleave and self.measure != "compile"

    @property
    def work(self) -> float:
        """A rough weight for the time left: dense GFLOP, and a floor for small cases."""
        problem = self.problem
        if self.measure == "compile":
            return WORK_FLOOR
        heads = problem.batch * problem.heads
        pairs = problem.q_len * problem.seq_len
        return WORK_FLOOR + 2e-9 * problem.matmuls * heads * problem.head_dim * pairs

    def record(self, environment: Environment) -> Record:
        """Return the record of the case before it is tried in an environment."""
        return Record(
            schema=SCHEMA,
            suite=self.suite,
            case=self.id,
            measure=self.measure,
            mask=self.identity,
            model=self.model,
            problem=self.problem,
            backend=self.backend,
            config=self.config,
            config_source=self.config_source,
            table=None,
            status=Status.FAILED,
            reason="was not tried",
            accuracy=None,
            timing=None,
            permute_ms=None,
            plan_ms=None,
            memory=None,
            environment=environment,
            created=now(),
            gates=self.gates,
            inputs=self.identity_of_inputs,
        )


@dataclass(frozen=True, slots=True)
class Preparing:
    """A case is about to be prepared; `place` in its batch counts from 0."""

    place: int


@dataclass(frozen=True, slots=True)
class Sampling:
    """All cases of a batch are prepared: the record of each, and whether it is sampled now."""

    records: tuple[Record, ...]
    sampled: tuple[bool, ...]


Step = Preparing | Sampling
"""What trying a batch reports: a message from the process that measures."""


def now() -> str:
    """Return the present time as records store it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def ended(record: Record, status: Status, reason: str) -> Record:
    """Return a record with a status other than ok, and its reason in one line."""
    line = " ".join(reason.split()) or status.value
    return replace(record, status=status, reason=line[:1000], timing=None)


def plan(
    spec: SuiteSpec, patterns: Iterable[str] = (), *, shard: str | None = None
) -> tuple[Case, ...]:
    """List the cases of a suite, backends innermost, so that they share a mask's table.

    The plan is the same on every machine; `tuned` adds the configurations tuned for a device.

    Args:
        spec: The suite.
        patterns: Ids to keep: a pattern with `*`, `?` or `[`, or a part of the id. All if empty.
        shard: A share of those: `2/3` is the second of three of about equal work, the same in
            every run. Cases that are sampled together stay together.

    Raises:
        SuiteError: Nothing is left to run, there are too many cases, two have one id, or there is
            no such shard.
    """
    points = sum(prod(map(len, matrix.axes())) for matrix in spec.cases)
    if points > MAX_CASES:
        raise SuiteError(f"{spec.source}: plans {points:,} cases; at most {MAX_CASES:,} are run")
    cases: dict[str, Case] = {}
    places: dict[str, str] = {}
    for matrix in spec.cases:
        for case in _cases(spec, matrix):
            if case.id in cases:
                if spec.changed:
                    continue
                both = " and ".join(dict.fromkeys((places[case.id], matrix.where)))
                raise SuiteError(
                    f"{spec.source}: case {case.id} is planned twice, in {both}; "
                    "remove one, or give its mask a label"
                )
            cases[case.id], places[case.id] = case, matrix.where
        if matrix.where not in places.values() and not spec.changed:
            raise SuiteError(f"{spec.source}: {matrix.where}: its exclude rules leave no case")
    if not cases:
        raise SuiteError(f"{spec.source}: the exclude rules of its matrices leave no case")
    kept = _kept(spec, tuple(cases.values()), tuple(patterns))
    return kept if shard is None else _share(spec, kept, shard)


def tuned(cases: Iterable[Case], processor: str | None) -> tuple[Case, ...]:
    """Return the cases, with tuned configurations where the suite leaves them open.

    Their ids stay the same. Nothing changes without the name of a GPU or CPU.

    Raises:
        RecordError: The tuned configurations cannot be read.
    """
    return tuple(_tuned(case, processor) for case in cases)


def batches(cases: Iterable[Case]) -> Iterator[list[Case]]:
    """Split cases into those that are sampled together: neighbours of one group and protocol."""
    for _, batch in groupby(cases, lambda c: (c.group, c.protocol) if c.in_turn else c.id):
        yield list(batch)


def _tuned(case: Case, processor: str | None) -> Case:
    if processor is None or case.backend is None or case.config_source != "default":
        return case
    choice = find_config(case.problem, case.backend, processor, default=case.config)
    source, reason = choice.source, choice.reason
    return replace(case, config=choice.config, config_source=source, config_reason=reason)


def _share(spec: SuiteSpec, cases: tuple[Case, ...], shard: str) -> tuple[Case, ...]:
    """Assign the batches to shards, the heaviest first to the lightest shard; return one shard."""
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", shard)
    place, count = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= place <= count:
        raise SuiteError(f"a shard is i/n, from 1/n to n/n, such as 2/3, got {shard[:40]!r}")
    works = [(sum(case.work for case in batch), batch) for batch in batches(cases)]
    if count > len(works):
        raise SuiteError(
            f"{spec.name} has {len(works)} parts to share out, and {count} shards are asked for; "
            f"{len(works)} is the most"
        )
    loads = [0.0] * count
    own: set[str] = set()
    for work, batch in sorted(works, key=lambda pair: -pair[0]):
        lightest = loads.index(min(loads))
        loads[lightest] += work
        if lightest == place - 1:
            own |= {case.id for case in batch}
    return tuple(case for case in cases if case.id in own)


def _cases(spec: SuiteSpec, matrix: Matrix) -> Iterator[Case]:
    for place, mask, (backend, config, source) in product(*matrix.axes()):
        tokens = place.grid.seq_len
        if any(rule.matches(mask.id, backend, tokens) for rule in matrix.exclude or ()):
            continue
        inputs = matrix.inputs_of(place.grid)
        problem = replace(matrix.problem(place), mask_fingerprint=mask.spec.fingerprint)
        group = group_id(problem, place.model, inputs.identity if inputs else None)
        yield Case(
            suite=spec.name,
            id=f"{mask.id}/{group}/{backend_id(backend, config)}",
            measure=matrix.measure,
            identity=mask.identity,
            mask=mask.spec,
            model=place.model,
            problem=problem,
            backend=backend,
            config=config,
            config_source=source,
            device=spec.device,
            protocol=matrix.protocol,
            gates=matrix.gates.stated,
            inputs=inputs,
            fidelity=matrix.fidelity_of(place.grid),
        )


def _kept(spec: SuiteSpec, cases: tuple[Case, ...], patterns: tuple[str, ...]) -> tuple[Case, ...]:
    if not patterns:
        return cases
    kept = tuple(case for case in cases if any(_fits(case.id, pattern) for pattern in patterns))
    if not kept:
        source = Path(spec.source)
        suite = source.stem if source.parent == LIBRARY else spec.source
        raise SuiteError(
            f"no case of {spec.name} fits {', '.join(map(repr, patterns))}; ids look like "
            f"{cases[0].id}. To list them: radialbench suite plan {shlex.quote(suite)}"
        )
    return kept


def _fits(identity: str, pattern: str) -> bool:
    if any(sign in pattern for sign in "*?["):
        return fnmatchcase(identity, pattern)
    return pattern in identity
