"""What single forms of tuned configurations hold, and what they refuse."""

import ast
import json
from dataclasses import replace
from pathlib import Path

import pytest

from radialbench.autotune.export import (
    Chosen,
    Texts,
    describe_record,
    load_config_format,
    write_texts,
)
from radialbench.autotune.export.t4 import to_t4
from radialbench.autotune.export.triton import CONSTANTS, OPTIONS
from radialbench.autotune.export.vllm import name_of
from radialbench.autotune.trials import Trial, TrialOutcome, study_name
from radialbench.autotune.tuner import open_store
from radialbench.errors import AutotuneError, RecordError
from radialbench.kernels.triton.launch import HOPPER_OPTIONS, PREPARE
from radialbench.kernels.tuned import FOLDER, SOURCES
from radialbench.records.codec import from_dict
from radialbench.records.problem import KernelConfig
from radialbench.records.store import WriteError
from radialbench.records.tuning import TuningRecord
from radialbench.writing import SUMS
from tests.autotune.fake import SPACE, among
from tests.records.tuned import KEY, TUNED, kept, tuned


def texts_of(name: str, *records: TuningRecord, storage: str | None = None) -> dict[str, str]:
    texts = load_config_format(name)(Chosen(records, storage))
    assert isinstance(texts, dict)
    return texts


def text_of(name: str, *records: TuningRecord) -> str:
    text = load_config_format(name)(Chosen(records))
    assert isinstance(text, str)
    return text


def test_python_has_times_with_their_intervals() -> None:
    text = text_of("python", TUNED)
    (value,) = ast.literal_eval(text[text.index("CONFIGS = ") + 10 :]).values()
    assert value == {
        "label": "radial",
        "config": {"block_m": 128, "block_n": 64, "num_warps": 8, "num_stages": 3},
        "source": "tuned",
        "ms": (8.0, 7.9, 8.1),
        "default_ms": (10.0, 9.9, 10.1),
        "ratio": (1.25, 1.24, 1.26),
        "kernel": "abc",
        "versions": {"triton": "3.7.1", "torch": "2.13.0"},
    }


def test_triton_lists_each_configuration_once() -> None:
    text = text_of("triton", TUNED, kept(heads=40), tuned(frames=9))
    listed = text[text.index("CONFIGS = [") : text.index("PROBLEMS = [")].splitlines()[1:-2]
    assert listed == [
        "    # radial, 21 × 1,560 tokens, 1 × 12 heads of 128, bfloat16, Example GPU: "
        "1.250 times as fast as the default",
        "    # radial, 9 × 1,560 tokens, 1 × 12 heads of 128, bfloat16, Example GPU: "
        "1.250 times as fast as the default",
        "    triton.Config({'BLOCK_M': 128, 'BLOCK_N': 64}, num_warps=8, num_stages=3),",
        "    # radial, 21 × 1,560 tokens, 1 × 40 heads of 128, bfloat16, Example GPU: "
        "the default: nothing was surely faster",
        "    triton.Config({'BLOCK_M': 128, 'BLOCK_N': 128}, num_warps=8, num_stages=2),",
    ]


def test_triton_knows_hoppers_kernel() -> None:
    text = text_of("triton", tuned(backend="hopper", config=KernelConfig(128, 64, None, 5)))
    config = "{'BLOCK_M': 128, 'BLOCK_N': 64, 'BUFFERS': 5}, num_warps=4, maxnreg=168"
    assert f"    triton.Config({config}),\n" in text


def test_triton_names_what_the_kernels_take() -> None:
    assert CONSTANTS.keys() == OPTIONS.keys() == PREPARE.keys()
    for backend, constants in CONSTANTS.items():
        kernel = ast.parse((FOLDER / SOURCES[backend][0]).read_text(encoding="utf-8"))
        functions = {one.name: one for one in kernel.body if isinstance(one, ast.FunctionDef)}
        taken = functions["block_sparse_fwd" + "_hopper" * (backend == "hopper")].args
        assert constants.keys() <= {one.arg for one in (*taken.args, *taken.kwonlyargs)}
    assert OPTIONS["hopper"] == HOPPER_OPTIONS


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([TUNED, tuned(backend="hopper")], "is for one kernel, got records of hopper, triton"),
        ([tuned(backend="cpu")], "cpu is not compiled by Triton, which compiles hopper, triton"),
        ([tuned(config=KernelConfig(64, 64))], "warps and stages, and the record of radial, 21 ×"),
    ],
)
def test_what_triton_cannot_say_is_refused(records: list[TuningRecord], message: str) -> None:
    with pytest.raises(RecordError, match=message):
        text_of("triton", *records)


def test_names_of_files_are_those_of_vllm() -> None:
    assert name_of(replace(KEY, device="NVIDIA H100 80GB HBM3")) == (
        "H=12,D=128,B=1,frames=21,text=0,mask=f00d,backend=triton,"
        "device_name=NVIDIA_H100_80GB_HBM3,dtype=bfloat16.json"
    )
    assert name_of(replace(KEY, kv_heads=4)).endswith(",dtype=bfloat16,H_kv=4.json")
    assert "1 × 12 heads (4 key heads) of 128" in describe_record(tuned(kv_heads=4))


def test_a_file_of_vllm_maps_tokens_to_configurations() -> None:
    taller = {"tokens_per_frame": 3600, "seq_len": 21 * 3600}
    texts = texts_of("vllm", tuned(**taller, config=KernelConfig(64, 64)), TUNED)
    readme, file = texts
    assert readme == "README"
    assert json.loads(texts[file]) == {
        "triton_version": "3.7.1",
        "32760": {"BLOCK_SIZE_M": 128, "BLOCK_SIZE_N": 64, "num_warps": 8, "num_stages": 3},
        "75600": {"BLOCK_SIZE_M": 64, "BLOCK_SIZE_N": 64},
    }
    # Of two versions neither is told; of no version none.
    texts = texts_of("vllm", tuned(**taller, versions={"triton": "3.8.0"}), TUNED)
    assert "triton_version" not in json.loads(texts[file])
    assert "triton_version" not in json.loads(texts_of("vllm", tuned(versions={}))[file])


def test_the_readme_of_vllm_says_how_to_choose() -> None:
    taller = tuned(tokens_per_frame=3600, seq_len=21 * 3600, config=KernelConfig(64, 64))
    texts = texts_of("vllm", TUNED, taller)
    readme = texts.pop("README")
    code = "".join(line[4:] + "\n" for line in readme.splitlines() if line.startswith("    "))
    (text,) = texts.values()
    for seq_len, block_m in ((75600, 64), (60000, 64), (33000, 128), (9, 128)):
        given = {"configs": json.loads(text), "seq_len": seq_len}
        exec(code, given)
        assert given["config"]["BLOCK_SIZE_M"] == block_m


@pytest.mark.parametrize("name", ["vllm", "t4"])
def test_what_would_be_one_entry_is_refused(name: str) -> None:
    with pytest.raises(RecordError, match="two records would be .*; export them apart"):
        texts_of(name, tuned(device="A GPU"), tuned(device="A/GPU"))


def trial(config: KernelConfig, *samples: float) -> Trial:
    return Trial(config, TrialOutcome.OK, None, samples)


TRIALS = [
    trial(KernelConfig(64, 64), 1.0, 1.1),
    Trial(KernelConfig(32, 32), TrialOutcome.WRONG, "off by 1"),
]


@pytest.fixture(params=["journal:{}/tuning.journal", "sqlite:///{}/tuning.db"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give a storage with the study of TUNED, and a trial there that still runs."""
    url = str(request.param).format(tmp_path)
    store = open_store(url, study_name(TUNED.key, TUNED.kernel), among())
    for one in TRIALS:
        store.begin(one.config)
        store.end(one)
    store.begin(next(iter(SPACE.configs())))
    return url


def test_t4_has_all_trials_where_they_are_kept(storage: str) -> None:
    first, second = texts_of("t4", TUNED, kept(heads=40), storage=storage).values()
    assert json.loads(first)["results"] == to_t4(TRIALS, TUNED.key)["results"]
    # The storage has none of the other's.
    assert configs_of(second) == [TUNED.default]


def configs_of(text: str) -> list[KernelConfig]:
    results = json.loads(text)["results"]
    return [from_dict(KernelConfig, result["configuration"]) for result in results]


def test_t4_has_what_a_record_keeps() -> None:
    (text,) = texts_of("t4", TUNED).values()
    document = json.loads(text)
    assert configs_of(text) == [TUNED.config, TUNED.default]
    assert [one["measurements"][0]["value"] for one in document["results"]] == [8.0, 10.0]
    assert [one["times"]["runtimes"] for one in document["results"]] == [[], []]
    assert document["metadata"]["chosen"] == {
        "configuration": {"block_m": 128, "block_n": 64, "num_warps": 8, "num_stages": 3},
        "source": "tuned",
    }


def test_t4_says_if_a_storage_has_nothing(storage: str, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="the storage has no trials of these records"):
        texts_of("t4", tuned(kernel="old"), storage=storage)
    with pytest.raises(AutotuneError, match="cannot use the storage nowhere"):
        texts_of("t4", TUNED, storage="nowhere")


def test_files_are_written_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "deep" / "x.json"
    assert write_texts(out, "one\n") == [out]
    folder: Texts = {"a.json": "a", "README": "é"}
    assert write_texts(out.parent, folder) == [out.parent / "a.json", out.parent / "README"]
    assert (out.parent / "README").read_text(encoding="utf-8") == "é"
    with pytest.raises(RecordError, match=r"cannot write .*x.json: (File exists|Not a dir)"):
        write_texts(out, folder)
    with pytest.raises(RecordError, match=r"cannot write .*deep: Is a directory"):
        write_texts(out.parent, "one")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(WriteError, match="No space left on device"):
        write_texts(out, "two\n")
    assert out.read_text(encoding="utf-8") == "one\n"
    names = sorted(path.name for path in out.parent.iterdir())
    assert names == ["README", SUMS, "a.json", "x.json"]
