"""JSON: whole records in one document, which `find_config` and `RADIALBENCH_CONFIGS` read."""

from radialbench.autotune.export import Chosen
from radialbench.records.tuning_file import to_document


def render(chosen: Chosen) -> str:
    """Return the document."""
    return to_document(chosen.records)
