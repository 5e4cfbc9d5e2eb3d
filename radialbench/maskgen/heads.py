"""HeadPlan: a mask for each group of heads."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, NoReturn

import yaml

from radialbench.errors import SpecError, unknown
from radialbench.maskgen.compile import compile_mask
from radialbench.maskgen.document import Document, DocumentError, Path, read_document
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.library import load_mask
from radialbench.maskgen.reader import read_mask
from radialbench.maskgen.spec import MaskSpec
from radialbench.maskgen.table import BlockTable
from radialbench.maskgen.writer import to_mapping

KEYS = ("name", "about", "paper", "heads")
GROUP_KEYS = ("name", "params", "empty_rows")
MAX_HEADS = 4096


@dataclass(frozen=True, slots=True)
class HeadGroup:
    """Heads that share a mask.

    Attributes:
        heads: Ascending numbers of the heads, from 0.
        mask: Their mask.
    """

    heads: tuple[int, ...]
    mask: MaskSpec

    @property
    def label(self) -> str:
        """The heads as a file writes them, such as `0-11,14`."""
        return _written(self.heads)


@dataclass(frozen=True, slots=True)
class HeadPlan:
    """Which mask each attention head runs; every head has exactly one.

    Attributes:
        name: What people call it.
        groups: Groups of heads, ordered by their first head.
        paper: Where the plan was published.
        about: What it does.

    Raises:
        SpecError: A head has no mask, or two.
    """

    name: str
    groups: tuple[HeadGroup, ...]
    paper: str = ""
    about: str = ""

    def __post_init__(self) -> None:
        ordered = tuple(sorted(self.groups, key=lambda group: group.heads[:1]))
        object.__setattr__(self, "groups", ordered)
        owners: dict[int, HeadGroup] = {}
        for group in ordered:
            if not group.heads or list(group.heads) != sorted(set(group.heads)):
                raise SpecError(f"heads of a group are ascending numbers, got {group.heads}")
            for head in group.heads:
                if head in owners:
                    raise SpecError(
                        f"head {head} has two masks, {owners[head].mask.label} (heads "
                        f"{owners[head].label}) and {group.mask.label} (heads {group.label})"
                    )
                owners[head] = group
        missing = next((head for head in range(len(owners)) if head not in owners), None)
        if not owners or missing is not None:
            raise SpecError(f"head {missing or 0} has no mask; heads are counted from 0")

    @property
    def heads(self) -> int:
        """Number of heads."""
        return sum(len(group.heads) for group in self.groups)

    def to_yaml(self) -> str:
        """Write the plan as a YAML document that reads back equal; masks are written out."""
        document: dict[str, Any] = {"name": self.name}
        document |= {key: getattr(self, key) for key in ("paper", "about") if getattr(self, key)}
        document["heads"] = {group.label: to_mapping(group.mask) for group in self.groups}
        return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)


def compile_heads(
    plan: HeadPlan, grid: TokenGrid, block_m: int = 128, block_n: int = 128
) -> tuple[BlockTable, ...]:
    """Compile the table of each group of a plan, in the plan's order; equal masks once.

    Raises:
        SpecError: As `compile_mask`; the message names the heads.
    """
    tables: dict[str, BlockTable] = {}
    for group in plan.groups:
        if group.mask.fingerprint not in tables:
            try:
                table = compile_mask(group.mask, grid, block_m, block_n)
            except SpecError as error:
                raise SpecError(f"heads {group.label}: {error}") from None
            tables[group.mask.fingerprint] = table
    return tuple(tables[group.mask.fingerprint] for group in plan.groups)


def load_head_plan(path: str | FilePath) -> HeadPlan:
    """Read a head plan from a YAML file; masks are of the library, beside the file, or inline.

    Raises:
        SpecError: The file is no head plan; the message has line and column.
    """
    path = FilePath(path)
    try:
        document = read_document(path)
    except DocumentError as error:
        raise SpecError(str(error)) from None
    return _Reader(document, path.parent).plan()


def parse_head_plan(mapping: Mapping[str, Any]) -> HeadPlan:
    """Read a head plan from the mapping that its YAML document would hold.

    Raises:
        SpecError: The mapping is no head plan; the message names the key.
    """
    return _Reader(Document("head plan", dict(mapping)), None).plan()


def is_head_plan(path: str | FilePath) -> bool:
    """Tell whether a YAML file has the key `heads`; False if it cannot be read."""
    try:
        value = read_document(FilePath(path)).value
    except DocumentError:
        return False
    return isinstance(value, dict) and "heads" in value


class _Reader:
    def __init__(self, document: Document, folder: FilePath | None) -> None:
        self.document = document
        self.folder = folder

    def plan(self) -> HeadPlan:
        top = self.mapping(self.document.value, (), KEYS, ("name", "heads"))
        entries = self.mapping(top["heads"], ("heads",))
        try:
            return HeadPlan(
                name=self.text(top["name"], ("name",)),
                groups=tuple(self.group(str(word), entry) for word, entry in entries.items()),
                paper=self.text(top.get("paper", ""), ("paper",)),
                about=self.text(top.get("about", ""), ("about",)),
            )
        except _Placed:
            raise
        except SpecError as error:
            self.fail(str(error), ("heads",))

    def group(self, word: str, entry: Any) -> HeadGroup:
        path = ("heads", word)
        try:
            return HeadGroup(_numbers(word), self.mask(entry, path))
        except _Placed:
            raise
        except SpecError as error:
            self.fail(str(error), path)

    def mask(self, entry: Any, path: Path) -> MaskSpec:
        if isinstance(entry, dict) and "mask" in entry:
            marks = {
                place[len(path) :]: mark
                for place, mark in self.document.marks.items()
                if place[: len(path)] == path
            }
            try:
                return read_mask(Document(self.document.source, entry, marks), load_mask)
            except SpecError as error:
                raise _Placed(str(error)) from None
        entry = {"name": entry} if isinstance(entry, str) else entry
        given = self.mapping(entry, path, GROUP_KEYS, ("name",))
        word, params = self.text(given["name"], path), given.get("params", {})
        rows = given.get("empty_rows")
        source = self.beside(word) if word.endswith((".yaml", ".yml")) or "/" in word else word
        return load_mask(
            source,
            empty_rows=None if rows is None else self.text(rows, (*path, "empty_rows")),
        ).with_params(**self.mapping(params, (*path, "params")))

    def beside(self, word: str) -> FilePath:
        if self.folder is None:
            raise SpecError(f"a plan that is no file has masks of the library only, got {word!r}")
        path = self.folder / word
        if not path.resolve().is_relative_to(self.folder.resolve()):
            raise SpecError(f"a head plan uses masks in its own folder, got {word!r}")
        return path

    def mapping(
        self,
        value: Any,
        path: Path,
        known: tuple[str, ...] | None = None,
        required: tuple[str, ...] = (),
    ) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            self.fail(f"expected keys and values, got {str(value)[:40]!r}", path)
        for key in value:
            if known is not None and key not in known:
                self.fail(unknown("key", key, known), (*path, str(key)))
        for key in required:
            if key not in value:
                self.fail(f"the key {key!r} is missing", path)
        return dict(value)

    def text(self, value: Any, path: Path) -> str:
        if not isinstance(value, str):
            self.fail(f"expected text, got {str(value)[:40]!r}", path)
        return value

    def fail(self, reason: str, path: Path) -> NoReturn:
        key = ".".join(map(str, path))
        raise _Placed(f"{self.document.place(path)}: {key}{': ' if key else ''}{reason}")


class _Placed(SpecError):
    """An error whose message already says where."""


def _numbers(word: str) -> tuple[int, ...]:
    """Read `0-11,14` as numbers."""
    heads: list[int] = []
    for part in word.split(","):
        found = re.fullmatch(r"\s*(\d{1,4})\s*(?:-\s*(\d{1,4})\s*)?", part)
        if not found:
            raise SpecError(f"heads are numbers and ranges such as '0-11,14', got {word[:40]!r}")
        first, last = int(found[1]), int(found[2] or found[1])
        if not first <= last < MAX_HEADS:
            raise SpecError(f"a range of heads rises and ends below {MAX_HEADS}, got {part!r}")
        heads.extend(range(first, last + 1))
    if len(set(heads)) < len(heads):
        raise SpecError(f"a head is named twice in {word[:40]!r}")
    return tuple(sorted(heads))


def _written(heads: tuple[int, ...]) -> str:
    runs: list[list[int]] = []
    for head in heads:
        if runs and runs[-1][1] == head - 1:
            runs[-1][1] = head
        else:
            runs.append([head, head])
    return ",".join(f"{first}-{last}" if last > first else f"{first}" for first, last in runs)
