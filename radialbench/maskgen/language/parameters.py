"""Parameters of a mask: type, default, bounds, and one line of help."""

from dataclasses import dataclass
from typing import Any

from radialbench.errors import SpecError
from radialbench.maskgen.identity import value_text
from radialbench.maskgen.language.expressions import MAX_NUMBER

KINDS = ("int", "float", "bool")


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter and its value.

    Attributes:
        name: As the expressions write it.
        kind: `int`, `float` or `bool`.
        default: Value if nothing else is said.
        value: Value in force.
        least: Smallest value allowed.
        above: Every value allowed is greater than this.
        most: Greatest value allowed.
        help: One line for people.
    """

    name: str
    kind: str
    default: float | bool
    value: float | bool
    least: float | None = None
    above: float | None = None
    most: float | None = None
    help: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise SpecError(
                f"the type of {self.name} is one of {', '.join(KINDS)}, got {str(self.kind)[:40]!r}"
            )
        for word, bound in (("min", self.least), ("above", self.above), ("max", self.most)):
            if bound is not None and not abs(bound) <= MAX_NUMBER:
                raise SpecError(f"{word} must be a number in ±2^53")
        object.__setattr__(self, "default", self.check(self.default))
        object.__setattr__(self, "value", self.check(self.value))

    @property
    def shown(self) -> str:
        """The value as people write it."""
        return value_text(self.value)

    @property
    def bounds(self) -> str:
        """The bounds as people write them, such as `(0, 16]`; empty if there are none."""
        if self.kind == "bool" or (self.least is self.above is self.most is None):
            return ""
        low = f"({self.above:g}" if self.above is not None else "(-inf"
        if self.least is not None:
            low = f"[{self.least:g}"
        return f"{low}, {self.most:g}]" if self.most is not None else f"{low}, inf)"

    def to_mapping(self) -> dict[str, Any]:
        """Write the parameter as the plain mapping of its YAML document."""
        entries: dict[str, Any] = {"type": self.kind, "default": self.default}
        if self.value != self.default:
            entries["value"] = self.value
        bounds = {"min": self.least, "above": self.above, "max": self.most}
        entries |= {word: bound for word, bound in bounds.items() if bound is not None}
        return entries | ({"help": self.help} if self.help else {})

    def check(self, value: object) -> float | bool:
        """Return a value of the parameter's type.

        Raises:
            SpecError: The value is of another type or out of bounds.
        """
        if self.kind == "bool":
            if not isinstance(value, bool):
                raise SpecError(f"{self.name} must be true or false, got {_brief(value)}")
            return value
        whole = self.kind == "int"
        right = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
        if not right or value != value:
            wanted = "a whole number" if whole else "a number"
            raise SpecError(f"{self.name} must be {wanted}, got {_brief(value)}")
        assert isinstance(value, (int, float))
        too_low = (self.least is not None and value < self.least) or (
            self.above is not None and value <= self.above
        )
        too_high = (self.most is not None and value > self.most) or abs(value) > MAX_NUMBER
        if too_low or too_high:
            given = _brief(value) if abs(value) > MAX_NUMBER else value
            raise SpecError(
                f"{self.name} must be in {self.bounds or '±2^53'}, got {given}"
                + (f" ({self.help})" if self.help else "")
            )
        return value if whole else float(value)


def _brief(value: object) -> str:
    # Python refuses to write very long whole numbers.
    if isinstance(value, (int, float)) and abs(value) > MAX_NUMBER:
        return "a number beyond ±2^53"
    return repr(str(value)[:40])
