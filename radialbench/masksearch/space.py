"""Families of masks, and the values of their parameters that a search may take."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import log10, prod

import numpy as np

from radialbench.errors import SpecError, unknown
from radialbench.maskgen.language.spec import MaskSpec
from radialbench.maskgen.language.tree import Param
from radialbench.maskgen.library import is_head_plan, load_mask

VALUES = 65
"""Most values of a parameter that are tried; of a range with more, values spread over it."""

WIDE = 8
"""Ranges whose ends have at least this ratio are searched by ratios."""

DEFAULT_FAMILIES = ("radial", "sta", "svg_spatial", "svg_temporal", "neighborhood")

Place = tuple[int, ...]
"""Index of the value on each axis of a family."""


@dataclass(frozen=True, slots=True)
class Axis:
    """A parameter that is searched, and its values, ascending."""

    name: str
    values: tuple[float, ...]

    @classmethod
    def of(cls, param: Param, low: float, high: float) -> "Axis":
        """Return the values of a parameter from `low` to `high`.

        Raises:
            SpecError: As `Param.check_search`.
        """
        low, high = param.check_search(low, high)
        whole = param.kind == "int"
        count = min(VALUES, int(high - low) + 1) if whole else VALUES
        geometric = low > 0 and high / low >= WIDE and (not whole or high - low >= VALUES)
        spread = (np.geomspace if geometric else np.linspace)(low, high, count).tolist()
        if whole:
            return cls(param.name, tuple(sorted({round(value) for value in spread})))
        inner = [_brief(value) for value in spread[1:-1]]
        return cls(param.name, tuple(sorted({low, *inner, high})))


@dataclass(frozen=True)
class Family:
    """A mask whose parameters are searched.

    Attributes:
        word: The mask as it was asked for: a name of the library, also with a preset, or a file.
        mask: The mask, with the values that are not searched.
        axes: The parameters that are searched.
    """

    word: str
    mask: MaskSpec
    axes: tuple[Axis, ...]

    @property
    def size(self) -> int:
        """How many masks it has."""
        return prod(len(axis.values) for axis in self.axes)

    @cached_property
    def start(self) -> Place:
        """The place nearest to the mask's own values."""
        values = {param.name: float(param.value) for param in self.mask.params}
        return tuple(
            int(np.abs(np.array(axis.values) - values[axis.name]).argmin()) for axis in self.axes
        )

    def at(self, place: Place) -> MaskSpec:
        """Return the mask at a place."""
        named = zip(self.axes, place, strict=True)
        return self.mask.with_params(**{axis.name: axis.values[index] for axis, index in named})


def read_families(words: Sequence[str], ranges: Iterable[str] = ()) -> tuple[Family, ...]:
    """Load families of masks.

    Args:
        words: Masks of the library, also with a preset (`svg_profile:wan_spatial`), or YAML files.
        ranges: Ranges that replace those that masks state as `search`, such as
            `radial.decay=0.1..4`, or `decay=0.1..4` of every family that has it; a value instead of
            a range fixes the parameter.

    Raises:
        SpecError: There is no such mask or parameter, a word is given twice or is a head plan, or a
            range is no range of its parameter.
    """
    if len(set(words)) < len(words):
        raise SpecError(f"a family is given once, got {', '.join(words)}")
    masks = {word: _load(word) for word in words}
    given: dict[str, dict[str, tuple[float, float]]] = {word: {} for word in masks}
    for text in ranges:
        for word, name, ends in _read_range(text, masks):
            given[word][name] = ends
    return tuple(_family(word, mask, given[word]) for word, mask in masks.items())


def _load(word: str) -> MaskSpec:
    if word.endswith((".yaml", ".yml")) and is_head_plan(word):
        raise SpecError(f"{word} is a head plan: a family is a mask with parameters")
    mask = load_mask(word)
    if mask.table_names:
        raise SpecError(
            f"{word} needs the block table {mask.table_names[0]!r}, which no search has"
        )
    return mask


def _family(word: str, mask: MaskSpec, given: Mapping[str, tuple[float, float]]) -> Family:
    axes = []
    for param in mask.params:
        ends = given.get(param.name, param.search)
        if ends is None:
            continue
        try:
            axes.append(Axis.of(param, *ends))
        except SpecError as error:
            raise SpecError(f"{word}: {error}") from None
    return Family(word, mask, tuple(axes))


def _read_range(
    text: str, masks: Mapping[str, MaskSpec]
) -> list[tuple[str, str, tuple[float, float]]]:
    """Return the family, the parameter and the range of each family that a text is about."""
    match = re.fullmatch(r"(?:(.+)\.)?(\w+)=([^=]+?)(?:\.\.([^=]+))?", text.strip())
    if match is None:
        raise SpecError(
            f"a range is such as radial.decay=0.1..4 or decay=0.1..4, got {text[:60]!r}"
        )
    word, name, low, high = match.groups()
    if word is not None and word not in masks:
        raise SpecError(unknown("family in a range", word, masks))
    about = [word] if word is not None else list(masks)
    names = {one: {param.name for param in masks[one].params} for one in about}
    having = [one for one in about if name in names[one]]
    if not having:
        of = f"parameter of {word}" if word is not None else "parameter of the families"
        raise SpecError(unknown(of, name, set().union(*names.values())))
    ends = _number(low, text), _number(high or low, text)
    return [(one, name, ends) for one in having]


def _number(text: str, place: str) -> float:
    try:
        return int(text) if re.fullmatch(r"\s*[+-]?\d{1,15}\s*", text) else float(text)
    except ValueError:
        raise SpecError(f"the range {place[:60]!r} has no number at {text[:20]!r}") from None


def _brief(value: float) -> float:
    """Round to three digits: more make no other mask, and nobody reads them."""
    return round(value, 2 - int(np.floor(log10(abs(value))))) if value else 0.0
