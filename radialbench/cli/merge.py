"""`radialbench merge`: results of shards into one file."""

from pathlib import Path
from typing import Annotated

import typer


def merge(
    results: Annotated[
        list[Path], typer.Argument(help="Folders that runs wrote, or their results.jsonl.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for results.jsonl.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Merge the results of a suite's shards; no record is lost or doubled.

    Of two records of one case, the later counts if the earlier is one that a run would try again;
    else that is an error.
    """
    from radialbench.cli import FAILED
    from radialbench.cli._console import console, fail, print_json
    from radialbench.records.store import RESULTS, WriteError
    from radialbench.records.store import merge as merge_files

    files = [path / RESULTS if path.is_dir() else path for path in results]
    try:
        merged = merge_files(files, out)
    except WriteError as error:
        fail(str(error), FAILED)
    if json:
        facts = {
            "suite": merged.suite,
            "results": str(merged.results),
            "records": len(merged.records),
            "same": merged.same,
            "replaced": merged.replaced,
            "skipped": list(merged.skipped),
        }
        print_json(facts)
        return
    count = len(merged.records)
    told = [f"{count} record{'s' * (count != 1)} of {len(files)} file{'s' * (len(files) != 1)}"]
    told += [f"{merged.same} that several hold"] if merged.same else []
    told += [f"{merged.replaced} gave way to later ones"] if merged.replaced else []
    lines = [f"{line}; skipped" for line in merged.skipped]
    lines += [f"{merged.suite}: {', '.join(told)}", f"results: {merged.results}"]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
