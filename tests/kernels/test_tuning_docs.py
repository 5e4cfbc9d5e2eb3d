"""What docs/tuning.md says of lookups is true."""

import re
from pathlib import Path
from typing import Any

import torch

from radialbench import TokenGrid, block_sparse_attention, compile_mask, load_mask
from radialbench.kernels.op import config_for
from radialbench.kernels.tuned import COMPILERS, SHIPPED, VARIABLE
from radialbench.records.lookup import FARTHEST, ConfigChoice
from radialbench.records.tuning import TuningKey

TEXT = (Path(__file__).parents[2] / "docs" / "tuning.md").read_text(encoding="utf-8")
RULE = TEXT[TEXT.index("## Which configuration runs") :]


def test_the_example_of_asking_runs() -> None:
    example, launch = re.findall(r"```python\n(.*?)```", RULE, re.DOTALL)
    given: dict[str, Any] = {
        "mask": load_mask("radial"),
        "grid": TokenGrid(5, 6, 8),
        "print": lambda *text: None,
    }
    exec(example.replace('device_name("cuda")', 'device_name("cpu")'), given)
    found = given["found"]
    assert isinstance(found, ConfigChoice)
    assert found.source == "default"
    small = {"q": torch.randn(1, 2, 240, 16), "compile_mask": compile_mask}
    small |= {"k": small["q"], "v": small["q"], "block_sparse_attention": block_sparse_attention}
    given |= small
    exec(launch.replace('backend="hopper"', 'backend="triton"'), given)
    assert given["out"].shape == (1, 2, 240, 16)


def test_the_rule_names_what_it_goes_by() -> None:
    assert f"more than {FARTHEST:g} away ({2**FARTHEST:g}-fold" in RULE
    rule = RULE[RULE.index("this very problem") : RULE.index("2. **`transferred`**")]
    words = {
        "mask_fingerprint": "mask",
        "tokens_per_frame": "tokens per frame",
        "seq_len": "sequence\n   length",
    }
    words |= {"head_dim": "head dimension", "dtype": "type", "kv_heads": "key heads"}
    words |= {"q_len": "queries"}
    for name in TuningKey.__dataclass_fields__:
        assert words.get(name, name) in rule, name


def test_names_are_those_of_the_code() -> None:
    folder = SHIPPED.relative_to(Path(__file__).parents[2])
    for name in (VARIABLE, f"{folder}/<device>.jsonl", config_for.__name__, "`cpu` PyTorch"):
        assert name in RULE
    assert COMPILERS == {"cpu": "torch", "hopper": "triton", "triton": "triton"}
