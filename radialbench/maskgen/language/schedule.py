"""MaskSchedule: the mask of each layer in each denoising step, or that it is dense."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import chain
from typing import Annotated, Any

from pydantic import Field

from radialbench.errors import SpecError
from radialbench.maskgen.document import Document
from radialbench.maskgen.language.heads import AnyMask, HeadPlan
from radialbench.maskgen.language.schema import Entry, Scalar, Words, built
from radialbench.maskgen.language.spec import at_key
from radialbench.plain import plain

MAX_LAYERS = 4096
DENSE = "dense"

LoadAny = Callable[[str], AnyMask]
"""Loads a mask or a head plan by its name in a file."""

Active = tuple[tuple[frozenset[int] | None, int | None], ...]
"""What holds in a step, the first that has a layer decides: layers, None for all; number of the
mask, None for dense."""


@dataclass(frozen=True, slots=True)
class ScheduleRule:
    """What some layers attend under in some steps.

    Attributes:
        mask: A mask or head plan; None if they are dense.
        layers: Numbers of the layers, or patterns of their names in the model; None for all.
        steps: First and last step, from 0; the last is None if it goes on to the end. None for all.
        noise: Least and greatest share of noise, from 0 to 1; None for all.
    """

    mask: AnyMask | None
    layers: tuple[int | str, ...] | None = None
    steps: tuple[int, int | None] | None = None
    noise: tuple[float, float] | None = None

    @property
    def always(self) -> bool:
        """Whether it holds in every step."""
        return self.steps is None and self.noise is None

    def holds(self, step: int, noise: float) -> bool:
        """Return whether it holds in a step."""
        if self.steps is not None:
            first, last = self.steps
            if step < first or (last is not None and step > last):
                return False
        return self.noise is None or self.noise[0] <= noise <= self.noise[1]


@dataclass(frozen=True)
class MaskSchedule:
    """Rules of which the first that holds for a layer and step decides; dense if none does.

    Attributes:
        rules: The rules.
        name: Name for people.
        file: Name of the file it was read from; None for one made in Python.

    Raises:
        SpecError: It has no mask at all.
    """

    rules: tuple[ScheduleRule, ...]
    name: str = "schedule"
    file: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not self.masks:
            raise SpecError(f"all of {self.name} is dense: a schedule has a rule with a mask")

    @classmethod
    def of(
        cls,
        mask: AnyMask,
        *,
        dense_layers: int = 0,
        dense_steps: int = 0,
        dense_from_step: int | None = None,
    ) -> "MaskSchedule":
        """Return a mask's schedule with first layers and steps, and last steps, that are dense.

        Raises:
            SpecError: A number is negative or not whole.
        """
        layers, steps, last = plain(dense_layers), plain(dense_steps), plain(dense_from_step)
        counts = {"dense_layers": layers, "dense_steps": steps, "dense_from_step": last or 0}
        for name, count in counts.items():
            if not isinstance(count, int) or isinstance(count, bool) or count < 0:
                raise SpecError(f"{name} must be a whole number from 0, got {count!r}")
        rules = [ScheduleRule(None, layers=tuple(range(layers)))] if layers else []
        rules += [ScheduleRule(None, steps=(0, steps - 1))] if steps else []
        rules += [ScheduleRule(None, steps=(last, None))] if last is not None else []
        return cls((*rules, ScheduleRule(mask)), mask.label)

    @cached_property
    def masks(self) -> tuple[AnyMask, ...]:
        """The different masks, in the order of the rules."""
        return tuple(dict.fromkeys(rule.mask for rule in self.rules if rule.mask is not None))

    @property
    def by_step(self) -> bool:
        """Whether steps differ."""
        return not all(rule.always for rule in self.rules)

    @property
    def needs(self) -> tuple[str, ...]:
        """What rules ask for: the layer, the step, its noise."""
        asked = {
            "layer": any(rule.layers is not None for rule in self.rules),
            "step": any(rule.steps is not None for rule in self.rules),
            "noise": any(rule.noise is not None for rule in self.rules),
        }
        return tuple(name for name, is_asked in asked.items() if is_asked)

    @property
    def by_name(self) -> bool:
        """Whether layers are named."""
        return any(isinstance(one, str) for rule in self.rules for one in rule.layers or ())

    def numbered(self, names: Sequence[str]) -> "MaskSchedule":
        """Return the schedule with the number of every layer, by the names of a model's layers.

        Raises:
            SpecError: The model has no such layer.
        """
        rules = []
        for rule in self.rules:
            if rule.layers is not None:
                found = chain.from_iterable(_found(one, names, self.name) for one in rule.layers)
                rule = replace(rule, layers=tuple(sorted(set(found))))
            rules.append(rule)
        return replace(self, rules=tuple(rules))

    def active(self, step: int, noise: float) -> Active:
        """Return what holds in a step; `mask_in` looks a layer up in it."""
        found: list[tuple[frozenset[int] | None, int | None]] = []
        for rule in self.rules:
            if not rule.holds(step, noise):
                continue
            number = None if rule.mask is None else self.masks.index(rule.mask)
            layers = None
            if rule.layers is not None:
                layers = frozenset(one for one in rule.layers if isinstance(one, int))
            found.append((layers, number))
            if layers is None:
                break
        return tuple(found)

    def may_be_sparse(self, layer: int) -> bool:
        """Return whether a layer has a mask in some step."""
        for rule in self.rules:
            if rule.layers is None or layer in rule.layers:
                if rule.mask is not None:
                    return True
                if rule.always:
                    return False
        return False


def mask_in(active: Active, layer: int | None) -> int | None:
    """Return the number of a layer's mask, None if it is dense; without a layer, that of all."""
    for layers, number in active:
        if layers is None or layer in layers:
            return number
    return None


def _found(one: int | str, names: Sequence[str], title: str) -> list[int]:
    if isinstance(one, str):
        if found := [at for at, name in enumerate(names) if fnmatchcase(name, one)]:
            return found
        raise SpecError(f"{title}: no layer is named {one!r}; there are {names[0]} to {names[-1]}")
    if not -len(names) <= one < len(names):
        raise SpecError(f"{title}: there is no layer {one}, the model has {len(names)}")
    return [one % len(names)]


def parse_layers(value: Any) -> tuple[int | str, ...]:
    """Read layers: numbers, ranges such as `0-3,38-39`, or patterns of names; or a list of them.

    Negative numbers count from the end.

    Raises:
        SpecError: It is none of these.
    """
    if isinstance(value, list):
        return tuple(chain.from_iterable(map(parse_layers, value)))
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < MAX_LAYERS:
        return (value,)
    if not isinstance(value, str) or not value.strip():
        raise SpecError(f"layers are numbers, ranges such as 0-3 or names, got {value!r}")
    found: list[int | str] = []
    for part in (one.strip() for one in value.split(",")):
        if match := re.fullmatch(r"(\d{1,4})\s*-\s*(\d{1,4})", part):
            first, last = int(match[1]), int(match[2])
            if not first <= last < MAX_LAYERS:
                raise SpecError(f"a range of layers rises, got {part!r}")
            found.extend(range(first, last + 1))
        elif re.fullmatch(r"-?\d{1,4}", part):
            found.append(int(part))
        elif re.match(r"[A-Za-z_*]", part):
            found.append(part)
        else:
            raise SpecError(f"layers are numbers, ranges such as 0-3 or names, got {part[:40]!r}")
    return tuple(found)


def parse_steps(value: Any) -> tuple[int, int | None]:
    """Read steps: `7`, `0-11`, or `40-` to the end.

    Raises:
        SpecError: It is none of these.
    """
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    match = re.fullmatch(r"\s*(\d{1,6})\s*(-)?\s*(\d{1,6})?\s*", text)
    if not match or (match[3] and not match[2]):
        raise SpecError(f"steps are a number or a range such as 0-11 or 40-, got {value!r}")
    first = int(match[1])
    last = int(match[3]) if match[3] else None if match[2] else first
    if last is not None and last < first:
        raise SpecError(f"a range of steps rises, got {value!r}")
    return first, last


class RuleEntry(Entry):
    """A rule of a schedule."""

    mask: str = Field(
        description="A mask of the library, the file of a mask or head plan, or dense",
        examples=["radial", "plans/07.yaml", "dense"],
    )
    params: Words[Scalar] = Field(default_factory=dict, description="Parameters of the mask")
    layers: int | str | list[int | str] | None = Field(
        default=None,
        description="Layers by number, from 0 or from -1 at the end, or by name",
        examples=["0-3", [0, -1], "single_transformer_blocks.*"],
    )
    steps: int | str | None = Field(
        default=None, description="Denoising steps, from 0", examples=["0-11", "40-"]
    )
    noise: Annotated[list[float], Field(min_length=2, max_length=2)] | None = Field(
        default=None,
        description="Least and greatest share of noise, of 0 to 1",
        examples=[[0.9, 1]],
    )

    def rule(self, load: LoadAny) -> ScheduleRule:
        """Return the rule.

        Raises:
            SpecErrorAt: A value is not allowed, or there is no such mask.
        """
        with at_key("mask"):
            dense = self.mask == DENSE and not self.params
            mask = None if dense else load(self.mask)
        with at_key("params"):
            if isinstance(mask, HeadPlan) and self.params:
                raise SpecError("a head plan states its parameters itself")
            if mask is not None and not isinstance(mask, HeadPlan):
                mask = mask.with_params(**self.params)
        with at_key("layers"):
            layers = None if self.layers is None else parse_layers(self.layers)
        with at_key("steps"):
            steps = None if self.steps is None else parse_steps(self.steps)
        with at_key("noise"):
            noise = None if self.noise is None else (self.noise[0], self.noise[1])
            if noise is not None and not 0 <= noise[0] <= noise[1] <= 1:
                raise SpecError(f"a share of noise rises from 0 to 1, got {list(noise)}")
        return ScheduleRule(mask, layers, steps, noise)


class ScheduleFile(Entry):
    """A radialbench schedule: masks by layer and denoising step."""

    name: str = Field(default="schedule", description="Name for people")
    rules: Annotated[list[RuleEntry], Field(min_length=1, max_length=4096)] = Field(
        description="The first that holds for a layer and step decides; if none does, it is dense"
    )

    def schedule(self, load: LoadAny) -> MaskSchedule:
        """Return the schedule.

        Raises:
            SpecErrorAt: A rule is wrong.
        """
        rules = []
        for number, entry in enumerate(self.rules):
            with at_key("rules", number):
                rules.append(entry.rule(load))
        return MaskSchedule(tuple(rules), self.name)


def read_schedule(document: Document, load: LoadAny) -> MaskSchedule:
    """Read a schedule from a document.

    Args:
        document: The document.
        load: Loads a mask or a head plan that a rule names.

    Raises:
        SpecError: The document is no schedule; the message has line and column.
    """
    return built(document, ScheduleFile, lambda file: file.schedule(load), {})
