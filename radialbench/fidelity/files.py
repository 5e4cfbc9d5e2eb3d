"""Files of attention inputs: q, k and v of a layer at a step, in safetensors.

Headers are read without PyTorch.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radialbench.errors import InputsError, RecordError
from radialbench.maskgen.grid import TokenGrid
from radialbench.plain import plain_field
from radialbench.reading import check_fits, check_regular
from radialbench.records.codec import from_dict, to_dict
from radialbench.records.fidelity import InputsIdentity
from radialbench.writing import replacement

if TYPE_CHECKING:
    from radialbench.fidelity.inputs import AttentionInputs

FORMAT = "radialbench attention inputs"
VERSION = "1"
SUFFIX = ".safetensors"
KINDS = ("captured", "generated")
DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
MAX_NUMBER = 1 << 31
"""Beyond the number of any head, layer or step."""

END_BYTES = 1 << 20
"""Bytes at the end of a file that its digest covers, beside its header and its size."""


@dataclass(frozen=True, slots=True)
class InputsHeader:
    """What is known of the inputs of a layer beside q, k and v; metadata of a file.

    Attributes:
        grid: Layout of the tokens, which stand in raster order.
        source: What made them, such as the model's name.
        kind: `captured` from a model, or `generated`.
        heads: Number, in the model, of each head of q.
        layer: The model's layer; None if they belong to none.
        step: The step of sampling; None if they belong to none.
        text_lengths: Real text tokens of each sequence; those of the grid if not given.
        sm_scale: Factor of q·k before the softmax; 1/√head_dim if not given.
    """

    grid: TokenGrid
    source: str
    kind: str
    heads: tuple[int, ...]
    layer: int | None = None
    step: int | None = None
    text_lengths: tuple[int, ...] | None = None
    sm_scale: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputsError(f"kind is {' or '.join(KINDS)}, got {self.kind[:40]!r}")
        if not self.source:
            raise InputsError("source: the name of what made them is missing")
        if not self.heads:
            raise InputsError("heads: the number of each head of q is missing")
        for name in ("heads", "layer", "step"):
            value = plain_field(self, name)
            for number in value if isinstance(value, tuple) else (value,):
                if number is not None and not 0 <= number < MAX_NUMBER:
                    raise InputsError(f"{name}: numbers are from 0, got {number!s:.40}")
        if self.sm_scale is not None and not 0 < self.sm_scale < 1e6:
            raise InputsError(f"sm_scale must be positive, got {self.sm_scale}")
        for length in self.text_lengths or ():
            if not 0 <= length <= self.grid.text_tokens:
                raise InputsError(
                    f"text_lengths: {length} of a text of {self.grid.text_tokens} tokens"
                )


@dataclass(frozen=True, slots=True)
class InputsFile:
    """A file of inputs whose header was read, and whose tensors were not.

    Attributes:
        path: The file.
        header: Its header.
        shapes: Shape of each tensor.
        dtype: Type of q, k and v, such as `bfloat16`.
        nbytes: Bytes of the tensors.
        digest: Hash of its header, size and last mebibyte.
    """

    path: Path
    header: InputsHeader
    shapes: dict[str, tuple[int, ...]]
    dtype: str
    nbytes: int
    digest: str

    @property
    def identity(self) -> InputsIdentity:
        """What records name it by."""
        return InputsIdentity(self.header.source, self.header.kind, self.digest)

    @property
    def shape(self) -> tuple[int, ...]:
        """[batch, heads, rows, head_dim] of q."""
        return self.shapes["q"]

    def load(self, device: str = "cpu") -> "AttentionInputs":
        """Return its tensors on a device.

        Raises:
            InputsError: They cannot be read, do not fit the grid, or are not finite.
        """
        from radialbench.fidelity.inputs import AttentionInputs

        with _opened(self.path, "pt", self.nbytes) as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        q, k, v = (tensors[name].to(device) for name in "qkv")
        with _located(self.path):
            inputs = AttentionInputs(q, k, v, self.header, tensors.get("rows"))
            inputs.check_finite()
        return inputs


def open_inputs(path: str | Path) -> tuple[InputsFile, ...]:
    """Read the headers of a file of inputs, or of all in a folder, by layer and step.

    Raises:
        InputsError: There is none, or one cannot be read or says what cannot be.
    """
    path = Path(path)
    if path.is_dir():
        paths = sorted(path.glob(f"*{SUFFIX}"))
        if not paths:
            raise InputsError(
                f"{path}: no {SUFFIX} file; `radialbench capture` and `save_inputs` write them"
            )
    elif path.is_file():
        paths = [path]
    else:
        raise InputsError(f"{path}: no such file or folder of q, k and v")
    files = [_read_header(one) for one in paths]
    return tuple(sorted(files, key=lambda one: (one.header.layer or 0, one.header.step or 0)))


def save_inputs(inputs: "AttentionInputs", path: str | Path) -> None:
    """Write inputs to a safetensors file, whole or not at all.

    Raises:
        OSError: It cannot be written.
    """
    from safetensors.torch import save

    tensors = {"q": inputs.q, "k": inputs.k, "v": inputs.v}
    tensors |= {} if inputs.rows is None else {"rows": inputs.rows}
    facts = {name: json.dumps(value) for name, value in to_dict(inputs.header).items()}
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    content = save(contiguous, {"format": FORMAT, "version": VERSION, **facts})
    with replacement(Path(path)) as file:
        file.write(content)


def _read_header(path: Path) -> InputsFile:
    with _opened(path, "np") as file:
        metadata = file.metadata() or {}
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        shapes = {name: tuple(one.get_shape()) for name, one in slices.items()}
        dtypes = {name: one.get_dtype() for name, one in slices.items()}
    with _located(path):
        header = _header(metadata)
    if missing := [name for name in "qkv" if name not in shapes]:
        raise InputsError(f"{path}: has no {', '.join(missing)}; it has {', '.join(shapes)}")
    for name in "qkv":
        if dtypes[name] not in DTYPES:
            takes = ", ".join(DTYPES.values())
            raise InputsError(f"{path}: {name} is {dtypes[name]}; inputs are {takes}")
    size = path.stat().st_size
    with path.open("rb") as content:
        length = int.from_bytes(content.read(8), "little")
        digest = blake2b(content.read(length) + str(size).encode(), digest_size=8)
        content.seek(max(size - END_BYTES, 0))
        digest.update(content.read())
    return InputsFile(path, header, shapes, DTYPES[dtypes["q"]], size, digest.hexdigest())


def _header(metadata: dict[str, str]) -> InputsHeader:
    if metadata.get("format") != FORMAT or metadata.get("version") != VERSION:
        raise InputsError(
            f"its metadata says no grid: format must be {FORMAT!r} and version {VERSION!r}; "
            "`radialbench.fidelity.files.save_inputs` writes such files"
        )
    fields = {}
    for name, text in metadata.items():
        if name not in ("format", "version"):
            try:
                fields[name] = json.loads(text)
            except ValueError:
                raise InputsError(f"metadata {name} is not JSON: {text[:40]!r}") from None
    try:
        return from_dict(InputsHeader, fields)
    except RecordError as error:
        raise InputsError(f"metadata: {error}") from None


@contextmanager
def _opened(path: Path, framework: str, nbytes: int = 0) -> Iterator[Any]:
    """Open a file of which so many bytes will be read."""
    from safetensors import SafetensorError, safe_open

    try:
        check_regular(path)
        check_fits(nbytes, path)
        with safe_open(path, framework) as file:
            yield file
    except SafetensorError as error:
        raise InputsError(f"{path}: no safetensors file, or not all of it ({error})") from None
    except OSError as error:
        raise InputsError(f"cannot read {path}: {error.strerror or error}") from None


@contextmanager
def _located(path: Path) -> Iterator[None]:
    """Add the file to errors."""
    try:
        yield
    except InputsError as error:
        raise InputsError(f"{path}: {error}") from None
