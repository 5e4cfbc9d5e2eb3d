"""Groups of heads that share a mask, and the steps and layers of a model that inputs stand for."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from radialbench.errors import InputsError, unknown
from radialbench.fidelity.mass import Int64
from radialbench.fidelity.sampled import HeadPlace

BY = ("head", "layer", "step")
"""What masks may differ by."""

REST = -1
"""Number of the group of all heads that are in no other."""


@dataclass(frozen=True)
class Group:
    """Heads that share a mask.

    Attributes:
        heads: Their numbers in the model, of those that the inputs have.
        rest: Whether all other heads of the model belong to it, too.
        layer: The layer of the inputs; None for all.
        step: The step of the inputs; None for all.
        members: Indices of the places that are in it.
    """

    heads: tuple[int, ...]
    rest: bool
    layer: int | None
    step: int | None
    members: tuple[int, ...]


def group_places(
    places: Sequence[HeadPlace],
    by: Collection[str] = (),
    head_groups: Sequence[tuple[int, ...]] = (),
) -> tuple[Group, ...]:
    """Return the groups of heads.

    Args:
        places: The heads of the inputs.
        by: What masks may differ by, of `BY`.
        head_groups: Heads that share a mask; the others share one, too, or with `head` have their
            own.

    Raises:
        InputsError: There is no such word, a head is in two groups, or the inputs have none of a
            group's heads.
    """
    for word in by:
        if word not in BY:
            raise InputsError(f"masks differ by head, layer or step; {unknown('word', word, BY)}")
    known = {place.head for place in places}
    group_of: dict[int, int] = {}
    for number, heads in enumerate(head_groups):
        for head in heads:
            if head in group_of:
                raise InputsError(f"head {head} is in two groups")
            group_of[head] = number
        if not known & set(heads):
            raise InputsError(f"the inputs have none of the heads {', '.join(map(str, heads))}")
    own = {head: (len(head_groups) + head if "head" in by else REST) for head in known}
    found: dict[tuple[int, int | None, int | None], list[int]] = {}
    for number, place in enumerate(places):
        key = (
            group_of.get(place.head, own[place.head]),
            place.layer if "layer" in by else None,
            place.step if "step" in by else None,
        )
        found.setdefault(key, []).append(number)
    return tuple(
        Group(
            heads=tuple(sorted({places[number].head for number in members})),
            rest=group == REST,
            layer=layer,
            step=step,
            members=tuple(members),
        )
        for (group, layer, step), members in found.items()
    )


@dataclass(frozen=True, eq=False)
class Positions:
    """Which inputs stand for each step and layer of a model: the nearest ones.

    Attributes:
        nearest: [steps, layers] index of the inputs of a layer and step.
        inputs: [places] that of each place.
    """

    nearest: Int64
    inputs: Int64

    @classmethod
    def of(
        cls, places: Sequence[HeadPlace], steps: int | None = None, layers: int | None = None
    ) -> "Positions":
        """Return the positions of a model.

        Args:
            places: The heads of the inputs.
            steps: Steps of sampling; up to the last of the inputs if not given.
            layers: Layers of the model; up to the last of the inputs if not given.

        Raises:
            InputsError: The inputs have a later step or layer, or some have none.
        """
        keys = list(dict.fromkeys((place.step, place.layer) for place in places))
        at = np.empty((len(keys), 2))
        counts = []
        for axis, (word, given) in enumerate((("step", steps), ("layer", layers))):
            numbers = [key[axis] for key in keys]
            known = [number for number in numbers if number is not None]
            if known and len(known) < len(numbers):
                raise InputsError(f"some of the inputs say no {word}, and others do")
            last = max(known, default=0)
            if given is not None and given <= last:
                raise InputsError(f"the inputs have {word} {last}, which is not among {given}")
            counts.append(given or last + 1)
            at[:, axis] = [number or 0 for number in numbers]
        ticks = np.stack(np.meshgrid(*map(np.arange, counts), indexing="ij"), axis=-1)
        away = np.abs(ticks[:, :, None] - at) / np.array(counts)
        return cls(
            nearest=away.sum(axis=-1).argmin(axis=-1),
            inputs=np.array([keys.index((place.step, place.layer)) for place in places]),
        )

    @property
    def steps(self) -> int:
        """Steps of sampling."""
        return len(self.nearest)

    @property
    def layers(self) -> int:
        """Layers of the model."""
        return int(self.nearest.shape[1])
