"""The schema of mask files and head plans, and how they become MaskSpec and HeadPlan."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainValidator,
    PrivateAttr,
    Tag,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)

from radialbench.errors import SpecError
from radialbench.maskgen.document import (
    Document,
    DocumentError,
    Or,
    Strict,
    brief,
    check_document,
    located,
    named,
)
from radialbench.maskgen.language.expressions import Expr
from radialbench.maskgen.language.heads import HeadGroup, HeadPlan, parse_heads
from radialbench.maskgen.language.parser import parse
from radialbench.maskgen.language.spec import (
    DEFAULT_TEXT,
    PAIR,
    MaskSpec,
    OrderRule,
    SpecErrorAt,
    at_key,
    parse_pair,
)
from radialbench.maskgen.language.tree import (
    AllOf,
    AnyOf,
    BlockInput,
    KeepRule,
    MaskNode,
    Not,
    Param,
    Rounded,
    Share,
    TokenRule,
    written_out,
)

MAX_PARTS = 200

Loader = Callable[[str], MaskSpec]
"""Loads a mask by its name in a file."""

T = TypeVar("T")
FileModel = TypeVar("FileModel", bound=Strict)


def _form(value: Any) -> str:
    return "(mapping)" if isinstance(value, dict) else "(short)"


def _expression(value: Any) -> Expr:
    if not isinstance(value, str | bool | int | float):
        raise ValueError(f"must be an expression, got {brief(value)}")
    with located():
        return parse(str(value))


def _scalar(value: Any) -> float | bool:
    if not isinstance(value, bool | int | float):
        raise ValueError(f"must be a number, true or false, got {brief(value)}")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"must be a number, got {brief(value)}")
    return value


def _order_word(value: Any) -> Any:
    if value == "tiles":
        raise ValueError("tiles have three sides: {tiles: [frames, rows, columns]}")
    return value


def _share(value: Any) -> Share:
    with located():
        return Share.parse(value)


Expression = Annotated[
    Expr,
    PlainValidator(_expression),
    WithJsonSchema({"type": ["string", "number", "boolean"]}),
]
Scalar = Annotated[
    float | bool, PlainValidator(_scalar), WithJsonSchema({"type": ["number", "boolean"]})
]
Number = Annotated[float, PlainValidator(_number), WithJsonSchema({"type": "number"})]
ShareText = Annotated[
    Share,
    PlainValidator(_share),
    WithJsonSchema({"type": "string", "pattern": Share.PATTERN, "examples": [">3/5"]}),
]
Words = Annotated[dict[str, T], Field(max_length=MAX_PARTS)]
"""Entries by names that the author chooses."""

Node = Annotated[
    Annotated["PartEntry", Tag("(mapping)")] | Annotated[Expression, Tag("(short)")],
    Discriminator(_form),
]
"""A rule: an expression, or parts that are joined."""

Nodes = Annotated[list[Node], Field(min_length=1, max_length=MAX_PARTS)]


def _absent() -> Any:
    """Return None for a missing key; a key of a file is never null."""


class Entry(Strict):
    """A mapping of a mask file."""

    # Most models are parts of another: they need no validator of their own.
    model_config = ConfigDict(defer_build=True)


class SharesEntry(Entry):
    """Keep a block by shares of its columns and rows."""

    columns: ShareText = Field(
        description="Of the key columns with any pair, this share must be dense"
    )
    rows: ShareText = Field(description="A column is dense if this share of the rows attends it")


class RoundedEntry(Entry):
    """Whole blocks, decided from the rule inside them."""

    block: Expression = Field(description="Tokens of a block's side", examples=[128])
    per: Literal["sequence", "frame_pair"] = Field(
        default="sequence",
        description="What a block is judged by: the whole sequence, or each pair of frames",
    )
    keep: Annotated[
        Annotated[SharesEntry, Tag("(mapping)")]
        | Annotated[Literal["any", "all", "centre"], Tag("(short)")],
        Discriminator(_form),
    ] = Field(description="When a block is kept: any pair, all pairs, the centre's, or shares")
    overhang: Literal["keep", "drop"] = Field(
        default="keep",
        description="Whether tokens of a frame in one more block than it needs count",
    )
    of: Expression = Field(description="The rule inside the blocks")

    def node(self) -> Rounded:
        """Return the part of the mask."""
        if isinstance(self.keep, SharesEntry):
            keep = KeepRule("share", self.keep.columns, self.keep.rows)
        else:
            keep = KeepRule(self.keep)
        return Rounded(self.of, self.block, self.per, keep, self.overhang)


class TableEntry(Entry):
    """Whole blocks of a table that is passed when the mask is compiled."""

    name: str = Field(description="Name under which the table is passed")
    block: Expression = Field(description="Tokens of a block's side", examples=[128])


class UseEntry(Entry):
    """The rule of another mask."""

    name: str = Field(description="A mask beside the file, or of the library", examples=["radial"])
    params: Words[Scalar] = Field(default_factory=dict, description="Parameter values")
    _node: MaskNode = PrivateAttr()

    @model_validator(mode="after")
    def _load(self, info: ValidationInfo) -> "UseEntry":
        with located():
            spec = _loader(info, "use")(self.name).with_params(**self.params)
        if spec.order != OrderRule():
            raise ValueError(f"{spec.name!r} has an order of its own and cannot be used in a mask")
        self._node = written_out(spec.mask, spec.parts)
        return self

    def node(self) -> MaskNode:
        """Return the mask's rule, with its parameters and parts filled in."""
        return self._node


class PartEntry(Entry):
    """A part of a mask: exactly one of these keys."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    any: Nodes = Field(default_factory=_absent, description="Pairs of at least one part")
    all: Nodes = Field(default_factory=_absent, description="Pairs of every part")
    excluded: Node = Field(
        default_factory=_absent, alias="not", description="Pairs that the part leaves out"
    )
    rounded: RoundedEntry = Field(
        default_factory=_absent, description="Whole blocks, decided by a rule"
    )
    table: TableEntry = Field(
        default_factory=_absent, description="Whole blocks, chosen at run time"
    )
    use: Annotated[UseEntry, BeforeValidator(named), Or(lambda _: {"type": "string"})] = Field(
        default_factory=_absent, description="The rule of another mask"
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> "PartEntry":
        if len(self.model_fields_set) != 1:
            raise ValueError("a part has exactly one of any, all, not, rounded, table, use")
        return self

    def node(self) -> MaskNode:
        """Return the part of the mask."""
        (key,) = self.model_fields_set
        match key:
            case "any":
                return AnyOf(tuple(map(_node, self.any)))
            case "all":
                return AllOf(tuple(map(_node, self.all)))
            case "excluded":
                return Not(_node(self.excluded))
            case "table":
                return BlockInput(self.table.name, self.table.block)
        return self.rounded.node() if key == "rounded" else self.use.node()


class ParamEntry(Entry):
    """A parameter."""

    type: Literal["int", "float", "bool"] = Field(description="Type of its values")
    default: Scalar = Field(description="Value if no other is set")
    value: Scalar = Field(
        default_factory=_absent, description="Current value, if it is not the default"
    )
    min: Number = Field(default_factory=_absent, description="Smallest value allowed")
    above: Number = Field(
        default_factory=_absent, description="Every value allowed is greater than this"
    )
    max: Number = Field(default_factory=_absent, description="Greatest value allowed")
    search: Annotated[list[Number], Field(json_schema_extra={"minItems": 2, "maxItems": 2})] = (
        Field(
            default_factory=_absent,
            description="Least and greatest value that `mask search` tries",
            examples=[[0.25, 4]],
        )
    )
    help: str = Field(default="", description="What it does, in one line")

    def param(self, name: str) -> Param:
        """Return the parameter of this name."""
        value = self.default if self.value is None else self.value
        bounds = {"least": self.min, "above": self.above, "most": self.max}
        if self.search is not None and len(self.search) != 2:
            raise SpecError(f"search is a least and a greatest value, got {len(self.search)}")
        search = None if self.search is None else (self.search[0], self.search[1])
        return Param(name, self.type, self.default, value, **bounds, help=self.help, search=search)


Sizes = Annotated[list[Expression], Field(json_schema_extra={"minItems": 3, "maxItems": 3})]
"""Frames, rows and columns."""


class ShiftedEntry(Entry):
    """Tiles with their first borders inside the video."""

    size: Sizes = Field(description="Frames, rows and columns of a tile", examples=[[2, 8, 8]])
    shift: Sizes = Field(
        description="First border of tiles along each axis; those before it are smaller",
        examples=[[1, 4, 4]],
    )


class TilesEntry(Entry):
    """Boxes of tokens, one after the other."""

    tiles: Annotated[
        Annotated[ShiftedEntry, Tag("(mapping)")] | Annotated[Sizes, Tag("(short)")],
        Discriminator(_form),
    ] = Field(description="Frames, rows and columns of a tile", examples=[[6, 8, 8]])

    def rule(self) -> OrderRule:
        """Return the order.

        Raises:
            SpecError: There are not three sides.
        """
        if isinstance(self.tiles, ShiftedEntry):
            return OrderRule("tiles", tuple(self.tiles.size), tuple(self.tiles.shift))
        return OrderRule("tiles", tuple(self.tiles))


class MaskFile(Entry):
    """A radialbench mask: which pairs of tokens attend."""

    name: str = Field(description="Name for people", min_length=1)
    paper: str = Field(default="", description="Where it was published")
    about: str = Field(default="", description="What it does, and where published code differs")
    order: Annotated[
        Annotated[TilesEntry, Tag("(mapping)")]
        | Annotated[
            Literal["raster", "space_major", "hilbert"],
            BeforeValidator(_order_word),
            Tag("(short)"),
        ],
        Discriminator(_form),
    ] = Field(default="raster", description="The token order that suits the mask")
    params: Words[ParamEntry] = Field(default_factory=dict, description="Parameters")
    presets: Words[Words[Scalar]] = Field(
        default_factory=dict, description="Named sets of parameter values"
    )
    let: Words[Expression] = Field(
        default_factory=dict, description="Named parts; each may use those above it"
    )
    mask: Node = Field(
        description="The rule for pairs of video tokens", examples=["dt <= 1 or ds <= 100"]
    )
    text: Expression = Field(
        default_factory=_absent, description="The rule for pairs with a text token (not kpad)"
    )
    pairs: Annotated[
        Words[Expression], Field(json_schema_extra={"propertyNames": {"pattern": PAIR}})
    ] = Field(
        default_factory=dict,
        description="Rules for pairs of segments by their names, query-key, in place of text",
        examples=[{"video-audio": "abs(qt * 25 - ks) <= 50"}],
    )
    empty_rows: Literal["error", "keep", "own_block"] = Field(
        default="error", description="Treatment of a token that would attend nothing"
    )

    def spec(self) -> MaskSpec:
        """Return the mask.

        Raises:
            SpecErrorAt: A name is unknown or taken, or a value is not allowed.
        """
        params = []
        for word, entry in self.params.items():
            with at_key("params", word):
                params.append(entry.param(word))
        pairs = []
        for word, tree in self.pairs.items():
            with at_key("pairs", word):
                pairs.append((*parse_pair(word), tree))
        order = self.order
        with at_key("order"):
            rule = order.rule() if isinstance(order, TilesEntry) else OrderRule(order)
        return MaskSpec(
            name=self.name,
            mask=_node(self.mask),
            order=rule,
            params=tuple(params),
            presets=tuple((word, tuple(values.items())) for word, values in self.presets.items()),
            let=tuple(self.let.items()),
            text=DEFAULT_TEXT if self.text is None else self.text,
            empty_rows=self.empty_rows,
            paper=self.paper,
            about=self.about,
            pairs=tuple(pairs),
        )


class GroupEntry(Entry):
    """The mask of a group of heads, by name."""

    name: str = Field(
        description="A mask of the library, with a preset if wanted, or a file beside this one",
        examples=["svg_spatial", "radial_blocks:wan", "near.yaml"],
    )
    params: Words[Scalar] = Field(default_factory=dict, description="Parameter values")
    empty_rows: Literal["error", "keep", "own_block"] = Field(
        default_factory=_absent,
        description="Overrides the mask's treatment of tokens that attend nothing",
    )
    _spec: MaskSpec = PrivateAttr()

    @model_validator(mode="after")
    def _load(self, info: ValidationInfo) -> "GroupEntry":
        with located():
            spec = _loader(info, "load")(self.name)
            if self.empty_rows is not None:
                spec = replace(spec, empty_rows=self.empty_rows)
            self._spec = spec.with_params(**self.params)
        return self

    def spec(self) -> MaskSpec:
        """Return the mask."""
        return self._spec


def _group(value: Any) -> str:
    return "(inline)" if isinstance(value, dict) and "mask" in value else "(named)"


Group = Annotated[
    Annotated[MaskFile, Tag("(inline)")] | Annotated[GroupEntry, Tag("(named)")],
    Discriminator(_group),
    BeforeValidator(named),
    Or(lambda _: {"type": "string"}),
]
"""A mask of a head plan: its name, its name with parameters, or the whole mask."""


class HeadPlanFile(Entry):
    """A radialbench head plan: a mask for each group of attention heads."""

    name: str = Field(description="Name for people")
    about: str = Field(default="", description="What it does")
    paper: str = Field(default="", description="Where it was published")
    heads: dict[str, Group] = Field(
        description="Masks by heads, which are counted from 0: 0-5,8",
        json_schema_extra={"propertyNames": {"pattern": r"^\s*\d{1,4}\s*(-|,|\d|\s)*$"}},
    )

    def plan(self) -> HeadPlan:
        """Return the plan.

        Raises:
            SpecErrorAt: A head has no mask, or two, or a mask is wrong.
        """
        groups = []
        for word, entry in self.heads.items():
            with at_key("heads", word):
                groups.append(HeadGroup(parse_heads(word), entry.spec()))
        with at_key("heads"):
            return HeadPlan(self.name, tuple(groups), self.paper, self.about)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of mask files and head plans, for editors."""
    kinds = [model.model_json_schema() for model in (MaskFile, HeadPlanFile)]
    definitions = {name: kind for schema in kinds for name, kind in schema.pop("$defs").items()}
    mask, plan = kinds
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "radialbench mask or head plan",
        "type": "object",
        "if": {"required": ["heads"]},
        "then": {"$ref": "#/$defs/HeadPlanFile"},
        "else": {"$ref": "#/$defs/MaskFile"},
        "$defs": definitions | {"MaskFile": mask, "HeadPlanFile": plan},
    }


def read_mask(document: Document, use: Loader) -> MaskSpec:
    """Read a mask from a document.

    Args:
        document: The document.
        use: Loads a mask that `use` names.

    Raises:
        SpecError: The document is not a mask; the message has line and column.
    """
    return built(document, MaskFile, MaskFile.spec, {"use": use})


def read_head_plan(document: Document, load: Loader, use: Loader) -> HeadPlan:
    """Read a head plan from a document.

    Args:
        document: The document.
        load: Loads the mask of a group.
        use: Loads a mask that `use` names, in a mask inside the plan.

    Raises:
        SpecError: The document is no head plan; the message has line and column.
    """
    return built(document, HeadPlanFile, HeadPlanFile.plan, {"load": load, "use": use})


def built(
    document: Document,
    model: type[FileModel],
    build: Callable[[FileModel], T],
    context: Mapping[str, Loader],
) -> T:
    """Check a document by its schema, and build what it says.

    Raises:
        SpecError: Something is wrong; the message has line and column.
    """
    try:
        return build(check_document(document, model, context=context))
    except DocumentError as error:
        raise SpecError(str(error)) from None
    except SpecErrorAt as error:
        raise SpecError(document.message(error.path, error.reason)) from None
    except SpecError as error:
        raise SpecError(document.message((), str(error))) from None


def _loader(info: ValidationInfo, key: str) -> Loader:
    assert info.context is not None
    loader: Loader = info.context[key]
    return loader


def _node(written: PartEntry | Expr) -> MaskNode:
    return TokenRule(written) if isinstance(written, Expr) else written.node()
