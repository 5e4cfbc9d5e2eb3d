"""What every form of tuned configurations promises: read back, the same keys and configurations."""

import ast
import json
import re
from collections.abc import Callable
from dataclasses import astuple, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radialbench.autotune.export import CONFIG_FORMATS, Chosen, Texts, load_config_format
from radialbench.errors import RecordError
from radialbench.records.codec import from_dict
from radialbench.records.problem import DTYPES, KernelConfig
from radialbench.records.tuning import TuningKey, TuningRecord
from radialbench.records.tuning_file import from_document
from tests.records.tuned import TUNED, kept, tuned

Read = dict[TuningKey, KernelConfig]

every_format = pytest.mark.parametrize("name", CONFIG_FORMATS)


def text_of(texts: Texts) -> str:
    assert isinstance(texts, str)
    return texts


def folder_of(texts: Texts) -> dict[str, str]:
    assert isinstance(texts, dict)
    return texts


def assigned(source: str) -> dict[str, ast.expr]:
    """Give what a module assigns; it does nothing else but import what has no alias."""
    compile(source, "exported.py", "exec")
    found = {}
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.Assign):
            (target,) = statement.targets
            assert isinstance(target, ast.Name)
            found[target.id] = statement.value
        elif isinstance(statement, ast.Import):
            assert [one.name for one in statement.names] == ["triton"]
        else:
            assert isinstance(statement, ast.Expr)
            assert isinstance(statement.value, ast.Constant)
    return found


def read_json(texts: Texts) -> Read:
    return {one.key: one.config for one in from_document(text_of(texts).encode())}


def read_python(texts: Texts) -> Read:
    source = text_of(texts)
    assert "import " not in re.sub(r"'[^\n]*|\"\"\".*?\"\"\"", "", source, flags=re.DOTALL)
    names = assigned(source)
    fields = ast.literal_eval(names["KEY"])
    return {
        TuningKey(**dict(zip(fields, key, strict=True))): KernelConfig(**value["config"])
        for key, value in ast.literal_eval(names["CONFIGS"]).items()
    }


def read_triton(texts: Texts) -> Read:
    names = assigned(text_of(texts))
    listed = names["CONFIGS"]
    assert isinstance(listed, ast.List)
    configs = []
    for call in listed.elts:
        assert isinstance(call, ast.Call)
        assert ast.unparse(call.func) == "triton.Config"
        (constants,) = map(ast.literal_eval, call.args)
        options = {word.arg: ast.literal_eval(word.value) for word in call.keywords}
        stages = constants.get("BUFFERS") or options["num_stages"]
        blocks = constants["BLOCK_M"], constants["BLOCK_N"]
        configs.append(KernelConfig(*blocks, options["num_warps"], stages))
    assert len(set(configs)) == len(configs)
    return {
        TuningKey(**{name: one[name] for name in TuningKey.__match_args__}): configs[one["config"]]
        for one in ast.literal_eval(names["PROBLEMS"])
    }


def read_t4(texts: Texts) -> Read:
    documents = [json.loads(text) for text in folder_of(texts).values()]
    found = {}
    for document in documents:
        config = from_dict(KernelConfig, document["metadata"]["chosen"]["configuration"])
        tried = [result["configuration"] for result in document["results"]]
        assert config in [from_dict(KernelConfig, one) for one in tried]
        found[from_dict(TuningKey, document["metadata"]["problem"])] = config
    return found


def read_vllm(texts: Texts) -> Read:
    """Read as the README says; its names have no letters that files' names should not have."""
    found = {}
    for name, text in folder_of(texts).items():
        if name == "README":
            continue
        words = dict(word.split("=") for word in name.removesuffix(".json").split(","))
        configs = json.loads(text)
        configs.pop("triton_version", None)
        frames = int(words["frames"])
        for tokens, entry in configs.items():
            video = int(tokens) - int(words["text"])
            assert video % frames == 0
            key = TuningKey(
                *(words["backend"], words["device_name"], words["mask"], frames, video // frames),
                *(int(tokens), int(words["B"]), int(words["H"]), int(words["D"])),
                *(words["dtype"], words.get("direction", "forward")),
            )
            blocks = entry.pop("BLOCK_SIZE_M"), entry.pop("BLOCK_SIZE_N")
            found[key] = KernelConfig(*blocks, **entry)
    return found


READERS: dict[str, Callable[[Texts], Read]] = {
    "json": read_json,
    "python": read_python,
    "t4": read_t4,
    "triton": read_triton,
    "vllm": read_vllm,
}


def rendered(name: str, *records: TuningRecord) -> Texts:
    return load_config_format(name)(Chosen(records))


RECORDS = (
    TUNED,
    kept(heads=40),
    tuned(frames=9, seq_len=9 * 1560 + 256, direction="backward"),
    tuned(tokens_per_frame=3600, seq_len=21 * 3600, config=KernelConfig(64, 32, 4, 1)),
)


@every_format
def test_reads_back(name: str) -> None:
    wanted = {one.key: one.config for one in RECORDS}
    if name == "vllm":
        wanted = {replace(key, device="Example_GPU"): one for key, one in wanted.items()}
    assert READERS[name](rendered(name, *RECORDS)) == wanted


@every_format
def test_what_is_not_faster_is_the_default_and_says_so(name: str) -> None:
    (config,) = READERS[name](rendered(name, kept())).values()
    assert config == TUNED.default
    texts, words = (rendered(name, one) for one in (kept(), TUNED))
    whole, other = (
        one if isinstance(one, str) else "".join(one.values()) for one in (texts, words)
    )
    said = r"""the default: nothing was surely faster|['"]source['"]: ['"]default['"]"""
    assert re.search(said, whole)
    assert not re.search(said, other)


SMALL = st.integers(1, 4)
RECORD = st.builds(
    lambda text, **facts: tuned(
        seq_len=facts["frames"] * facts["tokens_per_frame"] + text, **facts
    ),
    text=st.integers(0, 1),
    mask_fingerprint=st.sampled_from(["f00d", "f00d+d1ff"]),
    label=st.text(min_size=1),
    frames=SMALL,
    tokens_per_frame=SMALL,
    heads=SMALL,
    dtype=st.sampled_from(DTYPES),
    config=st.builds(KernelConfig, SMALL, SMALL, SMALL, SMALL),
)


@every_format
@given(records=st.lists(RECORD, min_size=1, max_size=5, unique_by=lambda one: one.key))
def test_whatever_the_records_say(name: str, records: list[TuningRecord]) -> None:
    read = READERS[name](rendered(name, *records))
    keys = {astuple(one.key)[2:]: one.config for one in records}
    assert {astuple(key)[2:]: config for key, config in read.items()} == keys


HOSTILE = "'''\"\"\"\n\r\x0c\u2028import os\nos.remove('x')\n#\\ {key} {0} %s \ud800"


@pytest.mark.parametrize("name", ["python", "triton"])
def test_no_text_becomes_code(name: str) -> None:
    device = {
        "device": HOSTILE,
        "mask_fingerprint": HOSTILE,
        "kernel": HOSTILE,
        "versions": {HOSTILE: HOSTILE},
    }
    record = tuned(label=HOSTILE, **device)
    assert READERS[name](rendered(name, record)) == {record.key: record.config}


@every_format
def test_names_of_files_stay_in_their_folder(name: str) -> None:
    texts = rendered(name, tuned(device=f"../../{HOSTILE}", mask_fingerprint="/etc/passwd,B=3"))
    for file in texts if isinstance(texts, dict) else ():
        assert Path(file).name == file
        assert file.isprintable()
        assert file.isascii()


@every_format
def test_texts_can_be_written(name: str) -> None:
    texts = rendered(name, tuned(label=HOSTILE, device=HOSTILE))
    for text in texts.values() if isinstance(texts, dict) else [texts]:
        text.encode()


def test_unknown_format() -> None:
    with pytest.raises(
        RecordError, match="unknown format of configurations 'jason'; did you mean 'j"
    ):
        load_config_format("jason")


def test_every_format_is_read_back() -> None:
    assert READERS.keys() == CONFIG_FORMATS.keys()
