"""An offline check as text: the figures, or what changed."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from radialbench.errors import ReportError, unknown
from radialbench.records.offline import Offline, OfflineRow
from radialbench.reports.formats import load_check_format
from radialbench.reports.offline_diff import OfflineVerdict, as_check_result, counted_outcomes
from radialbench.reports.text import escape, fitted, printable


@dataclass(frozen=True, slots=True)
class OfflineChecked:
    """The offline check of a suite.

    Attributes:
        now: The figures of this version.
        verdicts: Of each row; None without a baseline.
        baseline: The baseline's file, for people.
        strict: Whether a figure that changed fails.
    """

    now: Offline
    verdicts: tuple[OfflineVerdict, ...] | None
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
        counts = f"{len(kernels) - absent} kernels, {absent} that do not exist"
        return f"{suite}: {counts}, {len(rows) - len(kernels)} masks"

    @property
    def notable(self) -> list[OfflineVerdict]:
        """All verdicts but those that pass."""
        return [one for one in self.verdicts or () if one.outcome != "pass"]


CheckedSuites = Sequence[OfflineChecked]


def check_offline_format(name: str, *, compared: bool) -> None:
    """Refuse a format that cannot be rendered.

    Args:
        name: The format.
        compared: Whether there is a baseline.

    Raises:
        ReportError: There is no such format, or it reports changes and nothing is compared.
    """
    if name not in (known := ("terminal", *OWN, *SHARED)):
        raise ReportError(unknown("format of an offline check", name, known))
    if name in SHARED and not compared:
        raise ReportError(f"{name} reports changes: give a --baseline to compare with")


def render_offline(format: str, suites: CheckedSuites, *, width: int | None = None) -> str:
    """Render suites in a format that `check_offline_format` accepts, for a terminal's width."""
    if format == "terminal":
        return _text(suites, width)
    if format in OWN:
        return OWN[format](suites)
    verdicts = {one.now.head.suite: one.verdicts or () for one in suites}
    baselines = ", ".join(one.baseline for one in suites)
    result = as_check_result(verdicts, baselines, strict=any(one.strict for one in suites))
    return load_check_format(format)(result)


def _json(suites: CheckedSuites) -> str:
    facts: list[dict[str, Any]] = []
    for one in suites:
        rows = [asdict(row) for row in one.now.rows]
        verdicts = [asdict(verdict) for verdict in one.verdicts or ()]
        shown = {"rows": rows} if one.verdicts is None else {"verdicts": verdicts}
        facts.append(asdict(one.now.head) | shown)
    return json.dumps(facts if len(facts) > 1 else facts[0], indent=2, ensure_ascii=False) + "\n"


def _text(suites: CheckedSuites, width: int | None) -> str:
    lines = []
    for one in suites:
        for row in one.now.rows if one.verdicts is None else ():
            line = f"{row.kind:<6}  {row.name}: {_facts(row)}"
            lines.append(fitted(line, width, hang=" " * 8))
        room = max((len(verdict.outcome) for verdict in one.notable), default=0)
        for verdict in one.notable:
            lines.append(printable(f"{verdict.outcome:<{room}}  {verdict.kind} {verdict.name}"))
            lines.append(fitted(verdict.text, width, indent=" " * (room + 2), hang=""))
        lines.append(printable(one.headline))
    return "\n".join(lines) + "\n"


def _markdown(suites: CheckedSuites) -> str:
    texts = []
    for one in suites:
        lines = [f"**{escape(one.headline)}**", ""]
        if one.verdicts is None:
            lines += ["| row | figures |", "| --- | --- |"]
            lines += [
                f"| {row.kind} {_code(row.name)} | {escape(_facts(row))} |" for row in one.now.rows
            ]
        elif one.notable:
            lines += ["| outcome | row | what changed |", "| --- | --- | --- |"]
            lines += [
                f"| {v.outcome} | {v.kind} {_code(v.name)} | {escape(v.text)} |"
                for v in one.notable
            ]
        texts.append("\n".join(lines) + "\n")
    return "\n".join(texts)


def _code(name: str) -> str:
    """Return a name as a code span, to be copied, which nothing in it ends."""
    shown = printable(name).replace("`", "\ufffd").replace("|", "\\|")
    return f"`{shown}`"


OWN: dict[str, Callable[[CheckedSuites], str]] = {
    "markdown": _markdown,
    "json": _json,
}
"""Formats with more of the figures than those of a check have."""

SHARED = ("github", "junit")
"""Formats of a check that serve as they are."""


def _facts(row: OfflineRow) -> str:
    """Return the figures that people ask for first; the file has all."""
    if kernel := row.kernel:
        return (
            f"{kernel.registers} registers, {kernel.spills} spills, "
            f"{kernel.shared_bytes:,} bytes shared, code {kernel.code}"
        )
    if mask := row.mask:
        return (
            f"density {mask.density:.4f}, {mask.full:,} full and {mask.partial:,} partial blocks, "
            f"{mask.nbytes:,} bytes, {mask.load_imbalance:.3f}× an even share"
        )
    return row.reason
