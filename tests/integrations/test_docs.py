"""What docs/integrations.md shows runs, with small models in place of large ones."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from radialbench.integrations.blueprint import sharpen
from radialbench.integrations.diffusers import apply_radial, remove_radial
from radialbench.integrations.models import MODELS
from radialbench.maskgen.language.schedule import mask_in
from tests.integrations.small import SMALL, replaced, wan

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "integrations.md").read_text(encoding="utf-8")
PIPELINE, CONFIGURATION, TIMES, MODULE, ORDERED = re.findall(r"```python\n(.*?)```", TEXT, re.S)


class Pipe(SimpleNamespace):
    """Stands in for a pipeline; notes what is asked of it and how many attentions were ours."""

    def to(self, device: str) -> "Pipe":
        return self

    def __call__(self, prompt: str, **size: int) -> Any:
        self.called = (size, replaced(self.transformer))
        return SimpleNamespace(frames=["video"])


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Pipe:
    pipe = Pipe(transformer=wan())
    monkeypatch.setattr("diffusers.WanPipeline.from_pretrained", lambda name, torch_dtype: pipe)
    return pipe


def test_the_pipeline(pipe: Pipe) -> None:
    names: dict[str, Any] = {}
    exec(PIPELINE, names)
    assert pipe.called == ({"width": 1280, "height": 768, "num_frames": 69}, 2)
    assert names["video"] == "video"
    assert replaced(pipe.transformer) == 0


def test_the_configuration(pipe: Pipe) -> None:
    names: dict[str, Any] = {"pipe": pipe}
    exec(PIPELINE.split("pipe = ")[0], names)
    smaller = {"1280x768": "64x48", "69": "17", "cuda": "cpu"}
    code = re.sub("|".join(smaller), lambda found: smaller[found[0]], CONFIGURATION)
    exec(code, names)
    assert names["attention"].grid.frames == 5
    assert names["found"].source == "default"


def test_the_times(pipe: Pipe, capsys: pytest.CaptureFixture[str]) -> None:
    sharpen(pipe.transformer)
    more = '"64x48x17", max_samples=1, decay=0.3'
    exec(TIMES.replace('"1280x768x69"', more), {"pipe": pipe})
    printed = capsys.readouterr().out
    assert "s dense by stock" in printed and "Estimate(" in printed


def test_the_calls_of_other_pages(pipe: Pipe, tmp_path: Path) -> None:
    (readme,) = re.findall(r"```py\n(.*?)```", (DOCS.parent / "README.md").read_text("utf-8"), re.S)
    search = (DOCS / "mask-search.md").read_text(encoding="utf-8")
    of_search, _ = re.findall(r"```python\n(.*?)```", search, re.S)
    plan = tmp_path / "07.yaml"
    plan.write_text("name: one\nheads:\n  0-1: radial\n", encoding="utf-8")
    for code in (readme, of_search.replace("results/masks/plans/07.yaml", str(plan))):
        names: dict[str, Any] = {"pipe": pipe, "apply_radial": apply_radial}
        exec(code, names)
        assert replaced(pipe.transformer) == 2
        remove_radial(pipe)


def test_the_module() -> None:
    names: dict[str, Any] = {}
    exec(MODULE, names)
    assert names["out"].shape == names["q"].shape
    assert names["attention"].denoising.step == 2
    exec(ORDERED, names)
    assert names["hidden"].shape == (1, 256, 256)
    assert names["rotary"].shape == (240, 64)


def test_the_schedule_is_one(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n# schedule.yaml\n(.*?)```", TEXT, re.S)
    (tmp_path / "schedule.yaml").write_text(text, encoding="utf-8")
    small = SMALL["hunyuan"]
    attention = apply_radial(small.build(), size=small.size, schedule=tmp_path / "schedule.yaml")
    wanted = {(0, 1.0): [None] * 4, (12, 0.5): [None, 1, 0, None], (40, 0.2): [None] * 4}
    for (step, noise), numbers in wanted.items():
        active = attention.schedule.active(step, noise)
        assert [mask_in(active, layer) for layer in range(4)] == numbers


def test_all_known_models_are_named() -> None:
    for name in MODELS:
        assert f"| `{name}` " in TEXT


def test_what_is_captured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (DOCS / "capture.md").read_text(encoding="utf-8")
    of_a_pipeline, code = re.findall(r"```python\n(.*?)```", page, re.S)
    compile(of_a_pipeline, "capture.md", "exec")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["captured"].size.files == 4 == len(names["captured"].written)
    assert names["file"].shapes == {
        "q": (1, 1, 64, 32),
        "k": (1, 1, 240, 32),
        "v": (1, 1, 240, 32),
        "rows": (64,),
    }
