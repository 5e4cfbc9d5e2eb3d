"""Fronts are those of brute force: no plan is dominated, and the hull has the best of all plans."""

from itertools import pairwise, product

import numpy as np
import pytest

from radialbench.errors import InputsError
from radialbench.fidelity.sampled import HeadPlace
from radialbench.masksearch.front import Combiner, Plan
from radialbench.masksearch.groups import Positions, group_places

PLACES = [
    HeadPlace(layer, step, 0, head) for layer, step in ((0, 0), (0, 3), (2, 3)) for head in (0, 4)
]
RNG = np.random.default_rng(5)
COSTS = np.array([1.0, 0.1, 0.3, 0.5, 0.7])
LOSSES = np.concatenate([np.zeros((6, 1)), RNG.random((6, 4)) * (1 - COSTS[1:])], axis=1)


def combiner(by: tuple[str, ...] = (), told: np.ndarray = LOSSES) -> Combiner:
    losses = np.stack([LOSSES, told])
    return Combiner(losses, COSTS, group_places(PLACES, by), Positions.of(PLACES, 4, 3))


def brute_force(by: tuple[str, ...]) -> np.ndarray:
    """[plans, 2] cost and loss of every plan, with its sums written out."""
    groups, found = group_places(PLACES, by), []
    nearest = Positions.of(PLACES, 4, 3).nearest
    for chosen in product(range(len(COSTS)), repeat=len(groups)):
        mask_of = {place: mask for group, mask in zip(groups, chosen, strict=True)
                   for place in group.members}  # fmt: skip
        cost = np.array([np.mean([COSTS[mask_of[2 * n + h]] for h in (0, 1)]) for n in range(3)])
        loss = np.array(
            [np.mean([LOSSES[2 * n + h, mask_of[2 * n + h]] for h in (0, 1)]) for n in range(3)]
        )
        for first, stop, dense in product(range(5), range(5), range(4)):
            if first <= stop:
                whole = np.ones((4, 3)), np.zeros((4, 3))
                for at, own in zip(whole, (cost, loss), strict=True):
                    at[first:stop, dense:] = own[nearest][first:stop, dense:]
                found.append([part.mean() for part in whole])
    return np.array(found)


@pytest.mark.parametrize("by", [(), ("head",), ("step",)])
def test_a_front_is_that_of_brute_force(by: tuple[str, ...]) -> None:
    plans = combiner(by).front()
    every = brute_force(by)
    for plan in plans:
        assert abs(every - [plan.cost, plan.loss]).sum(axis=1).min() < 1e-9
        assert plan.told == pytest.approx(plan.loss)
    for rate in (0.1, 1.0, 10.0):
        best = min(plan.cost + rate * plan.loss for plan in plans)
        assert best == pytest.approx((every @ [1, rate]).min())
    assert plans[-1].cost == 1
    assert plans[-1].loss == 0


def test_no_head_loses_more_than_it_may() -> None:
    losses, groups = np.stack([LOSSES, LOSSES]), group_places(PLACES, ["head"])
    free = Combiner(losses, COSTS, groups, Positions.of(PLACES, 4, 3)).front()
    bound = Combiner(losses, COSTS, groups, Positions.of(PLACES, 4, 3), 0.3).front()
    assert max(plan.worst for plan in free) > 0.3 >= max(plan.worst for plan in bound)
    assert len(bound) > 2
    assert {plan.schedule.share for plan in bound} > {1.0}, "steps that lose much can be dense"
    for plan in free:
        assert plan.worst > 0.3 or any(
            one.cost <= plan.cost and one.loss <= plan.loss for one in bound
        )


def test_no_plan_is_dominated_on_either_half() -> None:
    told = np.clip(LOSSES + 0.1 * RNG.standard_normal(LOSSES.shape), 0, 1) * (COSTS < 1)
    plans = combiner(("head", "layer", "step"), told).front()
    assert len(plans) > 4
    costs = [plan.cost for plan in plans]
    assert costs == sorted(costs)
    for name in ("loss", "told"):
        falling = [getattr(plan, name) for plan in plans]
        assert all(a > b for a, b in pairwise(falling))


def test_steps_and_layers_that_lose_much_are_dense() -> None:
    places = [HeadPlace(layer, step, 0, 0) for layer in (0, 5) for step in (0, 9)]
    losses = np.zeros((2, 4, 2))
    losses[:, :, 1] = [0.9, 0.9, 0.9, 0.02]  # Of layer 0, and of step 0 in layer 5.
    losses[:, 1, 1] = 0.9
    groups, positions = group_places(places), Positions.of(places, 10, 6)
    plans = Combiner(losses, np.array([1.0, 0.2]), groups, positions).front()
    (best,) = [plan for plan in plans if 0 < plan.loss < 0.1]
    assert (best.schedule.dense_steps, best.schedule.dense_from_step) == (5, 10)
    assert best.schedule.dense_layers == 3
    assert best.cost == pytest.approx(1 - 0.25 * 0.8)
    assert best.loss == pytest.approx(0.25 * 0.02)
    assert best.worst == 0.02, "heads that are dense lose nothing"
    (all_masked,) = [plan for plan in plans if plan.schedule.share == 1 and plan.loss > 0]
    assert all_masked.worst == 0.9


def test_last_steps_that_lose_much_are_dense() -> None:
    places = [HeadPlace(None, step, 0, 0) for step in (0, 4)]
    losses = np.zeros((2, 2, 2))
    losses[:, :, 1] = [0.01, 0.9]
    positions = Positions.of(places)
    plans = Combiner(losses, np.array([1.0, 0.2]), group_places(places), positions).front()
    best = min(plans, key=lambda plan: plan.cost + plan.loss)
    assert (best.schedule.dense_steps, best.schedule.dense_from_step) == (0, 3)


def test_groups_are_of_heads_layers_and_steps() -> None:
    (together,) = group_places(PLACES)
    assert (together.heads, together.layer, together.step) == ((0, 4), None, None)
    assert [group.heads for group in group_places(PLACES, ["head"])] == [(0,), (4,)]
    by_step = group_places(PLACES, ["step"])
    assert [(group.step, group.members) for group in by_step] == [(0, (0, 1)), (3, (2, 3, 4, 5))]
    assert len(group_places(PLACES, ["head", "layer", "step"])) == 6
    of_four = group_places(PLACES, (), [(4, 5)])
    assert [(group.heads, group.rest) for group in of_four] == [((0,), True), ((4,), False)]


@pytest.mark.parametrize(
    ("by", "heads", "message"),
    [
        (["heads"], [], "masks differ by head, layer or step; unknown word 'heads'"),
        ([], [(0,), (0, 4)], "head 0 is in two groups"),
        ([], [(7, 8)], "the inputs have none of the heads 7, 8"),
    ],
)
def test_groups_that_cannot_be_are_refused(
    by: list[str], heads: list[tuple[int, ...]], message: str
) -> None:
    with pytest.raises(InputsError, match=message):
        group_places(PLACES, by, heads)


def test_each_step_and_layer_has_the_nearest_inputs() -> None:
    positions = Positions.of(PLACES, 5, 4)
    assert (
        positions.nearest.tolist()
        == [[0, 0, 0, 0], [0, 0, 2, 2], [1, 1, 2, 2]] + [[1, 1, 2, 2]] * 2
    )
    assert positions.inputs.tolist() == [0, 0, 1, 1, 2, 2]
    with pytest.raises(InputsError, match="the inputs have step 3, which is not among 3"):
        Positions.of(PLACES, steps=3)
    with pytest.raises(InputsError, match="some of the inputs say no layer, and others do"):
        Positions.of([*PLACES, HeadPlace(None, 1, 0, 0)])
    alone = Positions.of([HeadPlace(None, None, 0, 0)], 50, 30)
    assert alone.nearest.shape == (50, 30)


def test_a_plan_without_loss_is_dense() -> None:
    plan = Plan((0,), combiner()._schedule(0, 4, 0), 1.0, 0.0, 0.0, 0.0)
    assert plan in combiner().front()
