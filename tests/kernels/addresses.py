"""Where a compiled kernel loads and stores: its address arithmetic, computed from its TTGIR."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

LOADED = 7
"""What every load gives, and whatever a loop carries."""

_ARGUMENTS = {"heads": 1, "seq_len": 1 << 20, "stride_om": 1}
_OPS: dict[str, Callable[[Any, Any], Any]] = {
    "arith.addi": lambda a, b: a + b,
    "arith.divsi": lambda a, b: a // b,
    "arith.muli": lambda a, b: a * b,
    "arith.remsi": lambda a, b: a % b,
    "tt.addptr": lambda a, b: a + b,
}
_SAME = ("arith.extsi", "tt.broadcast", "tt.splat", "ttg.convert_layout")
_LINE = re.compile(r"\s*(%[\w#]+)(?::\d+)? = \"?([\w.]+)\"?(.*)")
_NAME = re.compile(r"%\w+(?:#\d+)?")


def stored_rows(ttgir: str) -> dict[str, list[NDArray[np.int64]]]:
    """Give the rows that each group of warps stores: in lse, and in out.

    For the first query block of the first head, which is row `LOADED` of its table.
    """
    return _found(ttgir, "tt.store", lambda values: values if values.ndim == 1 else values[:, 0])


def inline_loads(ttgir: str) -> dict[str, list[NDArray[np.int64]]]:
    """Likewise the words that loads in inline assembly start at."""
    return _found(ttgir, "tt.elementwise_inline_asm", lambda values: values)


def copied_rows(ttgir: str, rows: int) -> list[int]:
    """Give the first rows of the copies of tiles of so many rows."""
    copy = re.compile(rf"async_tma_copy_global_to_local %\w+\[(%\w+), .*tensor<{rows}x\d+x\w+, ")
    return [
        int(_value(match[1], lines))
        for lines in _regions(ttgir).values()
        for line in lines
        if (match := copy.search(line))
    ]


def _found(
    ttgir: str, op: str, pick: Callable[[NDArray[np.int64]], NDArray[np.int64]]
) -> dict[str, list[NDArray[np.int64]]]:
    found: dict[str, list[NDArray[np.int64]]] = {}
    for name, lines in _regions(ttgir).items():
        for line in lines:
            if f"{op} " in line:
                pointer = _NAME.findall(line.partition(f"{op} ")[2])[0]
                found.setdefault(name, []).append(pick(np.asarray(_value(pointer, lines))))
    return found


def _regions(ttgir: str) -> dict[str, list[str]]:
    """Split a specialized kernel by groups of warps; each has names of its own."""
    before, _, after = ttgir.partition("ttg.warp_specialize(")
    assert after, "the kernel is not specialized"
    captured = _NAME.findall(after.partition(")")[0])
    regions = {"default": before.splitlines()}
    name = "default"
    for line in after.splitlines()[1:]:
        if match := re.match(r"\s*(partition\d+)\((.*)\) num_warps", line):
            name = match[1]
            given = re.findall(r"(%\w+): ", match[2])
            regions[name] = [f"{a} = same {b}" for a, b in zip(given, captured, strict=True)]
        regions[name].append(line)
    return regions


def _value(name: str, lines: list[str]) -> Any:
    for line in lines:
        match = _LINE.match(line)
        if match and match[1] == name.partition("#")[0]:
            return _computed(match[2], match[3], lines)
        if "scf.for" in line and f"{name} = " in line:
            return LOADED
    return _ARGUMENTS.get(name[1:], 0)


def _computed(op: str, rest: str, lines: list[str]) -> Any:
    if op == "arith.constant":
        number = re.match(r"(?: \{[^}]*\})? (?:dense<)?(-?\d+)", rest)
        assert number, rest
        return int(number[1])
    if op in ("tt.load", "scf.for"):
        return LOADED
    if op == "tt.get_program_id":
        return 0
    if op == "tt.make_range":
        end, start = (int(re.search(rf"{key} = (\d+)", rest)[1]) for key in ("end", "start"))  # type: ignore[index]
        return np.arange(start, end)
    if op == "same":
        return _ARGUMENTS.get(rest.strip()[1:], 0)
    operands = [_value(name, lines) for name in _NAME.findall(rest.partition(" : ")[0])]
    if op in _OPS:
        return _OPS[op](*operands)
    if op in _SAME:
        return operands[0]
    if op == "tt.expand_dims":
        axis = int(re.search(r"axis = (\d+)", rest)[1])  # type: ignore[index]
        return np.expand_dims(operands[0], axis) if np.ndim(operands[0]) else operands[0]
    raise AssertionError(f"an address is made by {op}, which this does not know")
