"""HTML: the report as one page that needs nothing beside it."""

from radialbench.reports.page.assemble import page
from radialbench.reports.summary import Summary


def render(summary: Summary) -> str:
    """Render the page."""
    return page(summary)
