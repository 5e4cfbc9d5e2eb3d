"""Masks shipped with the package, one YAML file each, and loading a mask by name or path."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from radialbench.errors import SpecError, unknown
from radialbench.maskgen.reader import read_mask_file
from radialbench.maskgen.spec import MaskSpec

FOLDER = Path(__file__).parent


def mask_names() -> list[str]:
    """Names of the masks of the library."""
    return sorted(file.stem for file in FOLDER.glob("*.yaml"))


def load_mask(
    name_or_path: str | Path,
    *,
    preset: str | None = None,
    empty_rows: str | None = None,
    **params: float | bool,
) -> MaskSpec:
    """Load a mask.

    Args:
        name_or_path: A name of the library, with a preset if wanted (`radial_blocks:wan`), or the
            path of a YAML file.
        preset: A preset of the mask, if it is not in the name.
        empty_rows: Overrides what the mask says about tokens that attend nothing.
        **params: Parameter values; they override the preset's.

    Raises:
        SpecError: There is no such mask, preset or parameter, or the file is not a mask.
    """
    text = str(name_or_path)
    if text.endswith((".yaml", ".yml")) or "/" in text:
        spec = replace(read_mask_file(Path(text)), file=Path(text).name)
    else:
        word, _, suffix = text.partition(":")
        preset = suffix or preset
        if word not in mask_names():
            hint = " A path ends in .yaml." if _exists(text) else ""
            raise SpecError(unknown("mask", word, mask_names()) + hint)
        spec = _shipped(word)
    if preset:
        spec = spec.with_preset(preset)
    if empty_rows is not None:
        spec = replace(spec, empty_rows=empty_rows)
    return spec.with_params(**params)


def _exists(text: str) -> bool:
    try:
        return Path(text).exists()
    except OSError:  # A name that is too long for a file.
        return False


@lru_cache(maxsize=64)
def _shipped(word: str) -> MaskSpec:
    return read_mask_file(FOLDER / f"{word}.yaml")
