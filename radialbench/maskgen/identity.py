"""MaskIdentity: the mask of a table or record in fields, and the labels made from them."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from radialbench.errors import RecordError, unknown


@dataclass(frozen=True, slots=True)
class MaskIdentity:
    """The mask of a table or record.

    Attributes:
        name: Name for people: the name in a suite, that of its file without the suffix, or its own.
        fingerprint: Hash of its meaning: rules, order and parameter values.
        definition: Its own name, such as that of a mask of the library.
        params: Value of every parameter by name, defaults included; of a block table that was given
            to it, the file or the start of its hash.
        shown: Parameters in the label: those that differ from their defaults, or for a name that a
            suite chose, those that the suite sweeps.
        empty_rows: Treatment of tokens that attend nothing.
        dense: Whether every pair attends by its rule, except padding; the baseline of speed-ups.
        file: Name of the file it was read from, in a suite with its folder; None for a mask of the
            library, or one made in Python.
    """

    name: str
    fingerprint: str
    definition: str = ""
    params: dict[str, bool | int | float | str] = field(default_factory=dict, hash=False)
    shown: tuple[str, ...] = ()
    empty_rows: str = "error"
    dense: bool = False
    file: str | None = None

    def __post_init__(self) -> None:
        if not self.name or not self.fingerprint:
            raise RecordError(f"a mask has a name and a fingerprint, got {self.name!r}")
        for name, value in self.params.items():
            if isinstance(value, int) and abs(value) > 2**63:
                raise RecordError(f"parameter {name} is a whole number beyond ±2^63")
        for name in self.shown:
            if name not in self.params:
                raise RecordError(unknown("parameter", name, self.params))

    @property
    def label(self) -> str:
        """The name, with the values of the parameters in `shown`."""
        values = ", ".join(f"{name}={value_text(self.params[name])}" for name in self.shown)
        return f"{self.name}({values})" if values else self.name


def value_text(value: float | bool | str) -> str:
    """Format a parameter's value as people and `--set` write it; no digit is lost."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    brief = f"{value:g}"
    return brief if float(brief) == value else str(value)


def distinct_names(masks: Iterable[MaskIdentity]) -> dict[tuple[str, str], str]:
    """Name masks so that no two share a name.

    The name is the label. If masks of one label are not settings of one definition, such as those
    of two files of one name, the name ends with the file or the start of the fingerprint.

    Args:
        masks: The masks; a mask may appear several times.

    Returns:
        The names, by label and fingerprint.
    """
    labels: dict[str, dict[str, MaskIdentity]] = {}
    for mask in masks:
        labels.setdefault(mask.label, {}).setdefault(mask.fingerprint, mask)
    names: dict[tuple[str, str], str] = {}
    for label, variants in labels.items():
        definitions = {(mask.definition, mask.file) for mask in variants.values()}
        settings = {tuple(mask.params.items()) for mask in variants.values()}
        one_family = len(definitions) == 1 and len(settings) == len(variants)
        by_file = len({mask.file for mask in variants.values()}) == len(variants)
        for fingerprint, mask in variants.items():
            suffix = f" ({mask.file or 'library'})" if by_file else f" ({fingerprint[:8]})"
            names[label, fingerprint] = label + ("" if one_family else suffix)
    return names
