"""What a case needs at least, and what there is."""

from dataclasses import replace
from pathlib import Path

from radialbench.maskgen.grid import TokenGrid
from radialbench.records.problem import Problem
from radialbench.suites.resources import available_bytes, needed_bytes

SMALL = Problem("f00d", TokenGrid(10, 10, 10), 1, 1, 64, "float32")


def test_the_tensors_are_counted() -> None:
    check = 2 * 8 * 1000 * 64 + 9 * 1000**2
    assert needed_bytes(SMALL, permuted=False) == 4 * 4 * 1000 * 64 + check
    assert needed_bytes(SMALL, permuted=True) == 10 * 4 * 1000 * 64 + check


def test_16_bits_take_half_and_heads_and_batch_as_many_times() -> None:
    check = needed_bytes(SMALL, permuted=False) - 4 * 4 * 1000 * 64
    many = replace(SMALL, batch=2, heads=3, dtype="bfloat16")
    assert needed_bytes(many, permuted=False) == 6 * 4 * 2 * 1000 * 64 + check


def test_key_heads_are_counted_apart() -> None:
    alike = replace(SMALL, heads=8, kv_heads=8)
    grouped = replace(SMALL, heads=8, kv_heads=2)
    head = 4 * 1000 * 64
    for permuted, copies in ((False, 2), (True, 6)):
        saved = needed_bytes(alike, permuted=permuted) - needed_bytes(grouped, permuted=permuted)
        assert saved == copies * 6 * head


def test_the_check_never_holds_all_scores_of_a_long_sequence() -> None:
    long = replace(SMALL, grid=TokenGrid(400, 20, 50))
    assert needed_bytes(long, permuted=False) < 1 << 30


def test_the_room_here_is_between_nothing_and_all() -> None:
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    total = next(int(line.split()[1]) for line in lines if line.startswith("MemTotal:"))
    free = available_bytes("cpu")
    assert free is not None
    assert 0 < free <= total * 1024
