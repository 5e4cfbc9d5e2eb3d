"""Files that a check writes besides what it prints."""

from collections.abc import Iterable, Mapping
from pathlib import Path


def files_of(settings: Iterable[str], keep: Iterable[Path]) -> dict[Path, str]:
    """Read `--out`: which form goes to which file, none of them one of those to keep.

    Raises:
        ReportError: A setting is none, or its file holds what is compared or cannot be written.
    """
    from radialbench.errors import ReportError
    from radialbench.records.store import RESULTS
    from radialbench.reports.formats import load_check_format

    kept = {each.resolve() for path in keep for each in (path, path / RESULTS)}
    files = {}
    for setting in settings:
        form, equals, name = setting.partition("=")
        if not equals or not name:
            raise ReportError(
                f"--out takes a form and a file, such as junit=check.xml, got {setting[:80]!r}"
            )
        if Path(name).resolve() in kept:
            raise ReportError(f"{name} holds the results; choose another file with --out")
        load_check_format(form)
        if Path(name).is_dir() or not Path(name).parent.is_dir():
            raise ReportError(
                f"cannot write {name}: give a file in a folder that is there with --out"
            )
        files[Path(name)] = form
    return files


def write_files(texts: Mapping[Path, str]) -> None:
    """Write texts to files: nothing is replaced before all of them are on the disk.

    Raises:
        ReportError: One cannot be written.
    """
    from contextlib import suppress

    from radialbench.errors import ReportError

    parts = {path: path.with_name(f"{path.name}.part") for path in texts}
    path = Path()
    try:
        for path, text in texts.items():
            parts[path].write_text(text, encoding="utf-8")
        for path, part in parts.items():
            part.replace(path)
    except OSError as error:
        for part in parts.values():
            with suppress(OSError):
                part.unlink()
        raise ReportError(
            f"cannot write {path}: {error.strerror or error}; choose another file with --out"
        ) from None
