"""What a kernel's machine code is made of, read from the listing of NVIDIA's `cuobjdump`."""

import hashlib
import re
from collections import Counter
from dataclasses import dataclass

_LINE = re.compile(r"^\s+(?:/\*[0-9a-f]{4,}\*/(?P<text>.*?);)?\s*/\* (?P<word>0x[0-9a-f]{16}) \*/$")
_REGISTER = re.compile(r"\b(UR|UP|R|P|B)\d+\b")
_WAITS = 41
"""The first of an instruction's second 64 bits that describe waits, on Volta and later."""

_FOR_DEBUGGERS = re.compile(r"\.loc\b|\.file\b|\$L__tmp\d+:|\$L__func_\w+:")
_OPERATION = re.compile(r"\s*(?:@!?\w+\s+)?([A-Z]\w*)")


@dataclass(frozen=True, slots=True)
class Mix:
    """Instructions in the whole kernel, by kind.

    Attributes:
        instructions: Instructions of every kind.
        wgmma: Matmuls of a warp group (`HGMMA` and its kin), on Hopper.
        tcgen05: Matmuls in tensor memory (`UTCHMMA` and its kin), on Blackwell's servers.
        mma: Matmuls of a warp (`HMMA` and its kin).
        special: Instructions of the special functions' unit (`MUFU`), such as exponentials.
        local: Loads from and stores to local memory (`LDL`, `STL`): spills.
        global_loads: Loads from global memory, those into shared memory among them (`LDGSTS`).
        global_stores: Stores to global memory.
        shared_loads: Loads from shared memory.
        shared_stores: Stores to shared memory.
        copy_loads: Tiles loaded by TMA (`UTMALDG`).
        copy_stores: Tiles stored by TMA (`UTMASTG`).
        barriers: Barriers of a block's threads (`BAR`).
        mbarriers: Operations on barriers in shared memory (`SYNCS`).
    """

    instructions: int
    wgmma: int
    tcgen05: int
    mma: int
    special: int
    local: int
    global_loads: int
    global_stores: int
    shared_loads: int
    shared_stores: int
    copy_loads: int
    copy_stores: int
    barriers: int
    mbarriers: int


def mix_of(listing: str) -> Mix:
    """Count the instructions of a listing."""
    found = Counter(
        operation[1]
        for line in _lines(listing)
        if line["text"] and (operation := _OPERATION.match(line["text"]))
    )

    def count(pattern: str) -> int:
        return sum(n for name, n in found.items() if re.fullmatch(pattern, name))

    return Mix(
        instructions=found.total(),
        wgmma=count(r"[A-Z]GMMA"),
        tcgen05=count(r"UTC[A-Z]*MMA"),
        mma=count(r"[A-Z]MMA"),
        special=count("MUFU"),
        local=count("LDL|STL"),
        global_loads=count("LDG|LDGSTS"),
        global_stores=count("STG"),
        shared_loads=count("LDS|LDSM"),
        shared_stores=count("STS|STSM"),
        copy_loads=count("UTMALDG"),
        copy_stores=count("UTMASTG"),
        barriers=count("BAR"),
        mbarriers=count("SYNCS"),
    )


def code_hash(listing: str) -> str:
    """Return a short hash of a listing's instructions, wherever they lie and whatever else it says.

    Which registers they name does not count: NVIDIA's assembler, given one program twice, can take
    others (seen for sm_100). What only their words say does: how long each waits, and for which.
    """
    found = hashlib.sha256()
    for line in _lines(listing):
        if line["text"]:
            text = " ".join(line["text"].split())
            found.update(_REGISTER.sub(r"\1", text).encode())
        else:
            found.update(f" {int(line['word'], 16) >> _WAITS:x}\n".encode())
    return found.hexdigest()[:16]


def program_hash(ptx: str) -> str:
    """Return a short hash of the program that the assembler gets, wherever its source lies."""
    found = hashlib.sha256()
    for line in ptx.splitlines():
        text = line.partition("//")[0].strip()
        if text.startswith(".section"):
            break  # Tables for debuggers, to the end.
        if text and not _FOR_DEBUGGERS.match(text):
            found.update(f"{text}\n".encode())
    return found.hexdigest()[:16]


def _lines(listing: str) -> list[re.Match[str]]:
    return [found for line in listing.splitlines() if (found := _LINE.match(line))]
