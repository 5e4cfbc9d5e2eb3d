"""Python: a module that holds one dictionary of literals, and imports nothing."""

from dataclasses import astuple

from radialbench.autotune.export import Chosen, config_of, measured_facts
from radialbench.records.tuning import TuningKey

TEXT = '''"""Configurations tuned by radialbench: import it, or read CONFIGS with ast.literal_eval.

Keys are tuples of the fields in KEY; kv_heads is None where k and v have as many heads as q, q_len
where all tokens are queries. The source of a configuration is `tuned`, or `default` where nothing
beat the default by more than the noise. Times are milliseconds: the median, and both ends of its
95% interval.
"""

KEY = {key}

CONFIGS = {{
{configs}}}
'''


def render(chosen: Chosen) -> str:
    """Return the module's text."""
    lines = []
    for record in chosen.records:
        value = {"label": record.mask.label, "config": config_of(record)} | measured_facts(record)
        lines.append(f"    {astuple(record.key)!r}:\n        {value!r},\n")
    return TEXT.format(key=TuningKey.__match_args__, configs="".join(lines))
