"""MaskSpec to YAML."""

import json
from typing import Any

import yaml

from radialbench.maskgen.expr import substitute
from radialbench.maskgen.params import Param
from radialbench.maskgen.spec import DEFAULT_TEXT, MaskSpec, OrderRule
from radialbench.maskgen.tree import (
    AllOf,
    AnyOf,
    Given,
    Keep,
    MaskNode,
    Not,
    Pairs,
    Rounded,
    written_out,
)


def to_yaml(spec: MaskSpec) -> str:
    """Write a mask as a YAML document that reads back equal."""
    return yaml.safe_dump(to_mapping(spec), sort_keys=False, allow_unicode=True, width=100)


def to_mapping(spec: MaskSpec) -> dict[str, Any]:
    """Write a mask as the plain mapping of its YAML document."""
    document: dict[str, Any] = {"name": spec.name}
    if spec.paper:
        document["paper"] = spec.paper
    if spec.about:
        document["about"] = spec.about
    if spec.order != OrderRule():
        document["order"] = _order(spec.order)
    if spec.params:
        document["params"] = {param.name: _param(param) for param in spec.params}
    if spec.presets:
        document["presets"] = {word: dict(values) for word, values in spec.presets}
    if spec.let:
        document["let"] = {word: str(tree) for word, tree in spec.let}
    document["mask"] = _node(spec.mask)
    if spec.text is not DEFAULT_TEXT:
        document["text"] = str(spec.text)
    if spec.empty_rows != "error":
        document["empty_rows"] = spec.empty_rows
    return document


def meaning(spec: MaskSpec) -> str:
    """Write what decides which pairs attend, with all parameters and parts filled in."""
    order = OrderRule(
        spec.order.kind, tuple(substitute(side, spec.parts) for side in spec.order.tile_thw)
    )
    return json.dumps(
        {
            "order": _order(order),
            "mask": _node(written_out(spec.mask, spec.parts)),
            "text": str(substitute(spec.text, spec.parts)),
            "empty_rows": spec.empty_rows,
        }
    )


def _order(order: OrderRule) -> Any:
    return {"tiles": [_plain(side) for side in order.tile_thw]} if order.tile_thw else order.kind


def _param(param: Param) -> dict[str, Any]:
    entries: dict[str, Any] = {"type": param.kind, "default": param.default}
    if param.value != param.default:
        entries["value"] = param.value
    bounds = {"min": param.least, "above": param.above, "max": param.most}
    entries |= {word: bound for word, bound in bounds.items() if bound is not None}
    return entries | ({"help": param.help} if param.help else {})


def _node(node: MaskNode) -> Any:
    match node:
        case Pairs():
            return str(node.expression)
        case AnyOf():
            return {"any": [_node(part) for part in node.parts]}
        case AllOf():
            return {"all": [_node(part) for part in node.parts]}
        case Not():
            return {"not": _node(node.part)}
        case Given():
            return {"table": {"name": node.name, "block": _plain(node.block)}}
        case Rounded():
            rounded = {"block": _plain(node.block), "per": node.per, "keep": _keep(node.keep)}
            if node.overhang != "keep":
                rounded["overhang"] = node.overhang
            return {"rounded": {**rounded, "of": str(node.of)}}


def _keep(keep: Keep) -> Any:
    if keep.rule == "share":
        return {"columns": str(keep.columns), "rows": str(keep.rows)}
    return keep.rule


def _plain(tree: object) -> int | str:
    text = str(tree)
    return int(text) if text.isdigit() else text
