"""capture: files of what attention got, of real transformer classes; the model stays as it was."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from radialbench import TokenGrid
from radialbench.errors import InputsError, IntegrationError
from radialbench.fidelity.files import open_inputs
from radialbench.fidelity.inputs import AttentionInputs
from radialbench.integrations.capture import capture
from radialbench.integrations.capture_size import CaptureSize, Choice
from radialbench.integrations.diffusers import apply_radial
from radialbench.integrations.models import kind_of
from radialbench.integrations.module import RadialAttention
from radialbench.integrations.prepared import Shape, keys_below
from tests.integrations.small import LENGTHS, SMALL, Small, called, wan, wan_inputs

pytestmark = pytest.mark.filterwarnings("ignore:In CPU autocast")  # Mochi asks for float32 in one.
every_model = pytest.mark.parametrize("name", SMALL)


def timesteps(name: str) -> list[float]:
    return [0.0, 400.0, 800.0] if name == "mochi" else [900.0, 500.0, 100.0]


def ran(name: str, transformer: Any) -> list[Tensor]:
    return [called(transformer, SMALL[name].inputs(timestep)) for timestep in timesteps(name)]


def loaded(folder: Path) -> dict[tuple[int, int], AttentionInputs]:
    files = [file.load() for file in open_inputs(folder)]
    return {(one.header.layer or 0, one.header.step or 0): one for one in files}


def attended(inputs: AttentionInputs) -> Tensor:
    """Return dense attention by PyTorch, [batch, tokens, heads, head_dim]."""
    allowed = None
    if inputs.header.text_lengths is not None:
        lengths = torch.tensor(inputs.header.text_lengths)
        allowed = keys_below(inputs.grid.video_tokens + lengths, inputs.grid.seq_len)
    out = scaled_dot_product_attention(
        *(inputs.q, inputs.k, inputs.v, allowed), enable_gqa=inputs.q.shape[1] != inputs.k.shape[1]
    )
    return out.transpose(1, 2)


def stock_outputs(small: Small, transformer: Any, inputs: dict[str, Tensor]) -> list[Tensor]:
    """Return what the stock processors' attention gives video tokens, after the projection."""
    found: list[Tensor] = []

    def note(module: Any, args: Any, kwargs: Any, out: Any) -> None:
        found.append(out[0] if isinstance(out, tuple) else out)

    layers = kind_of(transformer).known_attentions(transformer)
    hooks = [layer.register_forward_hook(note, with_kwargs=True) for layer in layers]
    called(transformer, inputs)
    for hook in hooks:
        hook.remove()
    return found


def state(transformer: nn.Module) -> dict[str, Any]:
    """Return all that capture could change: weights, processors and hooks of all modules."""
    found: dict[str, Any] = {name: x.clone() for name, x in transformer.state_dict().items()}
    for name, module in transformer.named_modules():
        facts = {key: value for key, value in vars(module).items() if "hooks" in key}
        found[f"{name}/hooks"] = {key: dict(value) for key, value in facts.items() if value}
        found[f"{name}/processor"] = id(getattr(module, "processor", None))
    return found


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(
        x.equal(other[name]) if isinstance(x, Tensor) else x == other[name]
        for name, x in one.items()
    )


@every_model
def test_what_is_captured_gives_what_the_stock_processor_gives(name: str, tmp_path: Path) -> None:
    small = SMALL[name]
    transformer = small.build()
    wanted = ran(name, transformer)
    before = state(transformer)
    with capture(transformer, tmp_path, steps=[0, 2]) as captured:
        outs = ran(name, transformer)
    assert same(state(transformer), before)
    assert all(x.equal(y) for x, y in zip(outs, wanted, strict=True))
    found = loaded(tmp_path)
    layers = kind_of(transformer).known_attentions(transformer)
    assert sorted(found) == [(layer, step) for layer in range(len(layers)) for step in (0, 2)]
    names = sorted(path.name for path in captured.written)
    assert names[1] == "layer00-step002.safetensors"
    for step in (0, 2):
        outputs = stock_outputs(small, transformer, small.inputs(timesteps(name)[step]))
        for layer, (attention, output) in enumerate(zip(layers, outputs, strict=True)):
            inputs = found[layer, step]
            assert inputs.grid == small.grid
            assert inputs.header.heads == (0, 1)
            assert inputs.header.text_lengths == (None if name == "wan" else LENGTHS)
            assert inputs.header.source == type(transformer).__name__
            video = attended(inputs)[:, : small.grid.video_tokens].flatten(2, 3)
            if getattr(attention, "to_out", None) is not None:
                video = attention.to_out[0](video)
            assert output.std() > 1e-3
            torch.testing.assert_close(video, output, rtol=0, atol=2e-6)


@every_model
def test_sparse_layers_are_captured_as_they_are_called(name: str, tmp_path: Path) -> None:
    small = SMALL[name]
    transformer = small.build()
    apply_radial(transformer, size=small.size, decay=0.3, dense_layers=1, dense_steps=1)
    seen: list[Tensor] = []
    attention = next(
        layer.processor.attention
        for layer in kind_of(transformer).known_attentions(transformer)
        if hasattr(layer.processor, "attention")
    )
    hook = attention.register_forward_pre_hook(lambda module, args: seen.append(args[0].clone()))
    before = state(transformer)
    with capture(transformer, tmp_path, layers=[2], steps=[1]):
        ran(name, transformer)
    assert same(state(transformer), before)
    hook.remove()
    (inputs,) = loaded(tmp_path).values()
    # The second of the sparse layers, in the first of the sparse steps.
    assert inputs.q.equal(seen[1])


def test_heads_and_rows_are_parts_of_the_whole(tmp_path: Path) -> None:
    transformer = wan()
    with capture(transformer, tmp_path / "whole", layers=[1]):
        called(transformer, wan_inputs(900.0))
    with capture(transformer, tmp_path / "part", layers=[1], heads=[1], rows=20, seed=3):
        called(transformer, wan_inputs(900.0))
    (whole,), (part,) = (list(loaded(tmp_path / one).values()) for one in ("whole", "part"))
    assert part.rows is not None
    assert len(part.rows) == 20
    assert part.q.equal(whole.q[:, 1:, part.rows])
    assert part.k.equal(whole.k[:, 1:])
    assert part.v.equal(whole.v[:, 1:])
    assert part.header.heads == (1,)


@pytest.mark.parametrize(("rows", "q_len"), [(1, 60), (50, 60), (59, 60), (256, 75_600)])
def test_rows_are_runs_in_equal_stretches(rows: int, q_len: int) -> None:
    queries, again, others = (Choice(rows=rows, seed=n).queries(q_len) for n in (1, 1, 2))
    assert queries is not None
    assert again is not None
    assert others is not None
    assert len(queries) == rows
    assert (queries.diff() > 0).all()
    assert queries[0] >= 0
    assert queries[-1] < q_len
    assert queries.equal(again)
    if q_len > 1000:
        assert not queries.equal(others)
        runs = queries.view(16, 16)
        assert (runs.diff() == 1).all()
        starts = runs[:, 0] * 16 // q_len
        assert (starts - torch.arange(16)).abs().max() <= 1


def test_all_rows_are_no_sample() -> None:
    assert Choice(rows=60).queries(60) is None
    assert Choice().queries(60) is None


def test_calls_of_a_step_are_its_sequences(tmp_path: Path) -> None:
    transformer = wan()
    inputs = wan_inputs(900.0)
    one, other = ({name: x[n : n + 1] for name, x in inputs.items()} for n in (0, 1))
    with capture(transformer, tmp_path / "batch"):
        called(transformer, inputs)
    with capture(transformer, tmp_path / "apart", steps=[0, 1]) as captured:
        called(transformer, one)
        assert captured.size is not None
        assert captured.size.files == 6
        at_first = captured.size.nbytes
        called(transformer, other)
        called(transformer, one | {"timestep": torch.tensor([500.0])})
        assert captured.size.nbytes == 2 * at_first
        called(transformer, other | {"timestep": torch.tensor([500.0])})
    batch, apart = loaded(tmp_path / "batch"), loaded(tmp_path / "apart")
    for layer in range(3):
        torch.testing.assert_close(apart[layer, 0].q, batch[layer, 0].q, rtol=0, atol=2e-6)
    files = sum(path.stat().st_size for path in captured.written)
    assert captured.size.nbytes < files < captured.size.nbytes + 6 * 1000


def test_a_second_video_is_not_captured(tmp_path: Path) -> None:
    transformer = wan()
    with capture(transformer, tmp_path, layers=[0]):
        for timestep in (900.0, 500.0, 900.0, 500.0, 100.0):
            called(transformer, wan_inputs(timestep))
    assert sorted(loaded(tmp_path)) == [(0, 0), (0, 1)]


def test_two_transformers_of_a_pipeline_are_one_sequence_of_steps(tmp_path: Path) -> None:
    pipe = SimpleNamespace(
        transformer=wan(), transformer_2=wan(), config={"_name_or_path": "a/wan2.2"}
    )
    with capture(pipe, tmp_path, layers=[0]):
        called(pipe.transformer, wan_inputs(900.0))
        called(pipe.transformer_2, wan_inputs(100.0))
    found = loaded(tmp_path)
    assert sorted(found) == [(0, 0), (0, 1)]
    assert found[0, 1].header.source == "wan2.2"


@pytest.mark.parametrize("blocks", [False, True])
def test_compiled_transformers_are_captured(blocks: bool, tmp_path: Path) -> None:
    transformer = wan(num_layers=1)
    torch._dynamo.reset()
    compiled: Any = transformer
    if blocks:
        transformer.blocks[0].compile(backend="eager")
    else:
        compiled = torch.compile(transformer, backend="eager")
    wanted = called(compiled, wan_inputs(900.0))
    with capture(compiled, tmp_path):
        called(compiled, wan_inputs(900.0))
    assert sorted(loaded(tmp_path)) == [(0, 0)]
    assert called(compiled, wan_inputs(900.0)).equal(wanted)


def test_what_is_there_is_kept(tmp_path: Path) -> None:
    transformer = wan()
    with pytest.raises(KeyboardInterrupt), capture(transformer, tmp_path, layers=[0, 2]) as first:
        called(transformer, wan_inputs(900.0))
        called(transformer, wan_inputs(500.0))
        raise KeyboardInterrupt
    # The step that was interrupted may lack calls.
    assert sorted(path.name for path in tmp_path.iterdir()) == [path.name for path in first.written]
    assert sorted(loaded(tmp_path)) == [(0, 0), (2, 0)]
    first.written[1].unlink()
    stamp = first.written[0].stat().st_mtime_ns
    with capture(transformer, tmp_path, layers=[0, 2]) as second:
        called(transformer, wan_inputs(900.0))
        called(transformer, wan_inputs(500.0))
    assert second.kept == first.written[:1]
    assert len(second.written) == 3
    assert first.written[0].stat().st_mtime_ns == stamp
    assert sorted(loaded(tmp_path)) == [(0, 0), (0, 1), (2, 0), (2, 1)]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"heads": [0]}, r"layer00-step000.* captured with heads \(0, 1\), .* has \(0,\): give"),
        ({"rows": 30}, "captured with rows 20, and this capture has 30"),
        ({"seed": 1}, "has other rows"),
        ({"source": "another"}, "captured with source WanT.*, and this capture has another"),
    ],
)
def test_a_folder_has_one_kind_of_files(changed: dict[str, Any], said: str, tmp_path: Path) -> None:
    transformer = wan()
    with capture(transformer, tmp_path, layers=[0], rows=20):
        called(transformer, wan_inputs(900.0))
    settings: dict[str, Any] = {"layers": [0, 1], "rows": 20} | changed
    before = state(transformer)
    with pytest.raises(InputsError, match=said), capture(transformer, tmp_path, **settings):
        called(transformer, wan_inputs(900.0))
    assert same(state(transformer), before)
    assert len(list(tmp_path.iterdir())) == 1


def test_other_texts_and_sequences_are_refused_before_they_are_written(tmp_path: Path) -> None:
    small = SMALL["mochi"]
    transformer, inputs = small.build(), small.inputs(0.0)
    with capture(transformer, tmp_path, layers=[0]):
        called(transformer, inputs)
    mask = torch.ones_like(inputs["encoder_attention_mask"])
    with (
        pytest.raises(InputsError, match=r"text lengths \(7, 3\), and this capture has \(10, 10"),
        capture(transformer, tmp_path, layers=[0, 1]),
    ):
        called(transformer, inputs | {"encoder_attention_mask": mask})
    one = {name: x[:1] for name, x in inputs.items()}
    with (
        pytest.raises(InputsError, match="captured with sequences 2, and this capture has 1"),
        capture(transformer, tmp_path, layers=[0, 1]),
    ):
        called(transformer, one)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_disk_that_is_too_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = SimpleNamespace(free=5000)
    monkeypatch.setattr("shutil.disk_usage", lambda path: disk)
    transformer = wan()
    before = state(transformer)
    said = r"takes 3 files of .* MiB, .* MiB, and .* has 0.00477 MiB free; choose fewer layers"
    with pytest.raises(InputsError, match=said), capture(transformer, tmp_path / "new"):
        called(transformer, wan_inputs(900.0))
    assert same(state(transformer), before)
    assert not (tmp_path / "new").exists()


def test_memory_that_is_too_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("radialbench.integrations.capture.free_memory", lambda: 5000)
    transformer = wan()
    said = "holds a step in memory, .* and 0.00477 MiB are free"
    with pytest.raises(InputsError, match=said), capture(transformer, tmp_path / "new"):
        called(transformer, wan_inputs(900.0))
    assert not (tmp_path / "new").exists()


def test_sizes_have_units() -> None:
    grid = TokenGrid.for_model("wan2.1-14b", "1280x720x81")
    shape = Shape(2, 40, 128, torch.bfloat16, torch.device("cpu"))
    assert Choice().size(grid, shape, 6).label == "6 files of 4.33 GiB, 26 GiB"
    assert Choice(heads=(3, 7), rows=256).size(grid, shape, 1).label == "1 file of 148 MiB, 148 MiB"
    shared = Shape(1, 40, 128, torch.bfloat16, torch.device("cpu"), kv_heads=8)
    whole = 75_600 * 128 * 2 * (40 + 2 * 8)
    assert Choice().size(grid, shared, 1) == CaptureSize(1, whole)


@pytest.mark.parametrize(
    ("build", "fields", "said"),
    [
        (lambda: nn.Linear(2, 2), {}, "known are Wan.*, got a Linear; .* call RadialAttention"),
        (lambda: wan(), {"layers": [0, 3]}, "the model has layers 0 to 2, got layer 3"),
        (lambda: wan(), {"heads": [2]}, "the model has heads 0 to 1, got head 2"),
        (lambda: wan(), {"layers": []}, r"layers are whole numbers from 0, got \(\)"),
        (lambda: wan(), {"steps": [-1]}, r"steps are whole numbers from 0, got \(-1,\)"),
        (lambda: wan(), {"rows": 0}, "rows is a whole number from 1, got 0"),
    ],
)
def test_what_cannot_be(build: Any, fields: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(IntegrationError, match=said), capture(build(), tmp_path / "x", **fields):
        raise AssertionError("it was refused before")
    assert not (tmp_path / "x").exists()


def test_steps_that_never_come_are_told_at_the_end(tmp_path: Path) -> None:
    transformer = wan()
    said = "step 7, 9 was never reached: there were steps 0 to 2; .* has what was captured"
    with (
        pytest.raises(IntegrationError, match=said),
        capture(transformer, tmp_path, layers=[0], steps=[1, 7, 9]),
    ):
        ran("wan", transformer)
    assert sorted(loaded(tmp_path)) == [(0, 1)]
    with pytest.raises(IntegrationError, match="not called"), capture(transformer, tmp_path):
        pass


def test_numbers_that_are_not_finite_are_not_written(tmp_path: Path) -> None:
    transformer = wan()
    inputs = wan_inputs(900.0)
    inputs["hidden_states"][0, 0, 0, 0, 0] = torch.nan
    with (
        pytest.raises(InputsError, match="layer 0, step 0: q has nan in row 0 of head 0"),
        capture(transformer, tmp_path),
    ):
        called(transformer, inputs)
    assert not list(tmp_path.iterdir())


def test_an_error_of_the_model_leaves_it_as_it_was(tmp_path: Path) -> None:
    transformer = wan()
    before = state(transformer)
    with pytest.raises(RuntimeError), capture(transformer, tmp_path):
        called(transformer, wan_inputs(900.0) | {"hidden_states": torch.zeros(2, 3, 5, 6, 8)})
    assert same(state(transformer), before)
    assert not list(tmp_path.iterdir())


class Own(nn.Module):
    """A model of two layers that calls RadialAttention, one for each or one for both."""

    def __init__(self, *, shared: bool, named: bool, kv_heads: int = 4) -> None:
        super().__init__()
        torch.manual_seed(0)
        grid = TokenGrid(5, 3, 4, text_tokens=10)
        self.attentions = nn.ModuleList(RadialAttention(grid) for _ in range(1 if shared else 2))
        self.parts = nn.ModuleList(nn.Linear(16, 16 * (4 + 2 * kv_heads)) for _ in range(2))
        self.named, self.kv_heads = named, kv_heads

    def forward(self, x: Tensor, timestep: float | None = None) -> Tensor:
        for layer, part in enumerate(self.parts):
            attention: Any = self.attentions[layer % len(self.attentions)]
            if timestep is not None:
                attention.at(timestep)
            by_head = part(x).unflatten(-1, (-1, 16)).transpose(1, 2)
            q, k, v = by_head.split((4, self.kv_heads, self.kv_heads), dim=1)
            which = {"layer": layer} if self.named else {}
            out = attention(q, k, v, text_len=torch.tensor([7, 3]), **which)
            x = x + out.mean(dim=1)
        return x


@pytest.mark.parametrize(("shared", "named"), [(False, False), (False, True), (True, True)])
@pytest.mark.parametrize("kv_heads", [4, 2])
def test_a_model_of_ones_own(shared: bool, named: bool, kv_heads: int, tmp_path: Path) -> None:
    model = Own(shared=shared, named=named, kv_heads=kv_heads)
    x = torch.randn(2, 70, 16)
    wanted = [model(x, timestep) for timestep in (900.0, 500.0)]
    before = state(model)
    with capture(model, tmp_path / "all", source="mine"):
        assert [model(x, t) for t in (900.0, 500.0)][1].equal(wanted[1])
    with capture(model, tmp_path / "some", layers=[1], heads=[0, 3]):
        for timestep in (900.0, 500.0):
            model(x, timestep)
    assert same(state(model), before)
    whole, some = loaded(tmp_path / "all"), loaded(tmp_path / "some")
    assert sorted(whole) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert sorted(some) == [(1, 0), (1, 1)]
    inputs = whole[1, 1]
    assert inputs.k.shape[1] == kv_heads
    assert inputs.header.text_lengths == (7, 3)
    assert inputs.header.source == "mine"
    layer = model.parts[0](x).unflatten(-1, (-1, 16)).transpose(1, 2)
    assert whole[0, 0].q.equal(layer[:, :4])
    part = some[1, 0]
    assert part.header.heads == (0, 3)
    assert attended(part).equal(attended(whole[1, 0])[:, :, [0, 3]])


def test_a_model_of_ones_own_has_to_say_layers_and_steps(tmp_path: Path) -> None:
    x = torch.randn(2, 70, 16)
    with (
        pytest.raises(IntegrationError, match="several layers share .* layer=3"),
        capture(one := Own(shared=True, named=False), tmp_path),
    ):
        one(x, 900.0)
    with (
        pytest.raises(IntegrationError, match=r"call attention.at\(timestep\)"),
        capture(one := Own(shared=False, named=True), tmp_path),
    ):
        one(x)
    with (
        pytest.raises(IntegrationError, match="layer 5 was never reached: there were layers 0 to"),
        capture(one := Own(shared=False, named=True), tmp_path, layers=[1, 5]),
    ):
        one(x, 900.0)
    one = Own(shared=True, named=True)
    with capture(one.attentions[0], tmp_path / "module"):
        one(x, 900.0)
    assert sorted(loaded(tmp_path / "module")) == [(0, 0), (1, 0)]
