"""What records that were measured again are worth: the same lines for `tune` and `export`."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from radialbench.autotune.run import Verification


def tell_verdicts(verdicts: "Iterable[Verification]", rest: str, *, json: bool) -> bool:
    """Print verdicts as they come, or a table of them in the end.

    Args:
        verdicts: What measuring gave, one after the other.
        rest: What there is to say of records that are not measured.
        json: Whether to print a line of JSON for each, and nothing else.

    Returns:
        Whether all are sound.
    """
    from radialbench.cli._console import console, print_json_line
    from radialbench.cli._tune_tables import verdict_table
    from radialbench.records.codec import to_dict

    told = []
    for one in verdicts:
        told.append(one)
        if json:
            now = None if one.now is None else to_dict(one.now)
            facts = {"problem": one.job.name, "verdict": one.state, "reason": one.reason}
            print_json_line({**facts, "record": to_dict(one.record), "now": now})
    sound = sum(one.ok for one in told)
    if not json:
        lines = [verdict_table(told)] if told else []
        lines.append(f"{len(told)} measured again, {sound} of them sound; {rest}")
        console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
    return sound == len(told)
