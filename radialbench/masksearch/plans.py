"""Points of a front as head plans, ready to run."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import yaml

from radialbench.maskgen.compiler import compile_mask
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.head_tables import HeadTables
from radialbench.maskgen.language.heads import HeadPlan
from radialbench.maskgen.language.spec import MaskSpec
from radialbench.maskgen.library import plan_of_heads
from radialbench.maskgen.table import BlockTable
from radialbench.masksearch.groups import Group, Positions
from radialbench.records.front import FrontPoint
from radialbench.records.problem import KernelConfig
from radialbench.reports.front import describe_point


class PlanTables:
    """Tables of masks by head, each mask compiled once."""

    def __init__(self, grid: TokenGrid, config: KernelConfig) -> None:
        self._grid, self._blocks = grid, (config.block_m, config.block_n)
        self._made: dict[MaskSpec, BlockTable] = {}

    def of(self, masks: Sequence[MaskSpec]) -> HeadTables:
        """Return the tables of heads, by the mask of each."""
        distinct = list(dict.fromkeys(masks))
        for mask in distinct:
            if mask not in self._made:
                self._made[mask] = compile_mask(mask, self._grid, *self._blocks)
        tables = tuple(self._made[mask] for mask in distinct)
        return HeadTables(tables, tuple(distinct.index(mask) for mask in masks))


def head_plans(
    point: FrontPoint, masks: Sequence[MaskSpec], groups: Sequence[Group], heads: int | None = None
) -> dict[str, HeadPlan]:
    """Return the head plan of each layer and step that has masks of its own.

    Heads that the inputs lack have the mask of the group without heads of its own, and are dense
    if there is none.

    Args:
        point: The point.
        masks: The mask of each group.
        groups: The groups.
        heads: Heads of the model; up to the last of the inputs if not given.

    Returns:
        The plans by their names: `07`, or `07-layer03-step010` where masks differ by layer and
        step.
    """
    count = heads or 1 + max(head for group in groups for head in group.heads)
    known = {head for group in groups for head in group.heads}
    found: dict[str, dict[int, MaskSpec]] = {}
    for group, mask in zip(groups, masks, strict=True):
        own = found.setdefault(_name(point, group), {})
        own |= dict.fromkeys(group.heads, mask)
        if group.rest:
            own |= dict.fromkeys(set(range(count)) - known, mask)
    about = describe_point(point)
    return {name: plan_of_heads(f"plan-{name}", own, count, about) for name, own in found.items()}


def schedule_yaml(point: FrontPoint, groups: Sequence[Group], positions: Positions) -> str | None:
    """Write a point's schedule, whose masks are its head plans beside it; see `MaskSchedule`.

    Returns:
        A YAML document; None if masks differ neither by layer nor by step.
    """
    names = {
        int(positions.inputs[member]): _name(point, group)
        for group in groups
        for member in group.members
    }
    if len(set(names.values())) == 1:
        return None
    schedule = point.schedule
    rules: list[dict[str, Any]] = []
    if schedule.dense_layers:
        rules.append({"mask": "dense", "layers": _range(0, schedule.dense_layers)})
    if schedule.dense_steps:
        rules.append({"mask": "dense", "steps": _range(0, schedule.dense_steps)})
    if schedule.dense_from_step < schedule.steps:
        rules.append({"mask": "dense", "steps": f"{schedule.dense_from_step}-"})
    first = 0
    for nearest, steps in groupby(map(tuple, positions.nearest.tolist())):
        stop = first + len(list(steps))
        planned = [names[number] for number in nearest]
        for name in dict.fromkeys(planned):
            rule: dict[str, Any] = {"mask": f"{name}.yaml"}
            if len(set(planned)) > 1:
                rule["layers"] = ",".join(_runs(planned, name))
            if stop - first < positions.steps:
                rule["steps"] = _range(first, stop)
            rules.append(rule)
        first = stop
    about = {"name": f"plan-{point.number:02}", "rules": rules}
    return yaml.safe_dump(about, sort_keys=False, default_flow_style=None, width=100)


def _name(point: FrontPoint, group: Group) -> str:
    name = f"{point.number:02}"
    name += "" if group.layer is None else f"-layer{group.layer:02}"
    return name + ("" if group.step is None else f"-step{group.step:03}")


def _range(first: int, stop: int) -> str:
    return str(first) if stop == first + 1 else f"{first}-{stop - 1}"


def _runs(planned: Sequence[str], name: str) -> Iterator[str]:
    """Yield the ranges of layers that have a plan."""
    first = 0
    for other, layers in groupby(planned):
        stop = first + len(list(layers))
        if other == name:
            yield _range(first, stop)
        first = stop
