"""HeadPlan: a mask for each group of heads."""

import re
from dataclasses import dataclass
from typing import Any

import yaml

from radialbench.errors import SpecError
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
        return _label(self.heads)


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
        document["heads"] = {group.label: group.mask.to_mapping() for group in self.groups}
        return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)


def parse_heads(word: str) -> tuple[int, ...]:
    """Read `0-11,14` as numbers.

    Raises:
        SpecError: The text is no list of heads.
    """
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


def _label(heads: tuple[int, ...]) -> str:
    runs: list[list[int]] = []
    for head in heads:
        if runs and runs[-1][1] == head - 1:
            runs[-1][1] = head
        else:
            runs.append([head, head])
    return ",".join(f"{first}-{last}" if last > first else f"{first}" for first, last in runs)
