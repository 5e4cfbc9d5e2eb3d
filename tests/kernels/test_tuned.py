"""find_config reads the user's records before ours, as they are now, and without PyTorch."""

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from radialbench.errors import BackendError, RecordError
from radialbench.kernels import tuned as module
from radialbench.kernels.arch import cpu_name
from radialbench.kernels.tuned import COMPILERS, SHIPPED, device_name, file_name, find_config
from radialbench.maskgen.grid import TokenGrid
from radialbench.records.lookup import nearest_config
from radialbench.records.problem import KernelConfig, Problem
from radialbench.records.tuning import TuningRecord
from radialbench.records.tuning_file import read_tuning, to_document, write_tuning
from tests.kernels.configs import fresh, written
from tests.records.tuned import tuned

PROBLEM = Problem("f00d", TokenGrid(21, 30, 52), 1, 12, 128, "bfloat16")
MINE, OURS = KernelConfig(64, 64, 4, 1), KernelConfig(64, 64, 4, 2)


@pytest.fixture(autouse=True)
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder for what comes with the package."""
    folder = tmp_path / "shipped"
    folder.mkdir()
    monkeypatch.setattr(module, "SHIPPED", folder)
    monkeypatch.delenv(module.VARIABLE, raising=False)
    return folder


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the user's own records."""
    folder = tmp_path / "mine"
    folder.mkdir()
    monkeypatch.setenv(module.VARIABLE, str(folder))
    return folder


def here(backend: str = "triton") -> tuple[Problem, str, str]:
    return PROBLEM, backend, device_name("cpu")


def test_own_records_are_found_in_their_default_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert find_config(*here()).source == "default"
    folder = tmp_path / "data" / "radialbench" / "configs"
    assert module.user_folder() == folder
    folder.mkdir(parents=True)
    written(folder, fresh("triton", config=MINE))
    assert find_config(*here()).config == MINE
    # The variable takes its place.
    (tmp_path / "none").mkdir()
    monkeypatch.setenv(module.VARIABLE, str(tmp_path / "none"))
    assert find_config(*here()).source == "default"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert module.user_folder() == tmp_path / ".local" / "share" / "radialbench" / "configs"


def test_names_of_files_are_plain() -> None:
    assert file_name("NVIDIA H100 80GB HBM3") == "nvidia-h100-80gb-hbm3.jsonl"
    assert file_name("AMD EPYC 9004 (x2)") == "amd-epyc-9004-x2.jsonl"


def test_the_cpu_has_a_name() -> None:
    assert device_name("cpu") == cpu_name()


def test_a_gpu_that_is_not_here_has_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(BackendError, match="there is no 'cuda:1' to name: PyTorch finds no GPU"):
        device_name("cuda:1")


def test_without_records_there_is_the_default() -> None:
    default = KernelConfig(num_warps=8)
    found = find_config(*here(), default=default)
    assert (found.config, found.source) == (default, "default")
    assert find_config(*here("sdpa")).reason == "sdpa is not tuned"


def test_what_is_shipped_is_found_by_the_devices_name(shipped: Path) -> None:
    write_tuning(shipped / file_name(device_name("cpu")), [fresh("triton", config=OURS)])
    found = find_config(*here())
    assert (found.config, found.source) == (OURS, "tuned")
    assert find_config(PROBLEM, "triton", "Other GPU").source == "default"
    assert find_config(*here("hopper")).source == "default"


def test_the_users_own_come_first(shipped: Path, mine: Path) -> None:
    write_tuning(shipped / file_name(device_name("cpu")), [fresh("triton", config=OURS)])
    assert find_config(*here()).config == OURS
    written(mine, fresh("triton", config=MINE), tuned(device="Other GPU"))
    assert find_config(*here()).config == MINE
    written(mine, fresh("triton", config=MINE, kernel="old"))
    assert find_config(*here()).config == OURS


def test_a_single_file_may_be_named(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(mine, fresh("triton", config=MINE))
    monkeypatch.setenv(module.VARIABLE, str(path))
    assert find_config(*here()).config == MINE


def exported(path: Path, *records: TuningRecord) -> Path:
    path.write_text(to_document(records), encoding="utf-8")
    return path


def test_what_was_exported_is_read_like_records(
    mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported(mine / "gpu.json", fresh("triton", config=MINE))
    assert find_config(*here()).config == MINE
    monkeypatch.setenv(module.VARIABLE, str(mine / "gpu.json"))
    found = find_config(*here())
    assert (found.config, found.source) == (MINE, "tuned")
    near = exported(tmp_path / "near.json", fresh("triton", config=OURS, frames=9))
    found = find_config(*here(), configs=near)
    assert (found.config, found.source) == (OURS, "transferred")
    found = find_config(*here("hopper"), configs=near)
    assert (found.source, found.record) == ("default", None)


def test_given_records_come_before_the_shipped_ones_and_replace_the_variables(
    shipped: Path, mine: Path, tmp_path: Path
) -> None:
    write_tuning(shipped / file_name(device_name("cpu")), [fresh("triton", config=OURS)])
    written(mine, fresh("triton", config=KernelConfig(32, 32)))
    assert find_config(*here(), configs=exported(tmp_path / "none.json")).config == OURS
    given = exported(tmp_path / "mine.json", fresh("triton", config=MINE))
    assert find_config(*here(), configs=str(given)).config == MINE
    assert find_config(*here(), configs=tmp_path).config == MINE
    stale = exported(tmp_path / "old.json", fresh("triton", config=MINE, kernel="old"))
    assert find_config(*here(), configs=stale).config == OURS
    with pytest.raises(RecordError, match="cannot read .*nowhere.json: No such file"):
        find_config(*here(), configs=tmp_path / "nowhere.json")


def test_what_is_shipped_for_all_devices(shipped: Path) -> None:
    assert module.shipped_records() == ()
    ours, other = fresh("triton", config=OURS), tuned(device="Other GPU")
    write_tuning(shipped / "z.jsonl", [ours])
    write_tuning(shipped / file_name("Other GPU"), [other])
    assert module.shipped_records() == (other, ours)


def test_files_are_read_again_when_they_change_and_else_not(
    mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []

    def counted(path: Path) -> tuple[TuningRecord, ...]:
        read.append(path.name)
        return read_tuning(path)

    monkeypatch.setattr(module, "read_records", counted)
    written(mine, fresh("triton", config=MINE))
    assert [find_config(*here()).config for _ in range(3)] == [MINE] * 3
    assert read == ["mine.jsonl"]
    written(mine, fresh("triton", config=OURS))
    assert find_config(*here()).config == OURS
    assert len(read) == 2


def test_what_cannot_be_read_is_an_error(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (mine / "broken.jsonl").write_text('{"schema": 1, "key"')
    with pytest.raises(
        RecordError, match="broken.jsonl:1: not a tuning record: not JSON, or not all"
    ):
        find_config(*here())
    monkeypatch.setenv(module.VARIABLE, str(mine / "none"))
    with pytest.raises(RecordError, match="RADIALBENCH_CONFIGS names .*none, which is neither"):
        find_config(*here())


@pytest.mark.parametrize("change", [{"kernel": "old"}, {"versions": {"triton": "0.1"}}])
def test_a_stale_record_is_used_if_asked_with_one_warning(
    change: dict[str, Any], mine: Path
) -> None:
    written(mine, fresh("triton", config=MINE, **change))
    module.warn_once.cache_clear()
    with pytest.warns(UserWarning, match="triton runs its default: the tuned .* another version"):
        found = find_config(*here())
    assert (found.source, found.stale) == ("default", True)
    assert found.reason.startswith("the record of this problem is stale, ")
    with pytest.warns(UserWarning, match="triton runs a configuration tuned for .*; stale: "):
        found = find_config(*here(), strict=False)
    assert (found.config, found.source, found.stale) == (MINE, "tuned", True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert find_config(*here(), strict=False) == found


def test_what_computes_on_the_cpu_does_not_mind_triton(mine: Path) -> None:
    record = fresh("cpu", config=MINE)
    written(mine, fresh("cpu", config=MINE, versions=record.versions | {"triton": "0.1"}))
    assert find_config(*here("cpu")).source == "tuned"


def test_what_cannot_run_is_passed_over(mine: Path) -> None:
    written(mine, fresh("triton", config=MINE))
    found = find_config(*here(), feasible=lambda config: [f"no {config.block_m}"])
    assert (found.source, found.reason) == (
        *("default", "the record of this problem cannot run here: no 64"),
    )


def test_every_shipped_record_is_found_by_its_own_key() -> None:
    """Whatever version of Triton is installed here."""
    for path in sorted(SHIPPED.glob("*")):
        records = read_tuning(path)
        for record in records:
            library = COMPILERS[record.key.backend]
            stem = file_name(record.key.device).removesuffix(".jsonl")
            names = f"{stem}.jsonl", f"{stem}.{library}-{record.versions[library]}.jsonl"
            assert path.name in names
            found = nearest_config(records, record.key)
            assert (found.record, found.source) == (record, record.source)


def test_looking_up_loads_no_torch(mine: Path) -> None:
    written(mine, fresh("triton", config=MINE))
    code = (
        "import sys\n"
        "from radialbench.kernels.tuned import find_config, device_name\n"
        "from radialbench.maskgen.grid import TokenGrid\n"
        "from radialbench.records.problem import Problem\n"
        f"found = find_config({PROBLEM!r}, 'triton', device_name('cpu'))\n"
        "assert found.source == 'tuned', found\n"
        "assert not {'torch', 'triton', 'numpy', 'optuna'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
