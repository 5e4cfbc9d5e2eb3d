"""Means over heads, layers and steps have the interval of what differs independently."""

from dataclasses import replace

import numpy as np
import pytest

from radialbench.records.fidelity import Fidelity
from tests.reports.factory import kept


def of(layers: int, heads: int, steps: int) -> Fidelity:
    """Return what is kept where layers differ by 0.2, heads by 0.02 and steps by nothing."""
    rng = np.random.default_rng(0)
    (like,) = kept(0.5, heads=1).heads
    found = []
    for layer in range(layers):
        mass = 0.5 + 0.2 * rng.normal()
        for head in range(heads):
            own = replace(like.kept, mass=float(np.clip(mass + 0.02 * rng.normal(), 0, 1)))
            place = replace(like, layer=layer, head=head, kept=own)
            found += [replace(place, step=step) for step in range(steps)]
    return replace(kept(0.5), heads=tuple(found))


def width(fidelity: Fidelity) -> float:
    ends = fidelity.mass_kept.ends
    assert ends is not None
    return ends[1] - ends[0]


def test_more_steps_of_the_same_heads_tell_no_more() -> None:
    assert of(1, 8, 1).mass_kept == of(1, 8, 9).mass_kept
    assert of(1, 4, 9).mass_kept.ends is None


def test_heads_of_a_layer_are_one_unit_where_layers_are_enough() -> None:
    assert width(of(8, 12, 2)) > 0.15
    assert width(of(5, 12, 2)) < width(of(8, 12, 2)) / 1.5
    heads = of(8, 12, 2).heads
    assert of(8, 12, 2).mass_kept.value == pytest.approx(np.mean([one.kept.mass for one in heads]))


def test_quantiles_are_those_of_numpy() -> None:
    fidelity = of(3, 7, 1)
    mass = [one.kept.mass for one in fidelity.heads]
    errors = [one.kept.error for one in fidelity.heads]
    assert fidelity.mass_p10 == pytest.approx(np.quantile(mass, 0.1))
    assert fidelity.error_p90 == pytest.approx(np.quantile(errors, 0.9))
    assert kept(0.5, heads=1).mass_p10 == 0.5


def test_there_is_no_place_where_random_blocks_are_as_good_as_the_best() -> None:
    assert kept(0.7, best=1.0, random=0.995).place is None
    assert kept(0.7, best=1.0, random=0.5).place == pytest.approx(0.4)
