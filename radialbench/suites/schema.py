"""The schema of a suite file: its protocols, gates and matrices, as they run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pydantic
from pydantic import Field

from radialbench.fidelity.files import InputsFile, open_inputs
from radialbench.fidelity.settings import BOUND, LEAST_HEAD_DIM, SAMPLED_ROWS, How, Source
from radialbench.maskgen.document import Strict, located
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.language.heads import HeadPlan
from radialbench.records.gate import read_gate, setting_of
from radialbench.records.problem import KernelConfig, Problem
from radialbench.suites import entries

BOUNDS = ("min_samples", "max_samples"), ("min_seconds", "max_seconds")
"""Pairs of a protocol's settings, each in order."""


class Settings(Strict):
    """Settings that a matrix, or a suite that extends another, may state in part."""

    def over(self, base: Self) -> Self:
        """Return these settings; those that are not set come from others."""
        return base.model_copy(update={name: getattr(self, name) for name in self.model_fields_set})


class Protocol(Settings):
    """How cases are sampled."""

    target: float = Field(
        default=0.005,
        ge=0,
        le=1,
        description="Stop when the median is known within this share, at 95% confidence",
    )
    min_samples: entries.Count = Field(
        default=5, description="Samples before that, unless the time is up"
    )
    max_samples: entries.Count = Field(default=100, description="Samples at most")
    max_seconds: float = Field(
        default=10.0,
        gt=0,
        le=86400,
        description="Time after which no sample starts, except the first",
    )
    min_seconds: float = Field(
        default=0.5,
        ge=0,
        le=86400,
        description="Time to spend on samples before the median counts as known, max_samples "
        "permitting",
    )
    timeout_seconds: float = Field(
        default=300.0,
        gt=0,
        le=86400,
        description="Stop a case that takes this long to prepare, or this much longer to sample "
        "than its samples may take",
    )
    warmups: int = Field(
        default=1,
        ge=0,
        le=1000,
        description="Calls before the samples; the call whose accuracy is judged counts as one",
    )
    cache: Literal["cold", "warm"] = Field(
        default="cold",
        description="On a GPU: fill the L2 cache with something else before each call, or leave it "
        "as the call before left it",
    )
    interleave: bool = Field(
        default=False,
        description="Sample neighbouring cases of one shape in turn, round by round; the seconds "
        "are then for all of them together",
    )
    ceiling: bool = Field(
        default=False,
        description="With interleave, on a GPU: sample a large matmul in turn with them",
    )
    isolated_samples: int = Field(
        default=0,
        ge=0,
        le=1000,
        description="With interleave, on a GPU: samples of launches that each follow a pause",
    )
    telemetry_seconds: float = Field(
        default=0.0,
        ge=0,
        le=600,
        description="With interleave, on a GPU: how long each case is run while clocks, power and "
        "energy are read",
    )

    @pydantic.model_validator(mode="after")
    def _in_order(self) -> Self:
        for least, most in BOUNDS:
            low, high = getattr(self, least), getattr(self, most)
            if {least, most} <= self.model_fields_set and low > high:
                raise ValueError(f"{least} ({low:g}) is more than {most} ({high:g})")
        return self

    def over(self, base: Self) -> Self:
        """Return the protocol; what is not set comes from another.

        Of `min_samples` and `max_samples`, one that is not set adapts to the one that is, and of
        the seconds likewise.
        """
        merged = super().over(base)
        for least, most in BOUNDS:
            low, high = getattr(merged, least), getattr(merged, most)
            keep_least = least in self.model_fields_set
            update = {most: max(low, high)} if keep_least else {least: min(low, high)}
            merged = merged.model_copy(update=update)
        return merged


GateSetting = Annotated[
    str | None,
    pydantic.WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "number"}, {"const": False}]}),
]
"""A size such as `5%` or `1%, 4MiB`, or `off`; it is kept as `latency=5%`."""


class Gates(Settings):
    """The least change of each metric that counts in a check."""

    latency: GateSetting = Field(
        default=None, description="Time of a call: 5%, 1.5x, 2ms, 2us (2%)", examples=["5%"]
    )
    ceiling: GateSetting = Field(
        default=None, description="Share of the rate of the matmul beside it (3%)"
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
    mass_kept: GateSetting = Field(
        default=None, description="Attention mass that a mask keeps (0.5points)"
    )
    output_error: GateSetting = Field(
        default=None, description="Relative error that a mask makes (5%, 0.1points)"
    )

    @pydantic.field_validator("*", mode="before")
    @classmethod
    def _read(cls, size: Any, info: pydantic.ValidationInfo) -> str:
        setting = setting_of(info.field_name or "", size)
        with located():
            read_gate(setting)
        return setting

    @property
    def stated(self) -> tuple[str, ...]:
        """The settings that are set, as `latency=5%`."""
        return tuple(sorted(getattr(self, metric) for metric in self.model_fields_set))


class FidelitySettings(Settings):
    """How to measure what masks keep of attention mass, and the error of their output."""

    inputs: str | None = Field(
        default=None,
        min_length=1,
        max_length=1000,
        description="A file of q, k and v, or a folder of files, of this grid; those of the cases "
        "if not given, else generated ones",
        examples=["captured"],
    )
    rows: entries.Count = Field(default=SAMPLED_ROWS, description="Rows of each head to look at")
    bound: float = Field(
        default=BOUND, ge=0, le=1, description="Mass below which a row counts as one that loses"
    )
    seed: int = Field(default=0, ge=0, le=2**31, description="Seed of the rows")

    _files: tuple[InputsFile, ...] = pydantic.PrivateAttr(())

    @pydantic.model_validator(mode="after")
    def _load(self, info: pydantic.ValidationInfo) -> Self:
        self._files = _opened(self.inputs, info)
        return self


@dataclass(frozen=True, slots=True)
class FidelityOf:
    """How fidelity is measured, and of which inputs of layers and steps; generated ones if none."""

    sources: tuple[Source, ...]
    how: How


def _opened(path: str | None, info: pydantic.ValidationInfo) -> tuple[InputsFile, ...]:
    """Read the headers of files of q, k and v, in the folder of the suite."""
    if path is None:
        return ()
    with located():
        return open_inputs((info.context or {}).get("folder", Path()) / path)


Axes = tuple[
    tuple[entries.GridChoice, ...],
    tuple[entries.MaskChoice, ...],
    tuple[tuple[str | None, KernelConfig, str], ...],
]
"""Grids, masks, and backends with their configurations and the sources of those."""


class Matrix(Strict):
    """Masks × grids × backends; every combination is a case."""

    measure: Literal["attention", "compile"] = Field(
        default="attention",
        description="Time attention, or the compilation of the mask into its block table",
    )
    masks: entries.Many[entries.MaskOrName] = Field(description="Masks, by name or with parameters")
    grids: entries.Many[entries.GridEntry] = Field(
        description="Token grids, of a model or given in tokens"
    )
    heads: entries.Count | None = Field(default=None, description="Heads; the model's if not given")
    kv_heads: entries.Count | None = Field(
        default=None,
        description="Heads of k and v, which divide the heads; the model's, or as many",
    )
    head_dim: entries.Count | None = Field(
        default=None, description="Head dimension; the model's if not given"
    )
    batch: entries.Count = Field(default=1, description="Sequences")
    dtype: Literal["float32", "float16", "bfloat16"] = Field(
        default="bfloat16", description="Type of q, k and v"
    )
    direction: Literal["forward", "backward", "both"] = Field(
        default="forward",
        description="Time attention, its gradients alone, or both after one another",
    )
    backends: entries.Many[entries.BackendOrName] | None = Field(
        default=None, description="Backends, by name or with options; none for compile"
    )
    block_m: entries.Count | None = Field(default=None, description="Query tokens of a block (128)")
    block_n: entries.Count | None = Field(default=None, description="Key tokens of a block (128)")
    exclude: entries.OneOrMany[entries.Exclude] | None = Field(
        default=None, description="Cases to leave out"
    )
    inputs: str | None = Field(
        default=None,
        min_length=1,
        max_length=1000,
        description="A file of q, k and v to measure with, or a folder of files, from the suite's "
        "folder; normal numbers if not given",
        examples=["captured/layer03-step010.safetensors"],
    )
    fidelity: FidelitySettings | None = Field(
        default=None, description="Also measure what the masks keep, and how"
    )
    protocol: Protocol = Field(default_factory=Protocol, description="How these cases are sampled")
    gates: Gates = Field(default_factory=Gates, description="What counts in a check of these cases")

    _where: str = pydantic.PrivateAttr("")
    _files: tuple[InputsFile, ...] = pydantic.PrivateAttr(())

    @pydantic.model_validator(mode="after")
    def _load(self, info: pydantic.ValidationInfo) -> Self:
        self._files = _opened(self.inputs, info)
        return self

    @pydantic.model_validator(mode="after")
    def _complete(self) -> Self:
        if self.measure == "attention" and self.backends is None:
            raise ValueError("attention needs backends, such as [cpu]")
        if self.measure == "compile" and self.backends is not None:
            raise ValueError("compile has no backends: masks are compiled for all of them")
        if self.measure == "compile" and self.direction != "forward":
            raise ValueError("compile has no direction: a mask's table serves both")
        for name in ("heads", "head_dim"):
            if getattr(self, name) is None and any(
                getattr(choice, name) is None for choice in self.grid_choices()
            ):
                raise ValueError(f"needs {name}: grids given in tokens belong to no model")
        masks = [one.spec for entry in self.masks for one in entry.choices()]
        for choice in self.grid_choices():
            heads = self.heads or choice.heads or 1
            if heads % (self.kv_heads or heads):
                raise ValueError(f"kv_heads must divide the {heads} heads, got {self.kv_heads}")
            for mask in masks:
                with located():
                    mask.check_tables(choice.grid)
                if isinstance(mask, HeadPlan) and mask.heads != heads:
                    raise ValueError(
                        f"the head plan {mask.label} has masks for {mask.heads} heads, and "
                        f"{heads} are measured"
                    )
            self._check_inputs(choice)
        return self

    def _check_inputs(self, choice: entries.GridChoice) -> None:
        """Refuse files of other shapes than the cases."""
        problem, grid = self.problem(choice), choice.grid
        if self.inputs is not None:
            file = self.inputs_of(grid)
            if file is None:
                raise ValueError(_other_grid(grid, self._files))
            if "rows" in file.shapes:
                raise ValueError(f"{file.path} has some queries only, which cannot be timed")
            if {*(file.header.text_lengths or ())} - {grid.real_text}:
                raise ValueError(f"{file.path} has texts of several lengths; cases have one")
            batch, heads, _, head_dim = file.shapes["q"]
            has = (batch, heads, file.shapes["k"][1], head_dim, file.dtype)
            wants = (problem.batch, problem.heads, problem.key_heads, problem.head_dim, self.dtype)
            names = ("batch", "heads", "kv_heads", "head_dim", "dtype")
            for name, there, wanted in zip(names, has, wants, strict=True):
                if there != wanted:
                    raise ValueError(
                        f"{file.path} has {name} {there}, and the cases {wanted}; write "
                        f"{name}: {there}"
                    )
        found = self.fidelity_of(grid)
        if self.fidelity is None or found is None or found.sources:
            return
        if self.fidelity._files:
            raise ValueError(_other_grid(grid, self.fidelity._files))
        if grid.segments or problem.head_dim < LEAST_HEAD_DIM:
            raise ValueError(
                f"fidelity: inputs are generated for video and text, with a head_dim of at least "
                f"{LEAST_HEAD_DIM}; give inputs, a file of q, k and v"
            )

    def problem(self, choice: entries.GridChoice) -> Problem:
        """Return what is computed on a grid, whatever the mask."""
        inputs = self.inputs_of(choice.grid)
        return Problem(
            mask_fingerprint="any",
            grid=choice.grid,
            batch=self.batch,
            heads=self.heads or choice.heads or 1,
            kv_heads=self.kv_heads or (None if self.heads else choice.kv_heads),
            head_dim=self.head_dim or choice.head_dim or 1,
            dtype=self.dtype,
            direction=self.direction,
            sm_scale=inputs.header.sm_scale if inputs else None,
        )

    def inputs_of(self, grid: TokenGrid) -> InputsFile | None:
        """Return the file of q, k and v on a grid, the first by layer and step."""
        return next((one for one in self._files if one.header.grid == grid), None)

    def fidelity_of(self, grid: TokenGrid) -> FidelityOf | None:
        """Return how to measure what masks keep on a grid; None not to."""
        how = self.fidelity
        if how is None or self.measure == "compile":
            return None
        sources = tuple(one for one in how._files or self._files if one.header.grid == grid)
        return FidelityOf(sources, How(how.rows, how.bound, how.seed))

    @property
    def where(self) -> str:
        """Its place in the file, such as `cases[0]`."""
        return self._where

    def placed(
        self,
        where: str,
        protocol: Protocol | None = None,
        gates: Gates | None = None,
    ) -> Self:
        """Return the matrix with its place; protocol and gates that are not set are its suite's."""
        merged = self.model_copy(
            update={
                "protocol": self.protocol.over(protocol or Protocol()),
                "gates": self.gates.over(gates or Gates()),
            }
        )
        merged._where = where
        return merged

    def grid_choices(self) -> tuple[entries.GridChoice, ...]:
        """Return the grids, each of a sweep on its own."""
        return tuple(choice for grid in self.grids for choice in grid.choices())

    def axes(self) -> Axes:
        """Return the axes, whose combinations are the cases; compile has no backend."""
        blocks = {"block_m": self.block_m, "block_n": self.block_n}
        masks = tuple(choice for mask in self.masks for choice in mask.choices())
        if self.backends is None:
            return self.grid_choices(), masks, ((None, *entries.configured(None, **blocks)),)
        configs = tuple((one.name, *one.config(**blocks)) for one in self.backends)
        return self.grid_choices(), masks, configs


def _other_grid(grid: TokenGrid, files: Sequence[InputsFile]) -> str:
    grids = ", ".join({one.header.grid.label: None for one in files})
    return f"the inputs are of the grid {grids}, and the cases of {grid.label}"


OtherSuite = Annotated[str, Field(min_length=1, max_length=200)]
"""A shipped suite by name, or a YAML file in the suite's folder."""


class SuiteFile(Strict):
    """A radialbench suite: what to measure."""

    model_config = pydantic.ConfigDict(
        json_schema_extra={"anyOf": [{"required": [k]} for k in ("cases", "extends", "include")]}
    )

    name: entries.Word | None = Field(default=None, description="Name; the file's if not given")
    description: str = Field(default="", description="What the suite is for", max_length=2000)
    extends: OtherSuite | None = Field(
        default=None,
        description="A suite to start from: its settings hold unless they are set here, and its "
        "cases come first",
        examples=["smoke", "base.yaml"],
    )
    include: entries.OneOrMany[OtherSuite] | None = Field(
        default=None,
        description="Suites to add, with their own protocols and gates",
        examples=[["wan", "hunyuan"]],
    )
    tags: list[entries.Word] = Field(default_factory=list, description="Words to find it by")
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="Where attention runs; auto: a GPU where there is one"
    )
    protocol: Protocol = Field(default_factory=Protocol, description="How cases are sampled")
    gates: Gates = Field(
        default_factory=Gates, description="The least changes that count in a check"
    )
    cases: entries.Many[Matrix] = Field(default_factory=list, description="Matrices of cases")

    @pydantic.model_validator(mode="after")
    def _plans_something(self) -> "SuiteFile":
        if not (self.cases or self.extends or self.include):
            raise ValueError("needs cases, or another suite's by extends or include")
        return self


@dataclass(frozen=True, slots=True)
class SuiteSpec:
    """A suite: the fields of its file, with `source`, the file's name for messages.

    `changed` says that axes stand in place of its own: cases that become equal are run once.
    """

    name: str
    description: str
    tags: tuple[str, ...]
    device: str
    source: str
    cases: tuple[Matrix, ...]
    changed: bool = False


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a suite file, for editors."""
    schema = SuiteFile.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
