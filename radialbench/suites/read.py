"""Reading suites: a shipped one by name, or a file, with errors that say where."""

from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from radialbench.errors import SuiteError, unknown
from radialbench.maskgen.document import Document, DocumentError, parse_document, read_document
from radialbench.suites.schema import SuiteFile
from radialbench.suites.spec import SuiteSpec

LIBRARY = Path(__file__).parent / "library"
SHOWN = 5
WORDS = {
    "missing": "missing",
    "too_short": "must not be empty",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "string_type": "must be text",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be a mapping of keys to values",
    "model_type": "must be a mapping of keys to values",
    "string_pattern_mismatch": "must be letters, digits and _ . , : = + - without spaces",
}


def suite_names() -> list[str]:
    """Names of the shipped suites."""
    return sorted(file.stem for file in LIBRARY.glob("*.yaml"))


def suite_path(name_or_path: str) -> Path:
    """Find the file of a suite.

    Raises:
        SuiteError: No shipped suite has this name, and it is no path of a YAML file.
    """
    if name_or_path.endswith((".yaml", ".yml")) or "/" in name_or_path:
        return Path(name_or_path)
    if name_or_path not in suite_names():
        hint = " A file's name ends in .yaml." if Path(name_or_path).exists() else ""
        raise SuiteError(unknown("suite", name_or_path, suite_names()) + hint)
    return LIBRARY / f"{name_or_path}.yaml"


def load_suite(name_or_path: str) -> SuiteSpec:
    """Load a shipped suite by name, or a suite file.

    Raises:
        SuiteError: There is no such suite, or the file is none; the message has line and column.
    """
    path = suite_path(name_or_path)
    try:
        if path.is_fifo() or path.is_char_device():
            raise SuiteError(f"cannot read {path}: not a regular file")
        document = read_document(path)
    except DocumentError as error:
        raise SuiteError(str(error)) from None
    except OSError as error:
        raise SuiteError(f"cannot read {path}: {error.strerror or error}") from None
    return _checked(document, path.stem, path.parent)


def parse_suite(text: str, source: str = "suite", folder: Path | None = None) -> SuiteSpec:
    """Read a suite from YAML text.

    Args:
        text: The document.
        source: Name for messages, and of the suite if it has none.
        folder: Where files it names are.

    Raises:
        SuiteError: The text is no suite; the message has line and column.
    """
    try:
        document = parse_document(text, source)
    except DocumentError as error:
        raise SuiteError(str(error)) from None
    return _checked(document, source, folder or Path())


def _checked(document: Document, name: str, folder: Path) -> SuiteSpec:
    if document.value is None:
        raise SuiteError(f"{document.source}: empty; a suite has at least 'cases'")
    try:
        file = SuiteFile.model_validate(document.value, context={"folder": folder})
        return file.spec(name, document.source)
    except ValidationError as error:
        found = error.errors(include_url=False)
    lines = [_message(document, detail) for detail in found[:SHOWN]]
    if len(found) > SHOWN:
        lines.append(f"… and {len(found) - SHOWN} more")
    raise SuiteError("\n".join(lines))


def _message(document: Document, detail: ErrorDetails) -> str:
    """Write one error as `file.yaml:3:7: cases[0].masks: what is wrong`."""
    location = tuple(step for step in detail["loc"] if step not in ("(model)", "(raw)"))
    kind, given = detail["type"], detail["input"]
    key = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in location)
    place = document.place(location)
    if kind == "unknown_key":
        place = document.place((*location, detail["ctx"]["key"]))
        reason = detail["ctx"]["reason"]
    elif kind in ("refused", "value_error"):
        reason = detail["msg"].removeprefix("Value error, ")
    elif kind == "too_long":
        reason = f"at most {detail['ctx']['max_length']:,} entries, got more"
    else:
        reason = WORDS.get(kind) or detail["msg"].replace("Input should", "must")
        if kind not in ("missing", "too_short"):
            reason += f", got {_brief(given)}"
    return f"{place}: {key.lstrip('.') or 'suite'}: {reason}"


def _brief(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
