"""Entries of a suite file, each checked and loaded where it stands in the YAML."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import product
from math import prod
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

import pydantic
from pydantic import Field

from radialbench.errors import GridError, SpecError
from radialbench.kernels.backends import BACKENDS, added_backends, check_backend
from radialbench.maskgen.document import Or, Strict, located, named
from radialbench.maskgen.grid import Segment, TokenGrid, load_model, model_names, parse_frames
from radialbench.maskgen.identity import MaskIdentity
from radialbench.maskgen.language.given import GivenTable, read_tables
from radialbench.maskgen.language.heads import AnyMask, HeadPlan
from radialbench.maskgen.language.spec import MaskSpec
from radialbench.maskgen.library import (
    is_head_plan,
    load_head_plan,
    load_mask,
    parse_head_plan,
)
from radialbench.reading import is_inside
from radialbench.records.problem import KernelConfig, plain_config

T = TypeVar("T")
MAX_INT = 2**31 - 1
MAX_SWEEP = 1000


OneOrMany = Annotated[
    list[T],
    Field(min_length=1, max_length=1000),
    pydantic.BeforeValidator(lambda value: value if isinstance(value, list) else [value]),
    Or(lambda long: dict(long["items"])),
]
"""A value, or a list of values."""

Many = Annotated[list[T], Field(min_length=1, max_length=1000)]
"""A list that is not empty."""

Count = Annotated[int, Field(ge=1, le=MAX_INT)]
"""A whole number of at least 1."""

Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.,:=+-]*$", max_length=100)]
"""A name that can stand in a case id."""


@dataclass(frozen=True, slots=True)
class MaskChoice:
    """A mask or head plan of a suite; the label of its identity is in case ids and reports."""

    identity: MaskIdentity
    spec: AnyMask

    @property
    def id(self) -> str:
        """Its part of the case id."""
        return self.identity.label


@dataclass(frozen=True, slots=True)
class GridChoice:
    """A token grid of a suite, with the preset, heads and head dimension of its model if any."""

    grid: TokenGrid
    model: str | None = None
    heads: int | None = None
    head_dim: int | None = None
    kv_heads: int | None = None

    @property
    def id(self) -> str:
        """Its part of the case id."""
        return f"{self.model}/{self.grid.label}" if self.model else self.grid.label


class Sweep(Strict, Generic[T]):
    """An entry that stands for several masks or grids."""

    _choices: tuple[T, ...] = pydantic.PrivateAttr(())

    def choices(self) -> tuple[T, ...]:
        """Return them, loaded."""
        return self._choices


class MaskSweep(Sweep[MaskChoice]):
    """A mask with its parameters; lists of values are swept."""

    name: str = Field(
        description="Name in the library, with a preset if wanted, or a YAML file beside the suite "
        "with a mask or a head plan; with heads, the plan's name",
        examples=["radial", "radial_blocks:wan", "my_mask.yaml"],
        min_length=1,
        max_length=200,
    )
    heads: dict[str, Any] | None = Field(
        default=None,
        description="A head plan: the mask of each group of heads",
        examples=[{"0-5": "svg_spatial", "6-11": "svg_temporal"}],
    )
    params: dict[str, OneOrMany[bool | int | float]] = Field(
        default_factory=dict,
        description="Parameter values; every combination of listed values is a mask",
        examples=[{"decay": [0.5, 1.0]}],
    )
    tables: dict[str, OneOrMany[str]] = Field(
        default_factory=dict,
        description="npy files of the block tables that the mask asks for, in the suite's folder; "
        "every combination of listed files is a mask",
        examples=[{"chosen": "blocks.npy"}],
    )
    empty_rows: str | None = Field(
        default=None, description="What to do with tokens that attend nothing", examples=["keep"]
    )
    label: Word | None = Field(default=None, description="Name in case ids and reports")

    @pydantic.model_validator(mode="after")
    def _load(self, info: pydantic.ValidationInfo) -> "MaskSweep":
        with located():
            self._choices = self._loaded((info.context or {}).get("folder", Path()))
        return self

    def _base(self, folder: Path) -> AnyMask:
        """Load the mask, or the head plan, with the parameters of its file."""
        name = self.name
        if self.heads is not None:
            return parse_head_plan({"name": name, "heads": self.heads}, folder)
        if not name.endswith((".yaml", ".yml")) and "/" not in name:
            return load_mask(name, empty_rows=self.empty_rows)
        path = folder / name
        if not is_inside(path, folder):
            raise SpecError(f"a suite uses masks in its own folder, got {name!r}")
        if is_head_plan(path):
            return replace(load_head_plan(path), file=name)
        return replace(load_mask(path, empty_rows=self.empty_rows), file=name)

    def _loaded(self, folder: Path) -> tuple[MaskChoice, ...]:
        base, name = self._base(folder), self.name
        if isinstance(base, HeadPlan) and (self.params or self.empty_rows):
            raise SpecError(f"{name} is a head plan: each of its masks states its parameters")
        missing = next((word for word in base.table_names if word not in self.tables), None)
        if missing is not None:
            raise SpecError(
                f"{name} needs the table {missing!r}: give its file beside the name, as "
                f"tables: {{{missing}: blocks.npy}}"
            )
        count = prod(map(len, self._lists.values()))
        if count > MAX_SWEEP:
            raise SpecError(f"a sweep has at most {MAX_SWEEP:,} masks, got {count:,}")
        tables = {
            (word, file): self._table(word, file, folder)
            for word, files in self.tables.items()
            for file in files
        }
        masks: Iterator[AnyMask] = iter([base])
        if isinstance(base, MaskSpec):
            masks = (base.with_params(**values) for values in _combinations(self.params))
        return tuple(
            self._choice(mask.with_tables({word: tables[word, files[word]] for word in files}))
            for mask, files in product(masks, list(_combinations(self.tables)))
        )

    @property
    def _lists(self) -> dict[str, list[Any]]:
        return {**self.params, **self.tables}

    def _table(self, word: str, file: str, folder: Path) -> GivenTable:
        if not is_inside(folder / file, folder):
            raise SpecError(f"a suite uses tables in its own folder, got {file!r}")
        return read_tables({word: file}, folder)[word]

    def _choice(self, spec: AnyMask) -> MaskChoice:
        if self.label is None:
            return MaskChoice(spec.identity, spec)
        swept = tuple(name for name, values in self._lists.items() if len(values) > 1)
        return MaskChoice(replace(spec.identity, name=self.label, shown=swept), spec)


MaskOrName = Annotated[MaskSweep, pydantic.BeforeValidator(named), Or(lambda _: {"type": "string"})]
"""A mask with parameters, or its name alone."""


Queries = Annotated[
    str | None,
    Field(
        description="First and last frame of the queries; the other tokens are keys of a cache",
        examples=["12-15"],
        json_schema_extra={
            "anyOf": [{"type": "string", "pattern": r"^\d{1,9}-\d{1,9}$"}, {"type": "null"}]
        },
    ),
]


def _of_queries(choice: GridChoice, queries: str | None) -> GridChoice:
    if queries is None:
        return choice
    return replace(choice, grid=replace(choice.grid, query_frames=parse_frames(queries)))


class ModelGrid(Sweep[GridChoice]):
    """Grids of a model: a size in pixels, with its frames in the size or beside it."""

    model: str = Field(
        description="A model preset",
        examples=["wan2.1-14b"],
        json_schema_extra={"enum": [*model_names()]},
    )
    size: OneOrMany[str] = Field(
        description="Pixels as width×height×frames, or width×height with the frames beside it",
        examples=["1280x720x81", ["832x480", "1280x720"]],
    )
    frames: OneOrMany[Count] | None = Field(
        default=None, description="Frames of the video", examples=[[33, 81]]
    )
    latent_frames: OneOrMany[Count] | None = Field(
        default=None, description="Frames of the token grid", examples=[[9, 21]]
    )
    queries: Queries = None

    @pydantic.model_validator(mode="after")
    def _load(self) -> "ModelGrid":
        with located():
            count = len(self.size) * max(len(self.frames or ()), len(self.latent_frames or ()))
            if count > MAX_SWEEP:
                raise GridError(f"a sweep has at most {MAX_SWEEP:,} grids, got {count:,}")
            self._choices = tuple(
                _of_queries(choice, self.queries)
                for size in self.size
                for choice in self._loaded(size)
            )
        return self

    def _loaded(self, size: str) -> list[GridChoice]:
        if not re.fullmatch(r"\d{1,6}x\d{1,6}(x\d{1,6})?", size):
            raise GridError(f"a size is width×height×frames, such as 832x480x81, got {size[:40]!r}")
        model = load_model(self.model)
        given = (
            (size.count("x") == 2) + (self.frames is not None) + (self.latent_frames is not None)
        )
        if given != 1:
            raise GridError(
                f"frames are given once: in the size ({size}), as 'frames', or as 'latent_frames'"
            )
        if self.latent_frames is not None:
            still = model.grid(f"{size}x1")
            grids = [replace(still, frames=frames) for frames in self.latent_frames]
        elif self.frames is not None:
            grids = [model.grid(f"{size}x{frames}") for frames in self.frames]
        else:
            grids = [model.grid(size)]
        heads = model.heads, model.head_dim, model.kv_heads
        return [GridChoice(grid, self.model, *heads) for grid in grids]


class RawGrid(Sweep[GridChoice]):
    """Grids given in tokens."""

    frames: OneOrMany[Count] = Field(description="Latent frames", examples=[21, [5, 9, 17]])
    height: Count = Field(description="Token rows of a frame")
    width: Count = Field(description="Token columns of a frame")
    text_tokens: int = Field(default=0, ge=0, le=MAX_INT, description="Text slots in the sequence")
    text_first: bool = Field(default=False, description="Whether the text stands before the video")
    text_valid: int | None = Field(
        default=None, ge=0, le=MAX_INT, description="Real text tokens; all if not given"
    )
    queries: Queries = None

    @pydantic.model_validator(mode="after")
    def _load(self) -> "RawGrid":
        text = (self.text_tokens, self.text_first, self.text_valid)
        with located():
            grids = [TokenGrid(frames, self.height, self.width, *text) for frames in self.frames]
            self._choices = tuple(_of_queries(GridChoice(grid), self.queries) for grid in grids)
        return self


class SegmentedGrid(Sweep[GridChoice]):
    """A grid of named segments, in order."""

    segments: dict[str, str | int] = Field(
        description="Segments in order: frames×rows×columns of a video, one of them named "
        "video, or a number of tokens, of which some may be real: 100of120",
        examples=[{"text": 226, "video": "13x30x45", "audio": "100of120"}],
        min_length=1,
        max_length=100,
    )
    queries: Queries = None

    @pydantic.model_validator(mode="after")
    def _load(self) -> "SegmentedGrid":
        with located():
            parts = [Segment.parse(name, str(size)) for name, size in self.segments.items()]
            self._choices = (_of_queries(GridChoice(TokenGrid.of(*parts)), self.queries),)
        return self


def _kind_of_grid(value: Any) -> str:
    given = value if isinstance(value, dict) else ()
    if isinstance(value, SegmentedGrid) or "segments" in given:
        return "(segments)"
    return "(model)" if isinstance(value, ModelGrid) or "model" in given else "(raw)"


GridEntry = Annotated[
    Annotated[ModelGrid, pydantic.Tag("(model)")]
    | Annotated[RawGrid, pydantic.Tag("(raw)")]
    | Annotated[SegmentedGrid, pydantic.Tag("(segments)")],
    pydantic.Discriminator(_kind_of_grid),
]
"""A model's grids, grids given in tokens, or a grid of named segments."""


def backend_names() -> dict[str, Any]:
    """Return the schema of a backend's name: ours, of installed packages, and `module:Class`."""
    names = sorted((*BACKENDS, *added_backends()))
    return {"anyOf": [{"enum": names}, {"type": "string", "pattern": r"^[\w.]+:\w+$"}]}


class BackendChoice(Strict):
    """A backend with its configuration."""

    name: str = Field(
        description="A backend",
        examples=["cpu"],
        json_schema_extra=lambda schema: schema.update(backend_names()),
    )
    block_m: Count | None = Field(default=None, description="Query tokens of a block")
    block_n: Count | None = Field(default=None, description="Key tokens of a block")
    num_warps: Count | None = Field(default=None, description="Warps, where it has them")
    num_stages: Count | None = Field(default=None, description="Stages, where it has them")

    @pydantic.model_validator(mode="after")
    def _known(self) -> "BackendChoice":
        with located():
            check_backend(self.name)
        return self

    def config(self, **options: int | None) -> tuple[KernelConfig, str]:
        """Return its configuration and the source; its own options replace those of the matrix."""
        own = self.model_dump(exclude={"name"}, exclude_none=True)
        return configured(self.name, **(options | own))


BackendOrName = Annotated[
    BackendChoice, pydantic.BeforeValidator(named), Or(lambda _: backend_names())
]
"""A backend with options, or its name alone."""


class Exclude(Strict):
    """Cases to leave out: those that match every key given here."""

    mask: str | None = Field(
        default=None, description="Pattern of the mask's id", examples=["sta*"]
    )
    backend: str | None = Field(default=None, description="Name of the backend")
    min_tokens: Count | None = Field(default=None, description="Sequences at least this long")
    max_tokens: Count | None = Field(default=None, description="Sequences at most this long")

    @pydantic.model_validator(mode="after")
    def _not_empty(self) -> "Exclude":
        if not self.model_fields_set:
            raise ValueError("names at least one of mask, backend, min_tokens, max_tokens")
        return self

    def matches(self, mask: str, backend: str | None, seq_len: int) -> bool:
        """Return whether a case is left out."""
        return (
            (self.mask is None or fnmatchcase(mask, self.mask))
            and (self.backend is None or self.backend == backend)
            and (self.min_tokens is None or seq_len >= self.min_tokens)
            and (self.max_tokens is None or seq_len <= self.max_tokens)
        )


def configured(name: str | None, **options: int | None) -> tuple[KernelConfig, str]:
    """Return a configuration with the options that are set, and defaults for the others.

    Returns:
        The configuration, and where it comes from: `suite`, or `default` where no option is set.
    """
    given: dict[str, Any] = {key: value for key, value in options.items() if value is not None}
    return replace(plain_config(name), **given), "suite" if given else "default"


def _combinations(lists: Mapping[str, list[T]]) -> Iterator[dict[str, T]]:
    """Yield every choice of one value from each list."""
    for values in product(*lists.values()):
        yield dict(zip(lists, values, strict=True))
