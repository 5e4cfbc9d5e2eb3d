"""Masks of the package, one YAML file each, and functions that load masks and head plans."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import yaml

from radialbench import plugins
from radialbench.errors import SpecError, unknown
from radialbench.maskgen.document import (
    MAX_DEPTH,
    MAX_INTEGER,
    Document,
    DocumentError,
    read_document,
)
from radialbench.maskgen.language.expressions import Expr
from radialbench.maskgen.language.heads import AnyMask, HeadGroup, HeadPlan
from radialbench.maskgen.language.schedule import MaskSchedule, read_schedule
from radialbench.maskgen.language.schema import read_head_plan, read_mask
from radialbench.maskgen.language.spec import MaskSpec
from radialbench.plain import utf8
from radialbench.reading import is_inside

FOLDER = Path(__file__).parent


def mask_names() -> list[str]:
    """Return the names of the masks of the library."""
    return sorted(file.stem for file in FOLDER.glob("*.yaml"))


def added_masks() -> list[str]:
    """Return the names of the masks that installed packages add.

    Raises:
        SpecError: Two masks have one name.
    """
    return sorted(plugins.added("mask", mask_names(), SpecError))


def load_mask(
    name_or_path: str | Path,
    *,
    preset: str | None = None,
    empty_rows: str | None = None,
    **params: float | bool,
) -> MaskSpec:
    """Load a mask.

    Args:
        name_or_path: A name of the library, with a preset if wanted (`radial_blocks:wan`), or of a
            mask that an installed package adds, or the path of a YAML file; a `use` in it names a
            file beside it, or a mask of the library.
        preset: A preset of the mask, if it is not in the name.
        empty_rows: Overrides the mask's treatment of tokens that attend nothing.
        **params: Parameter values; they override the preset's.

    Raises:
        SpecError: There is no such mask, preset or parameter, or the file is not a mask; the
            message has line and column.
    """
    text = str(name_or_path)
    if _is_path(text):
        spec = replace(read_mask_file(Path(text)), file=utf8(Path(text).name))
    else:
        word, _, suffix = text.partition(":")
        preset = suffix or preset
        spec = _shipped(word) if word in mask_names() else _added(word)
    if preset:
        spec = spec.with_preset(preset)
    if empty_rows is not None:
        spec = replace(spec, empty_rows=empty_rows)
    return spec.with_params(**params)


def as_spec(mask: MaskSpec | str | Path) -> MaskSpec:
    """Return a mask, or load it by its name or path.

    Raises:
        SpecError: There is no such mask, or it is none of these.
    """
    if isinstance(mask, MaskSpec):
        return mask
    if isinstance(mask, (str, Path)):
        return load_mask(mask)
    if isinstance(mask, HeadPlan):
        raise SpecError("a head plan has a mask for each group of heads: pass it to compile_heads")
    hint = "read a mapping with parse_mask" if isinstance(mask, Mapping) else "see load_mask"
    raise SpecError(
        "a mask is a MaskSpec, a name such as 'radial', or the path of a YAML file, got "
        f"{type(mask).__name__}; {hint}"
    )


def parse_mask(mapping: Mapping[str, Any]) -> MaskSpec:
    """Read a mask from the mapping of its YAML document.

    A `use` names a mask of the library.

    Raises:
        SpecError: The mapping is not a mask; the message names the key.
    """
    return read_mask(_document_of(mapping, "mask"), _used)


def read_mask_file(path: Path) -> MaskSpec:
    """Read a mask from a YAML file; a `use` names a file beside it, or a mask of the library.

    A file that is used cannot use others.

    Raises:
        SpecError: The file is not a mask; the message has line and column.
    """

    def beside(word: str) -> MaskSpec:
        _check_plain(word)
        other = path.parent / f"{word}.yaml"
        if not other.is_file():
            return load_mask(word)
        if other.resolve() == path.resolve():
            raise SpecError(f"{word!r} uses itself")
        if other.resolve().parent != path.parent.resolve():
            raise SpecError(f"{other} is a link to a file outside its folder")

        def refuse(another: str) -> NoReturn:
            raise SpecError(f"{other.name} is itself used and cannot use {another!r}")

        return read_mask(_document(other), refuse)

    return read_mask(_document(path), beside)


def load_head_plan(path: str | Path) -> HeadPlan:
    """Read a head plan from a YAML file; masks are of the library, beside the file, or inline.

    Raises:
        SpecError: The file is no head plan; the message has line and column.
    """
    plan = read_head_plan(_document(Path(path)), _loader(Path(path).parent), _used)
    return replace(plan, file=utf8(Path(path).name))


def load_schedule(path: str | Path) -> MaskSchedule:
    """Read a schedule from a YAML file; masks and head plans are of the library, or beside it.

    Raises:
        SpecError: The file is no schedule; the message has line and column.
    """
    folder = Path(path).parent

    def load(word: str) -> AnyMask:
        if not _is_path(word):
            return load_mask(word)
        beside = folder / word
        if not is_inside(beside, folder):
            raise SpecError(f"a schedule uses files in its own folder, got {word!r}")
        return load_head_plan(beside) if is_head_plan(beside) else load_mask(beside)

    schedule = read_schedule(_document(Path(path)), load)
    return replace(schedule, file=utf8(Path(path).name))


def plan_of_heads(
    name: str, masks: Mapping[int, MaskSpec], heads: int, about: str = ""
) -> HeadPlan:
    """Return a plan of the mask of each head, with a group for heads of equal masks.

    Heads that are not named are dense.
    """
    groups: dict[MaskSpec, list[int]] = {}
    for head in range(heads):
        groups.setdefault(masks.get(head, load_mask("dense")), []).append(head)
    return HeadPlan(
        name, tuple(HeadGroup(tuple(heads), mask) for mask, heads in groups.items()), about=about
    )


def brief_yaml(plan: HeadPlan) -> str:
    """Write a plan as a YAML document that reads back equal, with masks of the library by name."""
    heads: dict[str, Any] = {}
    for group in plan.groups:
        mask = group.mask.identity
        params = {name: mask.params[name] for name in mask.shown}
        heads[group.label] = {"name": mask.name} | ({"params": params} if params else {})
        if not _is_shipped(group.mask, params):
            heads[group.label] = group.mask.to_mapping()
    document = {"name": plan.name} | ({"about": plan.about} if plan.about else {})
    return yaml.safe_dump(
        document | {"heads": heads},
        sort_keys=False,
        default_flow_style=None,
        allow_unicode=True,
        width=100,
    )


def _is_shipped(mask: MaskSpec, params: Mapping[str, Any]) -> bool:
    """Return whether a mask is one of the library with these parameters."""
    shipped = mask.file is None and mask.name in mask_names()
    return shipped and load_mask(mask.name, **params) == mask


def parse_head_plan(mapping: Mapping[str, Any], folder: Path | None = None) -> HeadPlan:
    """Read a head plan from the mapping of its YAML document.

    Args:
        mapping: The document.
        folder: Folder of the mask files it names; without one, masks are of the library or inline.

    Raises:
        SpecError: The mapping is no head plan; the message names the key.
    """
    return read_head_plan(_document_of(mapping, "head plan"), _loader(folder), _used)


def _loader(folder: Path | None) -> Callable[[str], MaskSpec]:
    """Return what loads the masks that a head plan names."""

    def load(word: str) -> MaskSpec:
        if not _is_path(word):
            return load_mask(word)
        if folder is None:
            raise SpecError(f"a plan that is no file has masks of the library only, got {word!r}")
        beside = folder / word
        if not is_inside(beside, folder):
            raise SpecError(f"a head plan uses masks in its own folder, got {word!r}")
        return load_mask(beside)

    return load


def is_head_plan(path: str | Path) -> bool:
    """Return whether a YAML file has the key `heads`; False if it cannot be read."""
    try:
        value = read_document(Path(path)).value
    except DocumentError:
        return False
    return isinstance(value, dict) and "heads" in value


def _is_path(text: str) -> bool:
    return text.endswith((".yaml", ".yml")) or "/" in text


def _exists(text: str) -> bool:
    try:
        return Path(text).exists()
    except OSError:  # A name that is too long for a file.
        return False


def _added(word: str) -> MaskSpec:
    """Load the mask of an installed package: a MaskSpec, or the path of a YAML file."""
    entries = plugins.added("mask", mask_names(), SpecError)
    if word not in entries:
        hint = " A path ends in .yaml." if _exists(word) else ""
        raise SpecError(unknown("mask", word, [*mask_names(), *entries]) + hint)
    found = plugins.load("mask", word, plugins.path_of(entries[word]), SpecError)
    if isinstance(found, (str, Path)):
        found = read_mask_file(Path(found))
    if not isinstance(found, MaskSpec):
        raise SpecError(
            f"the mask {word!r} of {plugins.package_of(entries[word])} is a "
            f"{type(found).__name__}; its entry point is a MaskSpec, or the path of a YAML file"
        )
    return replace(found, name=word, file=None)


@lru_cache(maxsize=64)
def _shipped(word: str) -> MaskSpec:
    return read_mask_file(FOLDER / f"{word}.yaml")


def _document(path: Path) -> Document:
    try:
        return read_document(path)
    except DocumentError as error:
        raise SpecError(str(error)) from None


def _used(word: str) -> MaskSpec:
    _check_plain(word)
    return load_mask(word)


def _check_plain(word: str) -> None:
    # No folders, no suffixes: a mask reads only files beside it.
    if not word.replace("_", "").isalnum():
        raise SpecError(f"a mask is used by its plain name, got {word[:40]!r}")


def _document_of(mapping: Mapping[str, Any], kind: str) -> Document:
    """Convert a mapping to a document: expressions, tuples and NumPy's numbers are allowed."""
    value = _plain(mapping, (), kind)
    title = value.get("name") if isinstance(value, dict) else None
    return Document(f"{kind} {title[:80]!r}" if isinstance(title, str) else kind, value)


def _plain(value: Any, path: tuple[str | int, ...], kind: str) -> Any:
    if len(path) > MAX_DEPTH:
        raise SpecError(f"{kind}: {path[0]}: nested more than {MAX_DEPTH} deep")
    if isinstance(value, Expr):
        return str(value)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        return {str(key): _plain(entry, (*path, str(key)), kind) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry, (*path, place), kind) for place, entry in enumerate(value)]
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        raise SpecError(Document(kind, None).message(path, "a whole number beyond ±2^63"))
    return value
