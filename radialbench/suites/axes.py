"""Axes of a suite that the command line replaces, checked as the YAML would be."""

import copy
import shlex
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import product
from math import inf
from pathlib import PurePath
from typing import Any

from radialbench.errors import SuiteError, unknown
from radialbench.maskgen.document import Document, named

Case = dict[str, Any]
"""An entry of `cases`, as YAML has it."""

SINGLE = ("heads", "head_dim", "batch", "dtype")
"""Keys of a matrix that hold one value: a list of them makes a matrix of each."""


@dataclass(frozen=True)
class Axes:
    """Values that stand in place of a suite's own, in all of its cases.

    Attributes:
        frames: Frames of the token grid.
        heads: Heads; a head plan needs its own.
        head_dim: Head dimensions.
        batch: Sequences.
        dtype: Types of q, k and v.
        backend: Backends; one that a case has keeps its options.
        params: Values of masks' parameters, by `mask.parameter`.
    """

    frames: tuple[int, ...] = ()
    heads: tuple[int, ...] = ()
    head_dim: tuple[int, ...] = ()
    batch: tuple[int, ...] = ()
    dtype: tuple[str, ...] = ()
    backend: tuple[str, ...] = ()
    params: Mapping[str, tuple[bool | int | float, ...]] = field(default_factory=dict)

    @property
    def words(self) -> list[str]:
        """The command line's words for them."""
        found: list[str] = []
        for name in ("frames", *SINGLE):
            if values := getattr(self, name):
                found += [f"--{name.replace('_', '-')}", ",".join(map(str, values))]
        found += [word for name in self.backend for word in ("--backend", name)]
        for name, values in self.params.items():
            found += ["--set", f"{name}={','.join(map(_text, values))}"]
        return found

    def __str__(self) -> str:
        return shlex.join(self.words)

    def __bool__(self) -> bool:
        return bool(self.words)

    def over(self, document: Document) -> Document:
        """Return a suite's document with these values.

        Raises:
            SuiteError: A grid has no frames that could be set.
        """
        value = copy.deepcopy(document.value)
        if not isinstance(value, dict) or "cases" not in value:
            return document
        cases = value["cases"] if isinstance(value["cases"], list) else [value["cases"]]
        value["cases"] = [one for case in cases for one in self._of_case(case)]
        return replace(document, value=value)

    def _of_case(self, case: Case) -> Iterator[Case]:
        case = copy.deepcopy(case)
        if self.frames:
            grids = [self._of_grid(grid) for grid in _listed(case["grids"])]
            case["grids"] = [grid for at, grid in enumerate(grids) if grid not in grids[:at]]
        if self.backend and case.get("backends") is not None:
            own = {one["name"]: one for one in map(named, _listed(case["backends"]))}
            case["backends"] = [own.get(name, name) for name in self.backend]
        if self.params:
            case["masks"] = [self._of_mask(mask) for mask in map(named, _listed(case["masks"]))]
        lists = {name: getattr(self, name) for name in SINGLE if getattr(self, name)}
        for values in product(*lists.values()):
            yield case | dict(zip(lists, values, strict=True))

    def _of_grid(self, grid: Case) -> Case:
        if "segments" in grid:
            raise SuiteError("a grid of segments states the frames of each; --frames sets none")
        if "model" not in grid:
            return grid | {"frames": list(self.frames)}
        sizes = ["x".join(size.split("x")[:2]) for size in _listed(grid["size"])]
        kept = {name: one for name, one in grid.items() if name != "frames"}
        return kept | {"size": [*dict.fromkeys(sizes)], "latent_frames": list(self.frames)}

    def _of_mask(self, mask: Case) -> Case:
        set_here = {
            name.partition(".")[2]: list(values)
            for name, values in self.params.items()
            if name.partition(".")[0] in names_of(mask)
        }
        return mask | {"params": mask.get("params", {}) | set_here} if set_here else mask

    def check_masks(self, masks: set[str]) -> None:
        """Refuse parameters of masks that no case has.

        Raises:
            SuiteError: There is no such mask.
        """
        for name in self.params:
            mask = name.partition(".")[0]
            if mask not in masks:
                raise SuiteError(f"--set {name}: {unknown('mask of the suite', mask, masks)}")


def names_of(mask: Case) -> set[str]:
    """Return what a mask of a suite may be called on the command line."""
    name = str(mask.get("name", "")).partition(":")[0]
    return {name, PurePath(name).stem, str(mask.get("label") or name)}


def masks_of(document: Document) -> set[str]:
    """Return the names of the masks of a suite's document."""
    value = document.value if isinstance(document.value, dict) else {}
    masks = (mask for case in _listed(value.get("cases", [])) for mask in _listed(case["masks"]))
    return {name for mask in masks for name in names_of(named(mask))}


def read_axes(
    *,
    frames: str | None = None,
    heads: str | None = None,
    head_dim: str | None = None,
    batch: str | None = None,
    dtype: str | None = None,
    backend: list[str] | None = None,
    settings: list[str] | None = None,
) -> Axes:
    """Read what the command line gives: lists with commas, and `mask.parameter=values`.

    Raises:
        SuiteError: One cannot be read; the message names the option.
    """
    numbers = {"frames": frames, "heads": heads, "head_dim": head_dim, "batch": batch}
    read = {
        name: tuple(_whole(f"--{name.replace('_', '-')}", one) for one in text.split(","))
        for name, text in numbers.items()
        if text is not None
    }
    params: dict[str, tuple[bool | int | float, ...]] = {}
    for text in settings or ():
        name, equals, values = text.partition("=")
        mask, _, parameter = name.partition(".")
        if not (equals and mask and parameter):
            raise SuiteError(
                f"--set is MASK.PARAMETER=VALUE, such as radial.decay=0.5, or several values with "
                f"commas, got {text[:60]!r}"
            )
        params[name] = tuple(_value(f"--set {name}", one) for one in values.split(","))
    names = tuple(one for text in backend or () for one in text.split(","))
    dtypes = tuple(dtype.split(",")) if dtype is not None else ()
    return Axes(**read, dtype=dtypes, backend=names, params=params)


def _whole(option: str, text: str) -> int:
    if not text.strip().isdecimal() or len(text) > 18:
        raise SuiteError(f"{option} takes whole numbers, with commas between several, got {text!r}")
    return int(text)


def _value(option: str, text: str) -> bool | int | float:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        with suppress(ValueError):
            if abs(value := kind(text)) < inf:
                return value
    raise SuiteError(f"{option} takes finite numbers, true or false, got {text[:40]!r}")


def _text(value: bool | int | float) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value!r}"


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
