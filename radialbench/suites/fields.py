"""Pieces the suite schema is made of: strict models, one-or-many fields, words for entries."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from radialbench.errors import RadialBenchError, unknown

T = TypeVar("T")
BIGGEST = 2**31 - 1


class Strict(BaseModel):
    """A mapping of a suite file: nothing is converted, unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, value: Any) -> Any:
        if isinstance(value, dict):
            for key in value:
                if key not in cls.model_fields:
                    reason = unknown("key", key, cls.model_fields)
                    told = {"reason": reason, "key": key}
                    raise PydanticCustomError("unknown_key", "{reason}", told)
        return value


class Or:
    """Adds a short form to the JSON Schema of a field."""

    def __init__(self, short: Callable[[JsonSchemaValue], JsonSchemaValue]) -> None:
        self.short = short

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        long = handler(schema)
        return {"anyOf": [self.short(long), long]}


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def named(value: Any) -> Any:
    """Take a name for a mapping that holds it alone."""
    return {"name": value} if isinstance(value, str) else value


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


@contextmanager
def located() -> Iterator[None]:
    """Turn our errors into validation errors, so that they get the place in the file."""
    try:
        yield
    except RadialBenchError as error:
        raise PydanticCustomError("refused", "{reason}", {"reason": str(error)}) from None
