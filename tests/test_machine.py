from pathlib import Path

import pytest

from radialbench import machine


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(64)), raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("200000 100000", 2), ("150000 100000", 2), ("1000 100000", 1), ("max 100000", 64), ("?", 64)],
)
def test_cores_within_a_quota(cgroup: Path, quota: str, expected: int) -> None:
    (cgroup / "cpu.max").write_text(quota)
    assert machine.cores() == expected


def test_cores_without_a_cgroup(cgroup: Path) -> None:
    assert machine.cores() == 64


@pytest.mark.parametrize(
    ("meminfo", "most", "free"),
    [
        (None, None, None),
        ("MemAvailable: 5 kB", None, 5 * 1024),
        (None, 96 + 7, 7),
        ("MemTotal: 9 kB\nMemAvailable: 5 kB", 96 + 7, 7),
        ("MemAvailable: 5 kB", 1 << 20, 5 * 1024),
        ("MemAvailable: 5 kB", 50, 0),
    ],
)
def test_the_smaller_limit_counts(
    cgroup: Path,
    monkeypatch: pytest.MonkeyPatch,
    meminfo: str | None,
    most: int | None,
    free: int | None,
) -> None:
    monkeypatch.setattr(machine, "MEMINFO", cgroup / "meminfo")
    if meminfo is not None:
        (cgroup / "meminfo").write_text(meminfo)
    (cgroup / "memory.max").write_text("max" if most is None else str(most))
    (cgroup / "memory.current").write_text("96")
    assert machine.free_memory() == free


def test_the_load_is_that_of_each_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (6.0, 1.0, 1.0))
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    assert machine.load() == 1.5

    def unknown() -> None:
        raise OSError

    monkeypatch.setattr("os.getloadavg", unknown)
    assert machine.load() is None
