"""The report as one HTML page that needs no other file, from the templates of this folder."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from radialbench.reports.text import printable


@dataclass(frozen=True, slots=True)
class Table:
    """A table of text; the first cell of a row is its header.

    Attributes:
        name: Its id on the page.
        caption: What it shows.
        headers: Headers of the columns.
        rows: Cells.
        text_columns: Columns of text, on the left; the others are numbers, aligned right.
        sortable: Whether its headers are buttons.
    """

    name: str
    caption: str
    headers: Sequence[str]
    rows: Iterable[Sequence[str]]
    text_columns: int
    sortable: bool = False


def render_template(template: str, **values: object) -> str:
    """Render a template of this folder; text is escaped, and control characters become `�`.

    Args:
        template: The file's name.
        **values: Variables of the template.
    """
    return ENVIRONMENT.get_template(template).render(values)


def page_file(name: str) -> Markup:
    """Return a file of this folder as markup, without escaping."""
    return Markup((files("radialbench.reports.page") / name).read_text(encoding="utf-8"))


def _printable(value: object) -> object:
    return value if isinstance(value, Markup) else printable(str(value))


ENVIRONMENT = Environment(
    loader=PackageLoader("radialbench.reports.page", "."),
    autoescape=True,
    finalize=_printable,
    keep_trailing_newline=True,
    trim_blocks=True,
    undefined=StrictUndefined,
)
