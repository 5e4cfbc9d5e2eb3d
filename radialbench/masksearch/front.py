"""The front: masks of groups and a schedule, of which no other keeps more for less.

Cost and loss of a plan are sums over heads, layers and steps. So once the two have an exchange rate
each group's mask is chosen by itself, as that of the least cost + rate · loss, for each box of
steps and layers that a schedule may leave to masks. What a step or layer gains is constant between
inputs, so that only boxes with edges halfway between inputs can be the best. The plan of a rate is
the best of all at it, and the plans of many rates are the front's convex hull. Plans with one mask
for all heads are added, as the hull leaves those in its dents out.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import inf

import numpy as np

from radialbench.fidelity.mass import Floats, Int64
from radialbench.masksearch.groups import Group, Positions
from radialbench.records.front import Schedule

RATES = 10 ** np.linspace(-1, 3, 401)
"""Exchange rates: what a whole loss is worth, in costs of dense attention."""

SPACING = 0.02
"""Plans of a front are about so far apart in cost: of those that are nearer the last is kept."""

CHUNK = 4_000_000
"""Sums of groups, boxes and masks that are made at a time."""


@dataclass(frozen=True)
class Plan:
    """A mask for each group, and a schedule.

    Attributes:
        chosen: Index of each group's mask.
        schedule: The steps and layers under masks.
        cost: Share of what dense attention costs.
        loss: What is lost on the rows that the masks were chosen by.
        told: On the other rows.
        worst: What the head loses on those that loses most, of those under masks.
    """

    chosen: tuple[int, ...]
    schedule: Schedule
    cost: float
    loss: float
    told: float
    worst: float


class Combiner:
    """Combines masks of groups to plans.

    Args:
        losses: [halves, places, masks] what each mask loses in each head.
        costs: [masks] share of what dense attention costs; the first is dense attention.
        groups: The groups; each place is in one.
        positions: The steps and layers of the model.
        most_loss: The most that a head under masks may lose, on the rows that masks are chosen by.
    """

    def __init__(
        self,
        losses: Floats,
        costs: Floats,
        groups: Sequence[Group],
        positions: Positions,
        most_loss: float = inf,
    ) -> None:
        self._costs, self._groups, self._positions = costs, groups, positions
        self._told = losses[1]
        self._group = np.empty(losses.shape[1], np.int64)
        inputs, count = positions.inputs, int(positions.inputs.max()) + 1
        shape = (2, len(groups), count, len(costs))
        # [halves, groups, inputs, masks] sums over heads, as shares of all heads of the inputs.
        self._losses = np.zeros(shape)
        self._heads = np.zeros(shape[1:3])
        # [groups, inputs, masks] whether a head would lose too much.
        self._barred = np.zeros(shape[1:], np.bool_)
        size = np.bincount(inputs, minlength=count)
        for number, group in enumerate(groups):
            self._group[list(group.members)] = number
            for place in group.members:
                own = inputs[place]
                self._losses[:, number, own] += losses[:, place] / size[own]
                self._heads[number, own] += 1 / size[own]
                self._barred[number, own] |= losses[0, place] > most_loss

    def front(self) -> list[Plan]:
        """Return plans that no other beats in cost and loss, on either half of the rows.

        The last loses nothing: it is dense attention, or as good.
        """
        whole = self._schedule(0, self._positions.steps, 0)
        masks = np.flatnonzero(~self._barred.any(axis=(0, 1))).tolist()
        plans = [self._plan((mask,) * len(self._groups), whole) for mask in masks]
        plans += [self._plan(*found) for found in self._hull()]
        plans = undominated(plans, lambda plan: plan.loss)
        *sparse, last = undominated(plans, lambda plan: plan.told)
        spaced = {int(plan.cost / SPACING): plan for plan in sparse if plan.cost <= 1 - SPACING / 2}
        return [*spaced.values(), last]

    def _hull(self) -> Iterator[tuple[tuple[int, ...], Schedule]]:
        """Yield the masks and the schedule of the best plan at each rate."""
        boxes = self._boxes()
        weights = np.stack([self._weights(box) for box in boxes])
        best: list[tuple[float, tuple[int, ...], Schedule]] = []
        size = max(1, CHUNK // (len(self._groups) * len(self._costs)))
        for start in range(0, len(boxes), size):
            part = weights[start : start + size]
            loss = np.einsum("bi,gim->bgm", part, self._losses[0])
            barred = np.einsum("bi,gim->bgm", part > 0, self._barred, dtype=np.float64) > 0
            cost = np.where(barred, inf, (part @ self._heads.T)[:, :, None] * self._costs)
            for number, rate in enumerate(RATES):
                worth = rate * loss + cost
                totals = worth.min(axis=2).sum(axis=1) + 1 - part.sum(axis=1)
                box = int(totals.argmin())
                chosen = tuple(worth[box].argmin(axis=1).tolist())
                found = float(totals[box]), chosen, boxes[start + box]
                if start == 0:
                    best.append(found)
                elif found[0] < best[number][0]:
                    best[number] = found
        for _, chosen, schedule in best:
            yield chosen, schedule

    def _boxes(self) -> list[Schedule]:
        """Return the schedules whose edges lie between inputs, the largest first."""
        nearest = self._positions.nearest
        steps, layers = (
            [0, *(1 + np.flatnonzero((np.diff(own, axis=0) != 0).any(axis=1))), len(own)]
            for own in (nearest, nearest.T)
        )
        boxes = [
            self._schedule(int(first), int(stop), int(dense))
            for first, stop in combinations(steps, 2)
            for dense in layers[:-1]
        ]
        # Of equal plans the first is taken: the one with the fewest exceptions.
        return sorted(boxes, key=lambda box: -box.share)

    def _schedule(self, first: int, stop: int, dense_layers: int) -> Schedule:
        positions = self._positions
        return Schedule(positions.steps, positions.layers, first, stop, dense_layers)

    def _weights(self, schedule: Schedule) -> Floats:
        """[inputs] share of all steps and layers that each stands for under masks."""
        box = self._positions.nearest[
            schedule.dense_steps : schedule.dense_from_step, schedule.dense_layers :
        ]
        counts = np.bincount(box.ravel(), minlength=self._losses.shape[2])
        weights: Floats = counts / self._positions.nearest.size
        return weights

    def _of_inputs(self, chosen: tuple[int, ...]) -> tuple[Floats, Floats, Floats]:
        """[inputs] what chosen masks save, and lose on both halves, in the inputs."""
        index: Int64 = np.array(chosen)
        gain = (1 - self._costs[index]) @ self._heads
        loss, told = self._losses[:, np.arange(len(index)), :, index].sum(axis=0)
        return gain, loss, told

    def _plan(self, chosen: tuple[int, ...], schedule: Schedule) -> Plan:
        weights = self._weights(schedule)
        gain, loss, told = (float(part @ weights) for part in self._of_inputs(chosen))
        of_heads = self._told[np.arange(len(self._group)), np.array(chosen)[self._group]]
        worst = float((of_heads * (weights[self._positions.inputs] > 0)).max())
        # Rounded, so that equal sums in another turn are equal.
        return Plan(chosen, schedule, *(round(one, 12) for one in (1 - gain, loss, told, worst)))


def undominated(plans: Iterable[Plan], loss: Callable[[Plan], float]) -> list[Plan]:
    """Return the plans for which no other costs as little and loses as little, cheapest first."""
    found: list[Plan] = []
    for plan in sorted(plans, key=lambda plan: (plan.cost, loss(plan))):
        if not found or loss(plan) < loss(found[-1]):
            found.append(plan)
    return found
