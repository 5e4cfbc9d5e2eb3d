"""What a record says of its machine is what the system says."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from radialbench import machine
from radialbench.kernels.arch import cpu_name, versions
from radialbench.kernels.measure import environment as module
from radialbench.kernels.measure import telemetry
from radialbench.kernels.measure.environment import (
    _gpu_versions,
    card,
    clock_limits,
    environment,
    gpus,
    likely_device_name,
    memory_bytes,
)
from radialbench.machine import cpu_quota
from radialbench.records.codec import from_dict, to_dict
from radialbench.records.result import Environment
from tests.records.sample import ENVIRONMENT


def test_the_facts_are_the_systems() -> None:
    here = environment("radialbench run smoke")
    assert here.command == "radialbench run smoke"
    assert here.device == "cpu"
    assert here.threads == torch.get_num_threads()
    assert here.cores == len(os.sched_getaffinity(0))
    assert here.python == platform.python_version()
    assert here.versions["torch"] == version("torch")
    assert here.cpu
    assert here.clocks is None
    assert from_dict(Environment, to_dict(here)) == here


def test_machines_are_identified_but_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = set()
    for name in ("alice-workstation", "bob-laptop", "alice-workstation"):
        monkeypatch.setattr(platform, "node", lambda name=name: name)
        hosts.add(environment("").host)
        assert name not in json.dumps(to_dict(environment("")))
    assert len(hosts) == 2
    assert {len(one or "") for one in hosts} == {12}


def test_gpus_of_one_kind_are_identified_but_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def card_of(**properties: object) -> str | None:
        found = SimpleNamespace(**properties)
        monkeypatch.setattr("torch.cuda.get_device_properties", lambda: found)
        return card()

    one, other = (card_of(uuid=f"8a7b-{n}") for n in "12")
    assert one and other and one != other == card_of(uuid="8a7b-2")
    assert len(one) == 12 and "8a7b" not in one
    assert card_of() is None


def test_the_limits_of_a_gpus_clocks_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    import pynvml

    @contextmanager
    def some() -> Iterator[tuple[object, str]]:
        yield object(), "nvml"

    def refused(handle: object) -> int:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    clocks = {pynvml.NVML_CLOCK_SM: 1980, pynvml.NVML_CLOCK_MEM: 2619}
    monkeypatch.setattr(telemetry, "nvml", some)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMaxClockInfo", lambda handle, kind: clocks[kind])
    monkeypatch.setattr(pynvml, "nvmlDeviceGetEnforcedPowerLimit", lambda handle: 700_000)
    assert clock_limits() == {
        "max_sm_mhz": 1980, "max_memory_mhz": 2619, "power_limit_w": 700.0
    }  # fmt: skip
    here = replace(ENVIRONMENT, **clock_limits())
    assert here.clocks == "SM 1980 MHz, memory 2619 MHz, power 700 W"
    monkeypatch.setattr(pynvml, "nvmlDeviceGetEnforcedPowerLimit", refused)
    assert clock_limits() == {"max_sm_mhz": 1980, "max_memory_mhz": 2619}
    here = replace(ENVIRONMENT, **clock_limits())
    assert here.clocks == "SM 1980 MHz, memory 2619 MHz"


@pytest.mark.parametrize(
    ("own", "files", "quota"),
    [
        ("0::/\n", {"cpu.max": "200000 100000"}, 2),
        ("0::/a/b\n", {"a/cpu.max": "150000 100000", "a/b/cpu.max": "max 100000"}, 2),
        ("0::/a/b\n", {"a/cpu.max": "400000 100000", "a/b/cpu.max": "50000 100000"}, 1),
        ("0::/gone\n", {"cpu.max": "max 100000"}, None),
        ("0::/\n", {}, None),
        ("0::/\n", {"cpu.max": "what"}, None),
        (
            "4:memory:/m\n3:cpu,cpuacct:/pod\n0::/\n",
            {"cpu/pod/cpu.cfs_quota_us": "300000", "cpu/pod/cpu.cfs_period_us": "100000"},
            3,
        ),
        (
            "3:cpuacct,cpu:/not/here\n",
            {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"},
            None,
        ),
        ("", {"cpu.max": "200000 100000"}, None),
    ],
)
def test_the_quota_of_a_cgroup(
    own: str, files: dict[str, str], quota: int | None, tmp_path: Path
) -> None:
    (tmp_path / "own").write_text(own)
    root = tmp_path / "root"
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{text}\n")
    assert cpu_quota(tmp_path / "own", root) == quota
    assert cpu_quota(tmp_path / "none", root) is None


def test_cores_are_those_of_the_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)), raising=False)
    for quota, count in ((2, 2), (None, 64), (100, 64)):
        monkeypatch.setattr(machine, "cpu_quota", lambda quota=quota: quota)
        assert machine.cores() == count


def test_memory_is_that_of_the_machine() -> None:
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    total = next(int(line.split()[1]) for line in lines if line.startswith("MemTotal:"))
    assert memory_bytes() == total * 1024


def test_a_library_that_is_not_there_has_no_version() -> None:
    assert versions(["no-such-library", "numpy"]) == {"numpy": version("numpy")}


def test_a_gpu_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "card", lambda: "0123456789ab")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Example GPU")
    assert environment("", device="cuda").device == "Example GPU"


def checkout(folder: Path) -> Path:
    """Make a repository with a package of one file, and give that file."""
    source = folder / "package" / "inner" / "file.py"
    source.parent.mkdir(parents=True)
    source.write_text("")
    name = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    for words in (["init", "-q"], ["add", "."], [*name, "commit", "-qm", "first"]):
        subprocess.run(["git", "-C", folder, *words], check=True)
    return source


def test_a_commit_is_named_with_a_plus_when_the_package_differs(tmp_path: Path) -> None:
    source = checkout(tmp_path)
    head = subprocess.run(
        ["git", "-C", tmp_path, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert module._commit(source) == head[:12]
    (tmp_path / "notes.txt").write_text("beside the package")
    assert module._commit(source) == head[:12]
    source.write_text("changed")
    assert module._commit(source) == head[:12] + "+"


def test_a_package_in_another_projects_checkout_has_no_commit(tmp_path: Path) -> None:
    source = checkout(tmp_path)
    foreign = source.parent / "installed.py"
    foreign.write_text("")
    assert module._commit(foreign) is None


def test_variables_of_a_git_hook_do_not_hide_the_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = checkout(tmp_path / "ours")
    commit = module._commit(source)
    checkout(tmp_path / "other")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other" / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path / "other"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "none"))
    assert commit is not None and module._commit(source) == commit


def test_without_git_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = checkout(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert module._commit(source) is None


class NVMLError(Exception):
    """Stands for the error of NVIDIA's library."""

    def __init__(self, text: str, value: int = 999) -> None:
        super().__init__(text)
        self.value = value


def nvml(**functions: object) -> SimpleNamespace:
    """Stand in for NVIDIA's library, with two GPUs."""
    given: dict[str, object] = {
        "NVMLError": NVMLError,
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlSystemGetDriverVersion": lambda: "1.2",
        "nvmlDeviceGetCount": lambda: 2,
        "nvmlDeviceGetHandleByIndex": lambda place: place,
        "nvmlDeviceGetName": lambda handle: f"Example {handle}",
        "nvmlDeviceGetCudaComputeCapability": lambda handle: (9, 0),
        "nvmlDeviceGetMemoryInfo": lambda handle: SimpleNamespace(total=80 << 30),
    }
    return SimpleNamespace(**(given | functions))


def failing(*arguments: object) -> None:
    raise NVMLError("Driver Not Loaded", 9)


def refusing(*arguments: object) -> None:
    raise NVMLError("Insufficient Permissions", 4)


def lost(place: int) -> int:
    if place == 0:
        raise NVMLError("GPU is lost", 15)
    return place


def test_gpus_are_described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml())
    found, problem = gpus()
    assert not problem
    assert [gpu.text for gpu in found] == [
        "Example 0, compute capability 9.0, 80 GiB, driver 1.2",
        "Example 1, compute capability 9.0, 80 GiB, driver 1.2",
    ]


def test_no_driver_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml(nvmlInit=failing))
    assert gpus() == ([], "")
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert gpus() == ([], "")


@pytest.mark.parametrize("function", ["nvmlInit", "nvmlDeviceGetCount"])
def test_a_driver_that_does_not_answer_is_reported(
    function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mismatch() -> None:
        raise NVMLError("Driver/library version mismatch", 18)

    monkeypatch.setitem(sys.modules, "pynvml", nvml(**{function: mismatch}))
    reason = "the driver does not answer: NVMLError: Driver/library version mismatch"
    assert gpus() == ([], reason)


def test_one_lost_gpu_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml(nvmlDeviceGetHandleByIndex=lost))
    found, problem = gpus()
    assert [gpu.name for gpu in found] == ["Example 1"]
    assert problem == "GPU 0 does not answer: NVMLError: GPU is lost"


def test_what_a_package_of_that_name_lacks_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packages named pynvml differ in what they have, and old ones answer in bytes."""
    old = nvml(nvmlSystemGetDriverVersion=lambda: b"1.2", nvmlDeviceGetName=lambda handle: b"Old")
    del old.nvmlDeviceGetCudaComputeCapability, old.nvmlShutdown
    monkeypatch.setitem(sys.modules, "pynvml", old)
    found, problem = gpus()
    assert [gpu.text for gpu in found] == 2 * ["Old, 80 GiB, driver 1.2"]
    assert not problem
    monkeypatch.setitem(sys.modules, "pynvml", SimpleNamespace())
    assert gpus()[0] == []
    assert "has no attribute 'nvmlInit'" in gpus()[1]


def test_a_refusal_is_no_version_of_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml(nvmlDeviceGetName=refusing))
    assert _gpu_versions()["driver"] == "1.2"
    assert gpus()[1].startswith("GPU 0 does not answer: NVMLError: Insufficient Permissions; GPU 1")
    monkeypatch.setitem(sys.modules, "pynvml", nvml(nvmlSystemGetDriverVersion=refusing))
    assert "driver" not in _gpu_versions()
    assert [gpu.driver for gpu in gpus()[0]] == [None, None]


def test_where_attention_would_run_is_named_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    devices = ("cpu", "auto", "cuda")
    monkeypatch.setitem(sys.modules, "pynvml", nvml())
    named = [likely_device_name(device) for device in devices]
    assert named == [cpu_name(), "Example 0", "Example 0"]
    for broken in (nvml(nvmlDeviceGetName=failing), None):
        monkeypatch.setitem(sys.modules, "pynvml", broken)
        named = [likely_device_name(device) for device in devices]
        assert named == [cpu_name(), cpu_name(), None]
