"""`radialbench merge`: results of shards into one file."""

from pathlib import Path
from typing import Annotated

import typer

from radialbench.commands import FAILED
from radialbench.commands.console import fail, print_json, say
from radialbench.commands.options import Json
from radialbench.reports.text import plural


def merge(
    results: Annotated[
        list[Path], typer.Argument(help="Folders that runs wrote, or their results.jsonl.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for results.jsonl.")],
    json: Json = False,
) -> None:
    """Merge the results of a suite's shards; no record is lost or doubled.

    Of two records of one case, the later counts if the earlier is one that a run would try again;
    otherwise that is an error.
    """
    from radialbench.records.store import RESULTS, WriteError
    from radialbench.records.store import merge as merge_files

    files = [path / RESULTS if path.is_dir() else path for path in results]
    try:
        merged = merge_files(files, out)
    except WriteError as error:
        fail(str(error), FAILED)
    count = len(merged.records)
    if json:
        facts = {"suite": merged.suite, "results": str(merged.results), "records": count}
        facts |= {"same": merged.same, "replaced": merged.replaced}
        print_json({**facts, "skipped": list(merged.skipped)})
        return
    parts = [f"{plural(count, 'record')} of {plural(len(files), 'file')}"]
    parts += [f"{merged.same} in several files"] if merged.same else []
    parts += [f"{merged.replaced} replaced by later ones"] if merged.replaced else []
    for line in merged.skipped:
        say(f"{line}; skipped")
    say(f"{merged.suite}: {', '.join(parts)}\nresults: {merged.results}")
