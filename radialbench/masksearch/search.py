"""The search: masks are tried on sampled rows, and combined to a front of head plans."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from math import inf

import numpy as np

from radialbench.errors import BackendError, InputsError, SpecError, TableError
from radialbench.fidelity.run import combined_identity
from radialbench.fidelity.sampled import LOSSES, MASS, SampledRows
from radialbench.fidelity.settings import SAMPLED_ROWS, Source
from radialbench.maskgen.compiler import compile_mask
from radialbench.maskgen.language.spec import MaskSpec
from radialbench.maskgen.library import load_mask
from radialbench.maskgen.table import BlockTable
from radialbench.masksearch.cost import Cost, ExecutedBlocks, MeasuredTime
from radialbench.masksearch.front import Combiner, Plan
from radialbench.masksearch.groups import Group, Positions, group_places
from radialbench.masksearch.plans import PlanTables
from radialbench.masksearch.propose import Choice, Proposer
from radialbench.masksearch.space import Family
from radialbench.masksearch.trials import MaskTrial, TrialStore
from radialbench.records.front import BLOCKS, COSTS, SCHEMA, TIME, ChosenMask, FrontPoint
from radialbench.records.problem import KernelConfig
from radialbench.records.result import Environment

TRIALS = 100
"""Masks that are tried, unless asked otherwise."""

BATCH = 8
"""Masks of a pass over the rows."""

DIGITS = 7
"""Digits of a loss that are kept."""


@dataclass(frozen=True)
class SearchSettings:
    """How masks are searched.

    Attributes:
        loss: `mass`, the attention mass that is not kept, or `error`, that of the output.
        cost: `blocks` or `time`; by default times on a GPU, and blocks elsewhere.
        by: What masks may differ by: `head`, `layer`, `step`.
        head_groups: Heads that share a mask.
        steps: Steps of sampling; up to the last of the inputs if not given.
        layers: Layers of the model; up to the last of the inputs if not given.
        heads: Heads of the model; up to the last of the inputs if not given.
        most_loss: The most that a head under masks may lose; no bound if not given.
        trials: Masks to try, with those of earlier runs.
        rows: Query rows of each head.
        seed: Seed of the rows and of the search.
        device: `cpu` or `cuda`.
        config: Blocks of the tables.
    """

    loss: str = MASS
    cost: str | None = None
    by: Collection[str] = ()
    head_groups: Sequence[tuple[int, ...]] = ()
    steps: int | None = None
    layers: int | None = None
    heads: int | None = None
    most_loss: float | None = None
    trials: int = TRIALS
    rows: int = SAMPLED_ROWS
    seed: int = 0
    device: str = "cpu"
    config: KernelConfig = field(default_factory=KernelConfig)

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise InputsError(f"a mask loses {' or '.join(LOSSES)}, got {self.loss!r}")
        if self.cost not in (None, *COSTS):
            raise InputsError(f"a mask costs {' or '.join(COSTS)}, got {self.cost!r}")
        if self.cost == TIME and self.device == "cpu":
            raise InputsError("times are measured on a GPU: take --device cuda, or --cost blocks")

    @property
    def cost_kind(self) -> str:
        """The cost that is taken."""
        return self.cost or (BLOCKS if self.device == "cpu" else TIME)


@dataclass(frozen=True)
class Searched:
    """What a search has found.

    Attributes:
        points: The front, the cheapest first; the last is dense attention.
        plans: The masks of each point's groups.
        groups: The groups.
        positions: The inputs that stand for each step and layer.
        trials: The masks that were tried.
    """

    points: tuple[FrontPoint, ...]
    plans: tuple[tuple[MaskSpec, ...], ...]
    groups: tuple[Group, ...]
    positions: Positions
    trials: tuple[MaskTrial, ...]


def search_masks(
    sources: Sequence[Source],
    families: Sequence[Family],
    settings: SearchSettings,
    environment: Environment,
    *,
    storage: str,
    on_share: Callable[[float], None] = lambda share: None,
) -> Searched:
    """Search for masks that keep much and cost little, on inputs on one grid.

    Args:
        sources: Inputs of layers and steps.
        families: Families of masks.
        settings: How to search.
        environment: Where.
        storage: Where trials are kept, as that of `autotune.study.Study`.
        on_share: Called with the share of the trials that is done.

    Raises:
        InputsError: The inputs cannot be read, or do not fit what is asked.
        SpecError: No mask that was tried fits the grid, or runs here.
        BackendError: Our kernels cannot run masks here, where times are the cost.
        AutotuneError: The storage cannot be used.
    """
    sampled = SampledRows(sources, settings.rows, seed=settings.seed, device=settings.device)
    last = max(place.head for place in sampled.places)
    if settings.heads is not None and settings.heads <= last:
        raise InputsError(f"the inputs have head {last}, which is not among {settings.heads}")
    groups = group_places(sampled.places, settings.by, settings.head_groups)
    positions = Positions.of(sampled.places, settings.steps, settings.layers)
    cost: Cost = ExecutedBlocks(sampled.grid, settings.config)
    if settings.cost_kind == TIME:
        cost = MeasuredTime(sources[0].load(settings.device), settings.config)
    store = TrialStore(storage, _study_name(sources, settings, environment))
    proposer = Proposer(families, [group.members for group in groups], settings.seed)
    trials = store.trials(families)
    while len(trials) < settings.trials:
        count = min(BATCH, settings.trials - len(trials))
        choices = proposer.propose(trials, count)
        if not choices:
            break
        ends = len(trials) / settings.trials, (len(trials) + len(choices)) / settings.trials
        batch = _try(choices, families, sampled, cost, settings, _part(on_share, *ends))
        store.add(batch)
        trials += batch
    sound = [trial for trial in trials if trial.cost is not None]
    if not sound:
        raise SpecError(f"no mask fits the grid {sampled.grid.label}: {trials[0].reason}")
    dense = load_mask("dense")
    losses = np.array([trial.losses for trial in sound]).transpose(1, 2, 0)
    losses = np.concatenate([np.zeros_like(losses[..., :1]), losses], axis=2)
    costs = np.array([1.0, *(trial.cost for trial in sound)])
    masks = [dense, *(trial.mask for trial in sound)]
    most = inf if settings.most_loss is None else settings.most_loss
    plans = Combiner(losses, costs, groups, positions, most).front()
    point = _Describer(
        *(sources, sampled.rows, groups, settings, environment, cost, len(trials)),
        PlanTables(sampled.grid, settings.config),
    )
    return Searched(
        tuple(point(number, plan, masks) for number, plan in enumerate(plans, start=1)),
        tuple(tuple(masks[index] for index in plan.chosen) for plan in plans),
        groups,
        positions,
        tuple(trials),
    )


def _try(
    choices: Sequence[Choice],
    families: Sequence[Family],
    sampled: SampledRows,
    cost: Cost,
    settings: SearchSettings,
    on_share: Callable[[float], None],
) -> list[MaskTrial]:
    """Try masks in one pass over the rows."""
    by_word = {family.word: family for family in families}
    made: list[tuple[Choice, MaskSpec, BlockTable | str]] = []
    for word, place in choices:
        mask = by_word[word].at(place)
        table = _compiled(mask, sampled, settings.config)
        made.append(((word, place), mask, table))
    tables = [table for _, _, table in made if isinstance(table, BlockTable)]
    lost = iter(sampled.losses(tables, settings.loss, on_share).transpose(2, 0, 1).tolist())
    found = []
    for choice, mask, table in made:
        if isinstance(table, str):
            found.append(MaskTrial(*choice, mask, reason=table))
            continue
        losses = tuple(tuple(round(one, DIGITS) for one in half) for half in next(lost))
        try:
            share, ms = cost.of(table)
        except BackendError as error:
            found.append(MaskTrial(*choice, mask, reason=str(error)))
        else:
            found.append(MaskTrial(*choice, mask, share, ms, losses))
    return found


def _part(on_share: Callable[[float], None], start: float, stop: float) -> Callable[[float], None]:
    return lambda share: on_share(start + share * (stop - start))


def _compiled(mask: MaskSpec, sampled: SampledRows, config: KernelConfig) -> BlockTable | str:
    """Return a mask's table, or why it does not fit the grid."""
    try:
        return compile_mask(mask, sampled.grid, config.block_m, config.block_n)
    except (SpecError, TableError) as error:
        return str(error)


def _study_name(
    sources: Sequence[Source], settings: SearchSettings, environment: Environment
) -> str:
    """Return a name that differs where the result of a trial may."""
    facts = [
        *(source.identity.digest for source in sources),
        *(settings.loss, settings.rows, settings.seed, settings.cost_kind),
        *(settings.config.block_m, settings.config.block_n),
        (environment.device, environment.versions) if settings.cost_kind == TIME else "",
    ]
    return f"masks {blake2b(repr(facts).encode(), digest_size=8).hexdigest()}"


@dataclass(frozen=True)
class _Describer:
    """Makes the stored points of a front."""

    sources: Sequence[Source]
    rows: int
    groups: Sequence[Group]
    settings: SearchSettings
    environment: Environment
    cost: Cost
    trials: int
    tables: PlanTables

    def __call__(self, number: int, plan: Plan, masks: Sequence[MaskSpec]) -> FrontPoint:
        settings = self.settings
        return FrontPoint(
            schema=SCHEMA,
            number=number,
            inputs=combined_identity(self.sources),
            grid=self.sources[0].header.grid,
            config=settings.config,
            rows=self.rows,
            cost_kind=settings.cost_kind,
            cost=plan.cost,
            dense_ms=self.cost.dense_ms,
            masked_ms=self._ms(plan, masks),
            loss_kind=settings.loss,
            loss=plan.told,
            worst_loss=plan.worst,
            masks=self._chosen(plan, masks),
            schedule=plan.schedule,
            trials=self.trials,
            environment=self.environment,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def _ms(self, plan: Plan, masks: Sequence[MaskSpec]) -> float | None:
        """Measure the masks of a plan in one call, if all layers and steps have the same."""
        several = any(not (one.layer is one.step is None) for one in self.groups)
        if self.cost.dense_ms is None or several:
            return None
        pairs = zip(self.groups, plan.chosen, strict=True)
        mask_of = {head: masks[index] for group, index in pairs for head in group.heads}
        heads = self.sources[0].header.heads
        return self.cost.of(self.tables.of([mask_of[head] for head in heads]))[1]

    def _chosen(self, plan: Plan, masks: Sequence[MaskSpec]) -> tuple[ChosenMask, ...]:
        """Return the mask of each group; heads of one layer and step with equal masks are one."""
        heads: dict[tuple[int | None, int | None, int], tuple[int, ...]] = {}
        for group, index in zip(self.groups, plan.chosen, strict=True):
            key = (group.layer, group.step, index)
            heads[key] = (*heads.get(key, ()), *group.heads)
        return tuple(
            ChosenMask(tuple(sorted(numbers)), layer, step, masks[index].identity)
            for (layer, step, index), numbers in heads.items()
        )
