"""An offline check as text: what there is, or what changed."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from radialbench.errors import ReportError, unknown
from radialbench.records.offline import Offline, OfflineRow
from radialbench.reports.check.formats import load_check_format
from radialbench.reports.offline_diff import OfflineVerdict, as_check_result, counted_outcomes

Verdicts = tuple[OfflineVerdict, ...]


@dataclass(frozen=True, slots=True)
class OfflineChecked:
    """A suite, and what became of its rows.

    Attributes:
        now: What there is.
        verdicts: What became of it; None without a baseline.
        baseline: The baseline's file, for people.
        strict: Whether what changed fails.
    """

    now: Offline
    verdicts: Verdicts | None
    baseline: str = ""
    strict: bool = False

    @property
    def headline(self) -> str:
        """All rows in a line."""
        rows, suite = self.now.rows, self.now.head.suite
        if self.verdicts is not None:
            return f"{suite}: {counted_outcomes(self.verdicts)}"
        kernels = [row for row in rows if row.kind == "kernel"]
        absent = sum(row.kernel is None for row in kernels)
        words = f"{len(kernels) - absent} kernels, {absent} that do not exist"
        return f"{suite}: {words}, {len(rows) - len(kernels)} masks"

    @property
    def told(self) -> list[OfflineVerdict]:
        """Verdicts that a reader has to know of: all but what passes."""
        return [one for one in self.verdicts or () if one.outcome != "pass"]


Found = Sequence[OfflineChecked]


def check_offline_form(form: str, *, compared: bool) -> None:
    """Refuse a form that cannot be rendered.

    Args:
        form: Its name.
        compared: Whether there is a baseline.

    Raises:
        ReportError: There is no such form, or it only tells what changed, and nothing is compared.
    """
    if form not in (*OWN, *SHARED):
        raise ReportError(unknown("form of an offline check", form, (*OWN, *SHARED)))
    if form in SHARED and not compared:
        raise ReportError(f"{form} tells what changed: give a --baseline to compare with")


def render_offline(form: str, found: Found) -> str:
    """Render suites in a form that `check_offline_form` lets pass."""
    if form in OWN:
        return OWN[form](found)
    verdicts = {one.now.head.suite: one.verdicts or () for one in found}
    baselines = ", ".join(one.baseline for one in found)
    result = as_check_result(verdicts, baselines, strict=any(one.strict for one in found))
    return load_check_format(form)(result)


def _json(found: Found) -> str:
    import json

    facts = list(map(_json_facts, found))
    text = json.dumps(facts if len(facts) > 1 else facts[0], indent=2, ensure_ascii=False)
    return f"{text}\n"


def _json_facts(one: OfflineChecked) -> dict[str, Any]:
    facts = asdict(one.now.head)
    if one.verdicts is None:
        facts["rows"] = [asdict(row) for row in one.now.rows]
    else:
        facts["verdicts"] = [asdict(verdict) for verdict in one.verdicts]
    return facts


def _text(found: Found) -> str:
    lines = []
    for one in found:
        if one.verdicts is None:
            lines += [f"{row.kind:<6}  {row.name}: {_facts(row)}" for row in one.now.rows]
        width = max((len(verdict.outcome) for verdict in one.told), default=0)
        for verdict in one.told:
            lines.append(f"{verdict.outcome:<{width}}  {verdict.kind} {verdict.name}")
            lines.append(f"{'':<{width}}  {verdict.text}")
        lines.append(one.headline)
    return "\n".join(lines) + "\n"


def _markdown(found: Found) -> str:
    return "\n".join("\n".join(_markdown_lines(one)) + "\n" for one in found)


def _markdown_lines(one: OfflineChecked) -> list[str]:
    lines = [f"**{one.headline}**", ""]
    if one.verdicts is None:
        lines += ["| row | figures |", "| --- | --- |"]
        lines += [f"| {row.kind} `{row.name}` | {_facts(row)} |" for row in one.now.rows]
    elif one.told:
        lines += ["| outcome | row | what changed |", "| --- | --- | --- |"]
        lines += [f"| {v.outcome} | {v.kind} `{v.name}` | {v.text} |" for v in one.told]
    return lines


OWN: dict[str, Callable[[Found], str]] = {
    "terminal": _text,
    "markdown": _markdown,
    "json": _json,
}
"""Forms that tell more of figures than those of a check do."""

SHARED = ("github", "junit")
"""Forms of a check that say as much."""


def _facts(row: OfflineRow) -> str:
    return ", ".join(_facts_of(row)) or row.reason


def _facts_of(row: OfflineRow) -> Iterator[str]:
    """Give the figures that people ask for first; the file has all."""
    if kernel := row.kernel:
        yield f"{kernel.registers} registers"
        yield f"{kernel.spills} spills"
        yield f"{kernel.shared_bytes:,} bytes shared"
        yield f"code {kernel.code}"
    if mask := row.mask:
        yield f"density {mask.density:.4f}"
        yield f"{mask.full:,} full and {mask.partial:,} partial blocks"
        yield f"{mask.nbytes:,} bytes"
        yield f"{mask.over_ideal:.3f}× an even share"
