"""q, k and v of attention layers, in memory and in files: captured from a model, or generated."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from radialbench.errors import InputsError, RecordError
from radialbench.kernels.checks import DTYPES
from radialbench.maskgen.grid import TokenGrid
from radialbench.records.codec import from_dict, to_dict
from radialbench.records.fidelity import InputsIdentity
from radialbench.writing import replacement

FORMAT = "radialbench attention inputs"
VERSION = "1"
SUFFIX = ".safetensors"
KINDS = ("captured", "generated")
END_BYTES = 1 << 20
"""Bytes at the end of a file that its digest covers, beside its header and its size."""

T = TypeVar("T")


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
        if not self.heads:
            raise InputsError("heads: the number of each head of q is missing")
        if self.sm_scale is not None and not 0 < self.sm_scale < 1e6:
            raise InputsError(f"sm_scale must be positive, got {self.sm_scale}")
        for length in self.text_lengths or ():
            if not 0 <= length <= self.grid.text_tokens:
                raise InputsError(
                    f"text_lengths: {length} of a text of {self.grid.text_tokens} tokens"
                )


@dataclass(frozen=True, eq=False)
class AttentionInputs:
    """q, k and v of one attention layer at one step.

    Attributes:
        q: [batch, heads, rows, head_dim].
        k: [batch, kv_heads, seq_len, head_dim]; query head h attends to key head
            h // (heads / kv_heads).
        v: As k.
        header: What is known of them.
        rows: [rows] int64, which queries q has, ascending; None for all of them.

    Raises:
        InputsError: They do not fit together, or the grid.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    header: InputsHeader
    rows: Tensor | None = None

    def __post_init__(self) -> None:
        if problem := _misfit(self):
            raise InputsError(problem)

    @property
    def grid(self) -> TokenGrid:
        """Layout of the tokens."""
        return self.header.grid

    @property
    def scale(self) -> float:
        """Factor of q·k before the softmax."""
        return self.header.sm_scale or self.q.shape[-1] ** -0.5

    def grid_of(self, sequence: int) -> TokenGrid:
        """Return the layout of one sequence of the batch, with its own text length."""
        if self.header.text_lengths is None:
            return self.grid
        return replace(self.grid, text_valid=self.header.text_lengths[sequence])

    def to(self, device: str) -> "AttentionInputs":
        """Return the inputs on a device."""
        q, k, v = (x.to(device) for x in (self.q, self.k, self.v))
        return replace(self, q=q, k=k, v=v)

    def check_finite(self) -> None:
        """Raise InputsError if a number is nan or infinite; the first tensor, head and row."""
        for name, tensor in (("q", self.q), ("k", self.k), ("v", self.v)):
            wrong = ~tensor.isfinite().all(dim=-1)
            if wrong.any():
                sequence, head, row = wrong.nonzero()[0].tolist()
                value = tensor[sequence, head, row]
                kind = "nan" if value.isnan().any() else "inf"
                count = int(wrong.sum())
                raise InputsError(
                    f"{name} has {kind} in row {row} of head {head}, sequence {sequence}"
                    + (f", and in {count - 1} more row{'s' * (count > 2)}" if count > 1 else "")
                )


@dataclass(frozen=True, slots=True)
class InputsFile:
    """A file of inputs whose header was read, and whose tensors were not.

    Attributes:
        path: The file.
        header: Its header.
        shapes: Shape of each tensor.
        nbytes: Bytes of the tensors.
        digest: Hash of its header, size and last mebibyte.
    """

    path: Path
    header: InputsHeader
    shapes: dict[str, tuple[int, ...]]
    nbytes: int
    digest: str

    @property
    def identity(self) -> InputsIdentity:
        """What records name it by."""
        return InputsIdentity(self.header.source, self.header.kind, self.digest)

    def load(self, device: str = "cpu") -> AttentionInputs:
        """Return its tensors on a device.

        Raises:
            InputsError: They cannot be read, do not fit the grid, or are not finite.
        """
        with _opened(self.path) as file:
            tensors = {name: file.get_tensor(name).to(device) for name in file.keys()}  # noqa: SIM118
        return _located(self.path, lambda: _checked(tensors, self.header))


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


def save_inputs(inputs: AttentionInputs, path: str | Path) -> None:
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
    with _opened(path) as file:
        metadata = file.metadata() or {}
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        shapes = {name: tuple(one.get_shape()) for name, one in slices.items()}
        dtypes = {name: one.get_dtype() for name, one in slices.items()}
    header = _located(path, lambda: _header(metadata))
    if missing := [name for name in "qkv" if name not in shapes]:
        raise InputsError(f"{path}: has no {', '.join(missing)}; it has {', '.join(shapes)}")
    known = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
    for name in "qkv":
        if dtypes[name] not in known:
            raise InputsError(f"{path}: {name} is {dtypes[name]}; {_takes()}")
    size = path.stat().st_size
    with path.open("rb") as content:
        length = int.from_bytes(content.read(8), "little")
        digest = blake2b(content.read(length) + str(size).encode(), digest_size=8)
        content.seek(max(size - END_BYTES, 0))
        digest.update(content.read())
    return InputsFile(path, header, shapes, size, digest.hexdigest())


def _header(metadata: dict[str, str]) -> InputsHeader:
    if metadata.get("format") != FORMAT or metadata.get("version") != VERSION:
        raise InputsError(
            f"its metadata says no grid: format must be {FORMAT!r} and version {VERSION!r}; "
            "`radialbench.fidelity.inputs.save_inputs` writes such files"
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


def _checked(tensors: dict[str, Tensor], header: InputsHeader) -> AttentionInputs:
    rows = tensors.get("rows")
    rows = None if rows is None else rows.cpu()
    inputs = AttentionInputs(tensors["q"], tensors["k"], tensors["v"], header, rows)
    inputs.check_finite()
    return inputs


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise InputsError(f"{path}: no safetensors file, or not all of it ({error})") from None
    except OSError as error:
        raise InputsError(f"cannot read {path}: {error.strerror or error}") from None


def _located(path: Path, read: Callable[[], T]) -> T:
    try:
        return read()
    except InputsError as error:
        raise InputsError(f"{path}: {error}") from None


def _takes() -> str:
    return f"inputs are {', '.join(DTYPES)}"


def _misfit(inputs: AttentionInputs) -> str | None:
    q, k, v, grid, rows = inputs.q, inputs.k, inputs.v, inputs.grid, inputs.rows
    shapes = f"q is {[*q.shape]}, k {[*k.shape]}, v {[*v.shape]}"
    if {q.ndim, k.ndim, v.ndim} != {4}:
        return f"q, k and v are [batch, heads, tokens, head_dim]; {shapes}"
    for name, tensor in (("q", q), ("k", k), ("v", v)):
        if tensor.dtype not in DTYPES.values():
            return f"{name} is {str(tensor.dtype).removeprefix('torch.')}; {_takes()}"
    if not q.dtype == k.dtype == v.dtype:
        return f"q, k and v have one dtype, got {q.dtype}, {k.dtype} and {v.dtype}"
    if k.shape != v.shape or (q.shape[0], q.shape[3]) != (k.shape[0], k.shape[3]) or not q.numel():
        return f"batch and head_dim of q, k and v are equal, and k is as v; {shapes}"
    if q.shape[1] % k.shape[1]:
        return f"the heads of k divide those of q; {shapes}"
    if k.shape[2] != grid.seq_len:
        return f"the grid {grid.label} has {grid.seq_len:,} tokens, and k {k.shape[2]:,}"
    if rows is None and q.shape[2] != grid.q_len:
        return f"the grid {grid.label} has {grid.q_len:,} queries, and q {q.shape[2]:,}"
    if rows is not None:
        if rows.dtype != torch.int64 or rows.shape != q.shape[2:3]:
            return f"rows is [rows of q] int64, got {[*rows.shape]} {rows.dtype}; {shapes}"
        if (rows.diff() <= 0).any() or not 0 <= int(rows[0]) <= int(rows[-1]) < grid.q_len:
            return f"rows are ascending queries below {grid.q_len:,}"
    if len(inputs.header.heads) != q.shape[1]:
        return f"q has {q.shape[1]} heads, and the header names {len(inputs.header.heads)}"
    lengths = inputs.header.text_lengths
    if lengths is not None and len(lengths) != len(q):
        return f"q has {len(q)} sequences, and the header {len(lengths)} text lengths"
    return None
