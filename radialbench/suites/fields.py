"""Pieces the suite schema is made of: one-or-many fields, words for entries."""

from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, Field

from radialbench.maskgen.language.document import Or

T = TypeVar("T")
BIGGEST = 2**31 - 1


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


OneOrMany = Annotated[
    list[T],
    Field(min_length=1, max_length=1000),
    BeforeValidator(_listed),
    Or(lambda long: dict(long["items"])),
]
"""A value, or a list of values."""

Many = Annotated[list[T], Field(min_length=1, max_length=1000)]
"""A list with something in it."""

Count = Annotated[int, Field(ge=1, le=BIGGEST)]
"""A whole number of at least 1."""

Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.,:=+-]*$", max_length=100)]
"""A name that can stand in a case id."""
