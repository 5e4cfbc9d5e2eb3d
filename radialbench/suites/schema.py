"""The suite file: its schema, and from there to matrices."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import (
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from radialbench.maskgen.language.document import Strict, located
from radialbench.records.gate import read_gate, setting_of
from radialbench.suites.entries import (
    BackendOrName,
    ExcludeEntry,
    GridEntry,
    MaskOrName,
    configured,
)
from radialbench.suites.fields import Count, Many, OneOrMany, Word
from radialbench.suites.spec import BackendChoice, Matrix, Protocol


class ProtocolEntry(Strict):
    """How cases are sampled."""

    target: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Stop when the median is known within this share, at 95% confidence (0.005)",
    )
    min_samples: Count | None = Field(
        default=None, description="Samples before that, unless the time is up (5)"
    )
    max_samples: Count | None = Field(default=None, description="Samples at most (100)")
    max_seconds: float | None = Field(
        default=None,
        gt=0,
        le=86400,
        description="Time after which no sample is begun; the first always is (10)",
    )
    min_seconds: float | None = Field(
        default=None,
        ge=0,
        le=86400,
        description="Time to spend on samples before the median counts as known, max_samples "
        "permitting (0.5)",
    )
    timeout_seconds: float | None = Field(
        default=None,
        gt=0,
        le=86400,
        description="Stop a case that takes this long to prepare, or this much longer to sample "
        "than its samples may take (300)",
    )
    warmups: int | None = Field(
        default=None, ge=0, le=1000, description="Calls before the samples (1)"
    )
    cache: Literal["cold", "warm"] | None = Field(
        default=None,
        description="On a GPU: fill the L2 cache with something else before each call, or leave it "
        "as the call before left it (cold)",
    )
    interleave: bool | None = Field(
        default=None,
        description="Sample neighbouring cases of one shape in turn, round by round; the seconds "
        "are then for all of them together (false)",
    )
    ceiling: bool | None = Field(
        default=None,
        description="With interleave, on a GPU: sample a large matrix product in turn "
        "with them (false)",
    )
    isolated_samples: int | None = Field(
        default=None,
        ge=0,
        le=1000,
        description="With interleave, on a GPU: samples of launches that each follow a pause (0)",
    )
    telemetry_seconds: float | None = Field(
        default=None,
        ge=0,
        le=600,
        description="With interleave, on a GPU: how long each case is run while clocks, power and "
        "energy are read (0)",
    )

    @model_validator(mode="after")
    def _in_order(self) -> "ProtocolEntry":
        least, most = self.min_samples, self.max_samples
        if least is not None and most is not None and least > most:
            raise ValueError(f"min_samples ({least}) is more than max_samples ({most})")
        shortest, longest = self.min_seconds, self.max_seconds
        if shortest is not None and longest is not None and shortest > longest:
            raise ValueError(f"min_seconds ({shortest:g}) is more than max_seconds ({longest:g})")
        return self

    def over(self, base: Protocol) -> Protocol:
        """Give the protocol, with what is not said taken from another.

        Of `min_samples` and `max_samples`, one that is not said gives way to the one that is, and
        of the seconds likewise.
        """
        said = {name: getattr(self, name) for name in self.model_fields_set}
        merged = replace(base, **{name: value for name, value in said.items() if value is not None})
        for of in ("samples", "seconds"):
            least, most = getattr(merged, f"min_{of}"), getattr(merged, f"max_{of}")
            if getattr(self, f"min_{of}") is None:
                merged = replace(merged, **{f"min_{of}": min(least, most)})
            else:
                merged = replace(merged, **{f"max_{of}": max(least, most)})
        return merged


GateSetting = Annotated[
    str | None,
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "number"}, {"const": False}]}),
]
"""A size such as `5%` or `1%, 4MiB`, or `off`; it is kept as `latency=5%`."""


class GatesEntry(Strict):
    """The least change of each metric that counts in a check."""

    latency: GateSetting = Field(
        default=None, description="Time of a call: 5%, 1.5x, 2ms, 2us (2%)", examples=["5%"]
    )
    ceiling: GateSetting = Field(
        default=None, description="Share of the rate of the matrix product beside it (3%)"
    )
    energy: GateSetting = Field(default=None, description="Joules of a call (10%)")
    memory: GateSetting = Field(
        default=None, description="Peak memory of a call (1%, 1MiB)", examples=["1%, 4MiB"]
    )
    accuracy: GateSetting = Field(
        default=None, description="Largest error (1.5x, 0.05tolerance)", examples=["2x"]
    )
    compile: GateSetting = Field(default=None, description="Time to compile a table (10%)")
    scaling: GateSetting = Field(
        default=None, description="Exponent of the time over the frames (0.05)", examples=[0.1]
    )

    @field_validator("*", mode="before")
    @classmethod
    def _read(cls, size: Any, info: ValidationInfo) -> str:
        setting = setting_of(info.field_name or "", size)
        with located():
            read_gate(setting)
        return setting

    def over(self, base: Mapping[str, str]) -> dict[str, str]:
        """Give the settings by metric, with what is not said taken from others."""
        return {**base, **{metric: getattr(self, metric) for metric in self.model_fields_set}}


class MatrixEntry(Strict):
    """Masks × grids × backends; every combination is a case."""

    measure: Literal["attention", "compile"] = Field(
        default="attention",
        description="Time attention, or the compilation of the mask into its block table",
    )
    masks: Many[MaskOrName] = Field(description="Masks, by name or with parameters")
    grids: Many[GridEntry] = Field(description="Token grids, of a model or given in tokens")
    heads: Count | None = Field(default=None, description="Heads; the model's if not given")
    head_dim: Count | None = Field(
        default=None, description="Head dimension; the model's if not given"
    )
    batch: Count = Field(default=1, description="Sequences")
    dtype: Literal["float32", "float16", "bfloat16"] = Field(
        default="bfloat16", description="Type of q, k and v"
    )
    backends: Many[BackendOrName] | None = Field(
        default=None, description="Backends, by name or with options; none for compile"
    )
    block_m: Count | None = Field(default=None, description="Query tokens of a block (128)")
    block_n: Count | None = Field(default=None, description="Key tokens of a block (128)")
    exclude: OneOrMany[ExcludeEntry] | None = Field(default=None, description="Cases to leave out")
    protocol: ProtocolEntry = Field(
        default_factory=ProtocolEntry, description="How these cases are sampled"
    )
    gates: GatesEntry = Field(
        default_factory=GatesEntry, description="What counts in a check of these cases"
    )

    @model_validator(mode="after")
    def _complete(self) -> "MatrixEntry":
        if self.measure == "attention" and self.backends is None:
            raise ValueError("attention needs backends, such as [cpu]")
        if self.measure == "compile" and self.backends is not None:
            raise ValueError("compile has no backends: masks are compiled for all of them")
        shape = ("heads", self.heads), ("head_dim", self.head_dim)
        for name, value in shape:
            if value is None and any(getattr(grid, name) is None for grid in self._grids()):
                raise ValueError(f"needs {name}: grids given in tokens belong to no model")
        return self

    def matrix(self, where: str, protocol: Protocol, gates: Mapping[str, str]) -> Matrix:
        """Give the matrix."""
        return Matrix(
            where=where,
            measure=self.measure,
            masks=tuple(choice for mask in self.masks for choice in mask.choices()),
            grids=tuple(self._grids()),
            heads=self.heads,
            head_dim=self.head_dim,
            batch=self.batch,
            dtype=self.dtype,
            backends=self._backends(),
            exclude=tuple(entry.rule() for entry in self.exclude or ()),
            protocol=self.protocol.over(protocol),
            gates=tuple(sorted(self.gates.over(gates).values())),
        )

    def _grids(self) -> list[Any]:
        return [choice for grid in self.grids for choice in grid.choices()]

    def _backends(self) -> tuple[BackendChoice, ...]:
        if self.backends is None:
            return (configured(None, block_m=self.block_m, block_n=self.block_n),)
        return tuple(backend.choice(self.block_m, self.block_n) for backend in self.backends)


OtherSuite = Annotated[str, Field(min_length=1, max_length=200)]
"""A shipped suite by name, or a YAML file in the suite's folder."""


def _has_cases(schema: dict[str, Any]) -> None:
    schema["anyOf"] = [{"required": [key]} for key in ("cases", "extends", "include")]


class SuiteFile(Strict):
    """A radialbench suite: what to measure."""

    model_config = ConfigDict(json_schema_extra=_has_cases)

    name: Word | None = Field(default=None, description="Name; the file's if not given")
    description: str = Field(default="", description="What the suite is for", max_length=2000)
    extends: OtherSuite | None = Field(
        default=None,
        description="A suite to start from: what is not said here is as there, and its cases come "
        "first",
        examples=["smoke", "base.yaml"],
    )
    include: OneOrMany[OtherSuite] | None = Field(
        default=None,
        description="Suites whose cases are added as they are there",
        examples=[["wan", "hunyuan"]],
    )
    tags: list[Word] = Field(default_factory=list, description="Words to find it by")
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="Where attention runs; auto: a GPU where there is one"
    )
    protocol: ProtocolEntry = Field(
        default_factory=ProtocolEntry, description="How cases are sampled"
    )
    gates: GatesEntry = Field(
        default_factory=GatesEntry, description="The least changes that count in a check"
    )
    cases: Many[MatrixEntry] = Field(default_factory=list, description="Matrices of cases")

    @model_validator(mode="after")
    def _plans_something(self) -> "SuiteFile":
        if not (self.cases or self.extends or self.include):
            raise ValueError("needs cases, or another suite's by extends or include")
        return self


def json_schema() -> dict[str, Any]:
    """Give the JSON Schema of a suite file, for editors."""
    schema = SuiteFile.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
