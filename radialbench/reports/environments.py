"""What is known of an environment, by name."""

from collections.abc import Sequence

from radialbench.records.result import Environment
from radialbench.reports.rows import Row
from radialbench.reports.summary import protocol
from radialbench.reports.text import format_sig3


def environment_facts(env: Environment, rows: Sequence[Row]) -> dict[str, str]:
    """Give the facts of an environment and of how its rows were measured; empty ones left out."""
    commands = dict.fromkeys(row.record.environment.command for row in rows)
    commits = dict.fromkeys(row.record.environment.commit or "unknown" for row in rows)
    times = sorted(row.record.created for row in rows)
    timed = [row for row in rows if row.record.measure == "attention"]
    compiled = [row for row in rows if row.record.measure == "compile"]
    facts = {
        "Device": env.device,
        "Processor": f"{env.cpu}, {env.threads} threads on {env.cores} cores",
        "Memory": f"{format_sig3(env.memory_bytes / 2**30)} GiB",
        "System": f"{env.os}, Python {env.python}",
        "Versions": ", ".join(f"{name} {version}" for name, version in env.versions.items()),
        "Commit": ", ".join(commits),
        "Command": ", ".join(filter(None, commands)),
        "Measured": f"{times[0]} to {times[-1]}" if times else "",
        "Attention": protocol(timed) if timed else "",
        "Compiling": protocol(compiled) if compiled else "",
    }
    return {name: words for name, words in facts.items() if words}
