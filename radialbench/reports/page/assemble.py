"""Put the page together."""

from importlib.resources import files

from radialbench.records.result import Environment
from radialbench.reports.environments import environment_facts
from radialbench.reports.numbers import listed
from radialbench.reports.page._html import esc, items, section, table
from radialbench.reports.page.paper import ABOUT, beside_the_paper
from radialbench.reports.page.pictures import charts_of, masks_of
from radialbench.reports.page.results import results
from radialbench.reports.page.summary import baseline, failed, headline_tables, measured
from radialbench.reports.summary import Summary
from radialbench.reports.told import Told

METHOD = (
    "Times are medians. Their 95% intervals lie between two of the samples, whatever the samples' "
    "distribution; from fewer than six samples there is none.",
    "Speed-ups are over the fastest dense kernel of the same length, with the time of the mask's "
    "token order on both sides. Where both were sampled in turn, beside the same matrix product, "
    "the interval is that of the ratios of pairs, so that drift cancels.",
    "1/density is what a mask would gain if time were in proportion to the pairs it asks for.",
    "A break-even length is interpolated on logarithmic axes; its interval is where the ends of "
    "the speed-ups' intervals pass 1.",
    "The ceiling is a matrix product of 8192³ in the same dtype, timed in turn with the kernels: "
    "what the device gave at that moment, not what its data sheet says.",
    "Energy is the device's own counter over a stretch of calls; it is left out where the device "
    "waited meanwhile.",
    "Every time was taken after its result had been compared with the definition of attention, on "
    "the same tensors.",
)


def page(summary: Summary) -> str:
    """Build the page."""
    title = listed(list(summary.suites)) or "No results"
    sections = (
        _first(summary),
        baseline(summary.check),
        section("paper", "Beside the paper", *beside_the_paper(summary), about=ABOUT),
        section("charts", "Charts", *charts_of(summary)),
        section(
            "masks",
            "Masks",
            *masks_of(summary),
            about="Queries down, keys across, each in "
            "its own token order. Press one to enlarge it.",
        ),
        section("growth", "Growth", *map(_told, summary.told)),
        section("results", "Results", *results(summary)),
        _method(summary),
    )
    body = "\n".join(filter(None, sections))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{esc(title)} · radialbench</title>
<link rel="icon" href="data:,">
<style>
{_text("style.css")}</style>
</head>
<body>
<a class="skip" href="#main">Skip to the results</a>
<header>
<p class="kind">radialbench report</p>
<h1>{esc(title)}</h1>
<p>{esc(summary.counted)}{f" · {esc(summary.source)}" if summary.source else ""}</p>
<nav aria-label="Sections">{_links(sections)}</nav>
</header>
<main id="main" tabindex="-1">
{body}
</main>
<dialog id="zoom" aria-label="Mask, enlarged">
<form method="dialog"><label>size <input type="range" min="1" max="8" step="0.5" value="1"></label>
<b></b><button>close</button></form>
<div class="canvas" tabindex="0" role="region" aria-label="Mask"><img alt="" src="data:,"></div>
</dialog>
<script>
{_text("script.js")}</script>
</body>
</html>
"""


def _first(summary: Summary) -> str:
    missing = failed(summary)
    check = summary.check
    against = f"Against {check.baseline}: {check.headline}." if check else ""
    return section(
        "summary",
        "Summary",
        measured(summary),
        items([against]) if against else "",
        *headline_tables(summary),
        f"<h3>Not measured</h3>{missing}" if missing else "",
        f"<h3>Notes</h3>{items(summary.notes)}" if summary.notes else "",
    )


def _links(sections: tuple[str, ...]) -> str:
    names = [part.split('"', 2)[1] for part in sections if part]
    return "".join(f'<a href="#{name}">{name}</a>' for name in names)


def _told(told: Told) -> str:
    return f"<h3>{esc(told.topic)}</h3>{items(told.lines)}"


def _method(summary: Summary) -> str:
    parts = []
    for place, env in enumerate(summary.environments):
        number = f" {place + 1}" if len(summary.environments) > 1 else ""
        parts.append(_environment(summary, place, env, f"Environment{number}"))
    parts.append(f"<h3>How to read the numbers</h3>{items(METHOD)}")
    return section("method", "Environment and method", *parts)


def _environment(summary: Summary, place: int, env: Environment, title: str) -> str:
    rows = [row for row in summary.rows if row.place == place]
    facts = environment_facts(env, rows).items()
    return table(f"environment{place}", title, ("what", "value"), facts, words=2)


def _text(name: str) -> str:
    return (files("radialbench.reports.page") / name).read_text(encoding="utf-8")
