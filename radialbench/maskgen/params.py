"""Parameters of a mask: type, default, bounds, and one line of help."""

import math
from dataclasses import dataclass

from radialbench.errors import SpecError

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
                f"parameter {self.name}: type is one of {', '.join(KINDS)}, got {self.kind!r}"
            )
        self.check(self.default)
        self.check(self.value)

    @property
    def bounds(self) -> str:
        """The bounds as people write them, such as `(0, 16]`; empty if there are none."""
        if self.kind == "bool" or (self.least is self.above is self.most is None):
            return ""
        low = f"({self.above:g}" if self.above is not None else "(-inf"
        if self.least is not None:
            low = f"[{self.least:g}"
        return f"{low}, {self.most:g}]" if self.most is not None else f"{low}, inf)"

    def check(self, value: object) -> float | bool:
        """Return a value of the parameter's type.

        Raises:
            SpecError: The value is of another type or out of bounds.
        """
        if self.kind == "bool":
            if not isinstance(value, bool):
                raise SpecError(f"{self.name} must be true or false, got {str(value)[:40]!r}")
            return value
        whole = self.kind == "int"
        right = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
        if not right or not math.isfinite(value):  # type: ignore[arg-type]
            wanted = "a whole number" if whole else "a number"
            raise SpecError(f"{self.name} must be {wanted}, got {str(value)[:40]!r}")
        assert isinstance(value, (int, float))
        too_low = (self.least is not None and value < self.least) or (
            self.above is not None and value <= self.above
        )
        if too_low or (self.most is not None and value > self.most) or abs(value) > 2**53:
            raise SpecError(
                f"{self.name} must be in {self.bounds or '±2^53'}, got {value}"
                + (f" ({self.help})" if self.help else "")
            )
        return value if whole else float(value)
