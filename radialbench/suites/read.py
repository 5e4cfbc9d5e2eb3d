"""Read suites: a shipped one by name, or a file; errors name the line and column."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radialbench.errors import SuiteError, unknown
from radialbench.maskgen import document as documents
from radialbench.maskgen.document import Path as Location
from radialbench.plain import utf8
from radialbench.reading import is_inside
from radialbench.suites.axes import Axes, masks_of
from radialbench.suites.schema import Gates, Matrix, Protocol, SuiteFile, SuiteSpec

LIBRARY = Path(__file__).parent / "library"


def suite_names() -> list[str]:
    """Return the names of the shipped suites."""
    return sorted(file.stem for file in LIBRARY.glob("*.yaml"))


def suite_path(name_or_path: str) -> Path:
    """Return the file of a suite.

    Raises:
        SuiteError: No shipped suite has this name, and it is no path of a YAML file.
    """
    if name_or_path.endswith((".yaml", ".yml")) or "/" in name_or_path:
        return Path(name_or_path)
    if name_or_path not in suite_names():
        hint = " A file's name ends in .yaml." if Path(name_or_path).exists() else ""
        raise SuiteError(unknown("suite", name_or_path, suite_names()) + hint)
    return LIBRARY / f"{name_or_path}.yaml"


def load_suite(name_or_path: str, axes: Axes | None = None) -> SuiteSpec:
    """Load a shipped suite by name, or a suite file.

    Args:
        name_or_path: Its name, or a path.
        axes: Values in place of the suite's own.

    Raises:
        SuiteError: There is no such suite, or the file is invalid, with line and column; or it is
            with these values.
    """
    path, reader = suite_path(name_or_path), _Reader(axes or Axes())
    suite = reader.suite(_document(path), utf8(path.stem), path.parent, path)
    reader.axes.check_masks(reader.masks)
    return suite


def parse_suite(text: str, source: str = "suite", folder: Path | None = None) -> SuiteSpec:
    """Read a suite from YAML text.

    Args:
        text: The document.
        source: Name for messages, and of the suite if it has none.
        folder: Folder of the files it names.

    Raises:
        SuiteError: The text is no suite; with line and column.
    """
    try:
        document = documents.parse_document(text, source)
    except documents.DocumentError as error:
        raise SuiteError(str(error)) from None
    return _Reader(Axes()).suite(document, source, folder or Path())


@dataclass(frozen=True, slots=True)
class _Layer:
    """A suite file, one of a chain that extend one another."""

    file: SuiteFile
    suffix: str
    """End of its matrices' places in messages; empty for the last of the chain."""
    included: tuple[Matrix, ...]
    devices: tuple[tuple[str, str], ...]
    """Devices of included suites that name one, with the place that includes them."""


class _Reader:
    """Reads a suite and the suites it names, each once, with axes in place of their own."""

    def __init__(self, axes: Axes) -> None:
        self.axes = axes
        self.masks: set[str] = set()
        self.open: list[str] = []
        self.seen: dict[Path, str] = {}

    def suite(
        self, document: documents.Document, name: str, folder: Path, path: Path | None = None
    ) -> SuiteSpec:
        if path is not None:
            self.seen[path.resolve()] = str(path)
        layers = self.layers(document, folder, suffix="")
        stated: dict[str, Any] = {}
        for layer in layers:
            stated |= {key: getattr(layer.file, key) for key in layer.file.model_fields_set}
        device = _device(stated.get("device"), layers)
        return SuiteSpec(
            name=layers[-1].file.name or name,
            description=" ".join(stated.get("description", "").split()),
            tags=tuple(stated.get("tags", ())),
            device=device,
            source=document.source,
            cases=tuple(_matrices(layers)),
            changed=bool(self.axes),
        )

    def layers(self, document: documents.Document, folder: Path, *, suffix: str) -> list[_Layer]:
        """Read a suite's file, after the one it extends."""
        self.open.append(document.source)
        file = self.checked(document, folder)
        below: list[_Layer] = []
        if file.extends is not None:
            with _at(document, ("extends",)):
                path, other = self.other(file.extends, folder)
                below = self.layers(other, path.parent, suffix=f" of {file.extends}")
        included: list[Matrix] = []
        devices = []
        for number, name in enumerate(file.include or ()):
            listed = isinstance(document.value["include"], list)
            location: Location = ("include", number) if listed else ("include",)
            with _at(document, location):
                path, other = self.other(name, folder)
                spec = self.suite(other, utf8(path.stem), path.parent)
            included += [matrix.placed(f"{matrix.where} of {name}") for matrix in spec.cases]
            if spec.device != "auto":
                devices.append((spec.device, document.message(location, name)))
        self.open.pop()
        return [*below, _Layer(file, suffix, tuple(included), tuple(devices))]

    def checked(self, document: documents.Document, folder: Path) -> SuiteFile:
        """Check a suite's file, and what the axes make of it."""
        file = _checked(document, folder)
        if not self.axes:
            return file
        self.masks |= masks_of(document)
        try:
            return _checked(self.axes.over(document), folder)
        except SuiteError as error:
            # One value is wrong in every case: the first says it.
            raise SuiteError(f"with {self.axes}: {str(error).splitlines()[0]}") from None

    def other(self, name: str, folder: Path) -> tuple[Path, documents.Document]:
        """Find another suite: a shipped one, or a file in the folder of the one that names it."""
        path = suite_path(name)
        if path.parent != LIBRARY:
            path = folder / path
            if not is_inside(path, folder):
                raise SuiteError(f"a suite uses suites in its own folder, got {name!r}")
        if self.seen.get(path.resolve()) in self.open:
            line = " → ".join((*self.open, str(path)))
            raise SuiteError(f"the suite leads back to itself: {line}")
        if path.resolve() in self.seen:
            raise SuiteError(f"{name!r} is used twice, and would plan its cases twice; remove one")
        document = _document(path)
        self.seen[path.resolve()] = document.source
        return path, document


def _device(device: str | None, layers: list[_Layer]) -> str:
    """Return the one device of a suite: its own, or that of the suites it includes."""
    for wanted, place in (pair for layer in layers for pair in layer.devices):
        device = device or wanted
        if wanted != device:
            raise SuiteError(
                f"{place} asks for device {wanted!r}, and the suite for {device!r}; a suite has one"
            )
    return device or "auto"


def _matrices(layers: list[_Layer]) -> Iterator[Matrix]:
    """Yield the matrices of files that extend one another; the last sets protocol and gates."""
    protocol, gates = Protocol(), Gates()
    for layer in layers:
        protocol = layer.file.protocol.over(protocol)
        gates = layer.file.gates.over(gates)
    for layer in layers:
        yield from layer.included
        for place, matrix in enumerate(layer.file.cases):
            yield matrix.placed(f"cases[{place}]{layer.suffix}", protocol, gates)


def _document(path: Path) -> documents.Document:
    try:
        return documents.read_document(path)
    except documents.DocumentError as error:
        raise SuiteError(str(error)) from None


def _checked(document: documents.Document, folder: Path) -> SuiteFile:
    if document.value is None:
        raise SuiteError(f"{document.source}: empty; a suite has at least 'cases'")
    try:
        return documents.check_document(
            document, SuiteFile, top="suite", context={"folder": folder}
        )
    except documents.DocumentError as error:
        raise SuiteError(str(error)) from None


@contextmanager
def _at(document: documents.Document, location: Location) -> Iterator[None]:
    """Add the place that names a suite to the errors of that suite."""
    try:
        yield
    except SuiteError as error:
        raise SuiteError(document.message(location, str(error))) from None
