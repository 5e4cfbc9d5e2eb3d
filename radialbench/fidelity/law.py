"""Laws of decay: how the weight of a pair falls with the distance of its tokens."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from radialbench.errors import InputsError, unknown

Floats = NDArray[np.float64]

EXPONENTIAL, POWER, STRETCHED = "exponential", "power", "stretched"
FORMS = (EXPONENTIAL, POWER, STRETCHED)


@dataclass(frozen=True, slots=True)
class Law:
    """A weight exp(-rate · g(d)) of pairs at distance d.

    Attributes:
        form: `exponential`, g(d) = d; `power`, g(d) = log(1 + d), so that the weight is
            (1 + d)^-rate; or `stretched`, g(d) = d^exponent.
        rate: How fast it falls; 0 is no decay, and below 0 it grows.
        exponent: That of a stretched exponential; 1 otherwise.

    Raises:
        InputsError: There is no such form, or no such exponent.
    """

    form: str = EXPONENTIAL
    rate: float = 0.0
    exponent: float = 1.0

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise InputsError(unknown("form of decay", self.form, FORMS))
        if not np.isfinite(self.rate):
            raise InputsError(f"the rate of a law is a number, got {self.rate}")
        if self.form != STRETCHED and self.exponent != 1:
            raise InputsError(f"{self.form} decay has no exponent, got {self.exponent}")
        if not 0 < self.exponent <= 10:
            raise InputsError(f"an exponent is above 0 and at most 10, got {self.exponent}")

    def logits(self, distances: NDArray[np.int64]) -> Floats:
        """Return the logarithm of the weight at distances: 0 at distance 0."""
        return -self.rate * growth(self.form, distances, self.exponent)


def growth(form: str, distances: NDArray[np.int64], exponent: float = 1.0) -> Floats:
    """Return g(d), by which the logarithm of the weight falls."""
    d = distances.astype(np.float64)
    return np.log1p(d) if form == POWER else d**exponent
