"""HeadPlan: a mask for each group of attention heads."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import PurePath
from typing import Any

import yaml

from radialbench.errors import SpecError, unknown
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.identity import MaskIdentity
from radialbench.maskgen.language.spec import MaskSpec

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
        runs: list[list[int]] = []
        for head in self.heads:
            if runs and runs[-1][1] == head - 1:
                runs[-1][1] = head
            else:
                runs.append([head, head])
        return ",".join(f"{first}-{last}" if last > first else f"{first}" for first, last in runs)


@dataclass(frozen=True)
class HeadPlan:
    """The mask of each attention head; every head has exactly one.

    Attributes:
        name: Name for people.
        groups: Groups of heads, ordered by their first head.
        paper: Where the plan was published.
        about: What it does.
        file: Name of the file it was read from; None for one made in Python. Plans that differ only
            in this are equal.

    Raises:
        SpecError: A head has no mask, or two.
    """

    name: str
    groups: tuple[HeadGroup, ...]
    paper: str = ""
    about: str = ""
    file: str | None = field(default=None, compare=False)

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

    @property
    def label(self) -> str:
        """The name, or its file's."""
        return self.identity.label

    @cached_property
    def identity(self) -> MaskIdentity:
        """The identity that tables and records of the plan store."""
        masks = [group.mask for group in self.groups]
        tables = {one.name: one.source for mask in masks for one in mask.tables}
        return MaskIdentity(
            name=self.name if self.file is None else PurePath(self.file).stem,
            fingerprint=self.fingerprint,
            definition=self.name,
            params=dict(tables),
            shown=tuple(tables),
            dense=all(mask.identity.dense for mask in masks),
            file=self.file,
        )

    @cached_property
    def fingerprint(self) -> str:
        """A short hash of what the plan means: the mask of each head."""
        masks = [(group.heads, group.mask.fingerprint) for group in self.groups]
        return hashlib.blake2b(json.dumps(masks).encode(), digest_size=8).hexdigest()

    @property
    def table_names(self) -> list[str]:
        """Names of the block tables that its masks need when they are compiled."""
        return list(dict.fromkeys(word for one in self.groups for word in one.mask.table_names))

    @property
    def permuted(self) -> bool:
        """Whether a mask's tables have another token order than raster."""
        return any(group.mask.permuted for group in self.groups)

    @property
    def group_of_head(self) -> tuple[int, ...]:
        """The number of each head's group."""
        numbers = {head: place for place, one in enumerate(self.groups) for head in one.heads}
        return tuple(numbers[head] for head in range(self.heads))

    def with_tables(self, tables: Mapping[str, Any]) -> "HeadPlan":
        """Copy the plan with block tables given to the masks that have tables of those names.

        Raises:
            SpecError: No mask has a table of a name; see `MaskSpec.with_tables`.
        """
        for word in tables:
            if word not in self.table_names:
                raise SpecError(unknown(f"table of {self.name}", word, self.table_names))
        groups = []
        for group in self.groups:
            own = {word: tables[word] for word in tables if word in group.mask.table_names}
            groups.append(replace(group, mask=group.mask.with_tables(own)))
        return replace(self, groups=tuple(groups))

    def check_tables(self, grid: TokenGrid) -> None:
        """Check that the block tables that were given to the masks fit a grid.

        Raises:
            SpecError: As `MaskSpec.check_tables`.
        """
        for group in self.groups:
            group.mask.check_tables(grid)

    def to_yaml(self) -> str:
        """Write the plan as a YAML document that reads back equal; masks are written out."""
        document: dict[str, Any] = {"name": self.name}
        document |= {key: getattr(self, key) for key in ("paper", "about") if getattr(self, key)}
        document["heads"] = {group.label: group.mask.to_mapping() for group in self.groups}
        return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)


def parse_heads(word: str) -> tuple[int, ...]:
    """Read a list of heads such as `0-11,14`.

    Raises:
        SpecError: The text is no list of heads.
    """
    heads: list[int] = []
    for part in word.split(","):
        match = re.fullmatch(r"\s*(\d{1,4})\s*(?:-\s*(\d{1,4})\s*)?", part)
        if not match:
            raise SpecError(f"heads are numbers and ranges such as '0-11,14', got {word[:40]!r}")
        first, last = int(match[1]), int(match[2] or match[1])
        if not first <= last < MAX_HEADS:
            raise SpecError(f"a range of heads rises and ends below {MAX_HEADS}, got {part!r}")
        heads.extend(range(first, last + 1))
    if len(set(heads)) < len(heads):
        raise SpecError(f"a head is named twice in {word[:40]!r}")
    return tuple(sorted(heads))


AnyMask = MaskSpec | HeadPlan
"""A mask for all heads, or a mask for each."""
