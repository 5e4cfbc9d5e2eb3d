"""MaskIdentity: which mask something is of, in fields; what people call it is made from them."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from radialbench.errors import RecordError, unknown


@dataclass(frozen=True, slots=True)
class MaskIdentity:
    """Which mask something is of.

    Attributes:
        name: What people call it: the name that a suite gives it, that of its file without the
            suffix, or its own.
        fingerprint: Hash of what it means: rules, order and parameter values.
        definition: Its own name, such as that of a mask of the library.
        params: Value of every parameter by name, defaults included.
        shown: Parameters that the label shows: those that differ from their defaults, or under a
            suite's own name those that it sweeps.
        empty_rows: What becomes of tokens that attend nothing.
        dense: Whether every pair attends by its rule, padding apart: what speed-ups are over.
        file: Name of the file it was read from, in a suite that of its folder too; None for a mask
            of the library, or one made in Python.
    """

    name: str
    fingerprint: str
    definition: str = ""
    params: dict[str, bool | int | float] = field(default_factory=dict, hash=False)
    shown: tuple[str, ...] = ()
    empty_rows: str = "error"
    dense: bool = False
    file: str | None = None

    def __post_init__(self) -> None:
        if not self.name or not self.fingerprint:
            raise RecordError(f"a mask has a name and a fingerprint, got {self.name!r}")
        for name in self.shown:
            if name not in self.params:
                raise RecordError(unknown("parameter", name, self.params))

    @property
    def label(self) -> str:
        """The name, with the parameters that tell the mask from others of that name."""
        values = ", ".join(f"{name}={value_text(self.params[name])}" for name in self.shown)
        return f"{self.name}({values})" if values else self.name


def value_text(value: float | bool) -> str:
    """Write a parameter's value as people do."""
    if isinstance(value, bool):
        return str(value).lower()
    brief = f"{value:g}"
    return brief if float(brief) == value else str(value)


def told_apart(masks: Iterable[MaskIdentity]) -> dict[tuple[str, str], str]:
    """Name masks so that no two share a name.

    The name is the label. Masks of one label that are no settings of one definition, such as those
    of two files of one name, have their file behind it, or the start of their fingerprint.

    Args:
        masks: The masks; a mask may be there several times.

    Returns:
        The names, by label and fingerprint.
    """
    labels: dict[str, dict[str, MaskIdentity]] = {}
    for mask in masks:
        labels.setdefault(mask.label, {}).setdefault(mask.fingerprint, mask)
    names: dict[tuple[str, str], str] = {}
    for label, found in labels.items():
        definitions = {(mask.definition, mask.file) for mask in found.values()}
        settings = {tuple(mask.params.items()) for mask in found.values()}
        one_family = len(definitions) == 1 and len(settings) == len(found)
        by_file = len({mask.file for mask in found.values()}) == len(found)
        for fingerprint, mask in found.items():
            behind = f" ({mask.file or 'library'})" if by_file else f" ({fingerprint[:8]})"
            names[label, fingerprint] = label + ("" if one_family else behind)
    return names
