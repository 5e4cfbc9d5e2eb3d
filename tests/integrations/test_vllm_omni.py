"""vLLM-Omni's layers attend under a mask, by its registry and the grid that it hands over."""

import tomllib
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from radialbench.errors import IntegrationError
from radialbench.integrations import vllm_omni
from radialbench.integrations.host_schedule import schedule_of_environment
from radialbench.integrations.module import RadialAttention
from radialbench.kernels.tuned import warn_once
from radialbench.maskgen.grid import TokenGrid
from tests.integrations.omni_host import host

ROOT = Path(__file__).parents[2]
GRID = (3, 4, 5)
LAYER = "blocks.7.attn1"
HEADS, HEAD_DIM = 2, 16


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.delenv("RADIALBENCH_MASK", raising=False)
    monkeypatch.delenv("RADIALBENCH_SCHEDULE", raising=False)
    schedule_of_environment.cache_clear()
    warn_once.cache_clear()
    with host() as found:
        yield found
    schedule_of_environment.cache_clear()


@pytest.fixture
def radial(modules: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The host's modules, with our backend registered."""
    monkeypatch.setenv("RADIALBENCH_MASK", "radial")
    vllm_omni.register()
    vllm_omni.register()  # The host may load plug-ins again.
    return modules


def layer_of(modules: Any, **given: Any) -> Any:
    backend = modules[1].DiffusionAttentionBackendEnum["RAINFUSION_ATTN"].get_class()
    assert backend.get_name() == "RAINFUSION_ATTN"
    assert issubclass(backend, modules[0].AttentionBackend)
    plain = {"num_heads": HEADS, "head_size": HEAD_DIM, "softmax_scale": HEAD_DIM**-0.5}
    plain |= {"causal": False, "num_kv_heads": None, "qkv_layout": None, "prefix": LAYER}
    return backend.get_impl_cls()(**(plain | {"backend_kwargs": None, "role": "self"} | given))


def tensors(tokens: int) -> list[Tensor]:
    draw = torch.Generator().manual_seed(1)
    return [torch.randn(1, tokens, HEADS, HEAD_DIM, generator=draw) for _ in range(3)]


def metadata_of(modules: Any, *, prefix: int = 0, **given: Any) -> Any:
    used = prefix + 60
    layout = modules[0].VideoTokenLayout(prefix_len=prefix, latent_grid=GRID, used_len=used)
    return modules[0].AttentionMetadata(**({"video_layout": layout} | given))


def wanted(own: list[Tensor], prefix: int = 0, mask: str = "radial") -> Tensor:
    q, k, v = (x[:, : 60 + prefix].transpose(1, 2) for x in own)
    grid = TokenGrid(*GRID, prefix, text_first=prefix > 0)
    out: Tensor = RadialAttention(grid, mask)(q, k, v)
    return out.transpose(1, 2)


def test_the_host_finds_it_by_its_entry_point(modules: Any) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    path = project["entry-points"]["vllm_omni.general_plugins"]["radialbench"]
    assert EntryPoint("radialbench", path, "any").load() is vllm_omni.register
    vllm_omni.register()
    assert "radialbench" not in str(modules[1].__dict__.get("_DIFFUSION_ATTN_OVERRIDES", ""))


@pytest.mark.parametrize("prefix", [0, 7])
@pytest.mark.parametrize("padding", [0, 4])
def test_a_layer_attends_under_the_mask(radial: Any, prefix: int, padding: int) -> None:
    own = tensors(60 + prefix + padding)
    out = layer_of(radial).forward_cuda(*own, metadata_of(radial, prefix=prefix))
    assert out.shape == own[0].shape
    torch.testing.assert_close(out[:, : 60 + prefix], wanted(own, prefix))
    assert not out[:, 60 + prefix :].any()
    dense = wanted(own, prefix, "dense")
    assert (out[:, : 60 + prefix] - dense).abs().max() > 0.01


def test_what_the_host_says_no_grid_of_is_dense(radial: Any) -> None:
    own, layer = tensors(60), layer_of(radial)
    dense = wanted(own, mask="dense")
    spans = (radial[0].VideoTokenLayout(video_spans=(1,), latent_grid=GRID, used_len=60),)
    for metadata in (
        None,
        radial[0].AttentionMetadata(),
        radial[0].AttentionMetadata(video_layout=spans[0]),
        metadata_of(radial, joint_query=own[0]),
        metadata_of(radial, full_attn_spans=[[(0, 3)]]),
        radial[0].AttentionMetadata(
            video_layout=radial[0].VideoTokenLayout(0, (2, 4, 5), used_len=60)
        ),
    ):
        warn_once.cache_clear()
        with pytest.warns(UserWarning, match="vLLM-Omni says no grid of some attention"):
            torch.testing.assert_close(layer.forward_cuda(*own, metadata), dense)
        torch.testing.assert_close(layer.forward_cuda(*own, metadata), dense)


def test_padding_that_is_masked_changes_nothing(radial: Any) -> None:
    own = tensors(64)
    mask = (torch.arange(64) < 60)[None]
    out = layer_of(radial).forward_cuda(*own, metadata_of(radial, attn_mask=mask))
    torch.testing.assert_close(out[:, :60], wanted(own))


def test_steps_and_layers_of_the_host_are_dense(radial: Any) -> None:
    own = tensors(60)
    masked, dense = wanted(own), wanted(own, mask="dense")
    metadata = metadata_of(radial)
    skipped = layer_of(radial, backend_kwargs={"skip_layers": [7], "sparsity": 0.8})
    torch.testing.assert_close(skipped.forward_cuda(*own, metadata), dense)
    later = layer_of(radial, backend_kwargs={"start_step": 2})
    for step, expected in ((1, dense), (2, masked), (0, dense)):
        radial[2]._forward_context = radial[2].ForwardContext(denoise_step_idx=step)
        torch.testing.assert_close(later.forward_cuda(*own, metadata), expected)
    earlier = layer_of(radial, backend_kwargs={"end_step": 2})
    for step, total, expected in ((7, 10, masked), (8, 10, dense)):
        context = radial[2].ForwardContext(denoise_step_idx=step)
        context.total_denoise_steps = total
        radial[2]._forward_context = context
        torch.testing.assert_close(earlier.forward_cuda(*own, metadata), expected)


@pytest.mark.parametrize(
    ("host", "prefix", "context", "unsaid"),
    [
        ({"skip_layers": [3]}, "attn1", {}, "the layer of attention, which radial"),
        ({"start_step": 1}, LAYER, {}, "the step of attention, which radial"),
        ({"start_step": 1}, LAYER, None, "the step of attention, which radial"),
        ({"end_step": 1}, LAYER, {"denoise_step_idx": 4}, "the step and how many there are"),
    ],
)
def test_what_the_host_does_not_say_is_dense_and_said_once(
    host: Any, prefix: str, context: Any, unsaid: str, radial: Any
) -> None:
    warn_once.cache_clear()
    own, metadata = tensors(60), metadata_of(radial)
    layer = layer_of(radial, prefix=prefix, backend_kwargs=host)
    if context is not None:
        radial[2]._forward_context = radial[2].ForwardContext(**context)
    with pytest.warns(UserWarning, match=f"vLLM-Omni does not say {unsaid}") as caught:
        outs = [layer.forward_cuda(*own, metadata) for _ in range(2)]
    assert len(caught) == 1
    for out in outs:
        torch.testing.assert_close(out, wanted(own, mask="dense"))


def test_a_schedule_says_layers_and_noise(
    modules: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "name: mine\nrules:\n  - {mask: radial, layers: 0-7, noise: [0.4, 0.9]}\n"
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    monkeypatch.setenv("RADIALBENCH_SCHEDULE", str(tmp_path / "mine.yaml"))
    vllm_omni.register()
    own, metadata = tensors(60), metadata_of(modules)
    masked, dense = wanted(own), wanted(own, mask="dense")
    for prefix, timestep, expected in (
        (LAYER, 0.5, masked),
        (LAYER, 0.95, dense),
        ("blocks.8.attn1", 0.5, dense),
    ):
        modules[2]._forward_context = modules[2].ForwardContext(denoise_timestep=timestep)
        out = layer_of(modules, prefix=prefix).forward_cuda(*own, metadata)
        torch.testing.assert_close(out, expected)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"RADIALBENCH_MASK": "radail"}, "RADIALBENCH_MASK: unknown mask 'radail'; did you mean"),
        ({"RADIALBENCH_SCHEDULE": "no.yaml"}, "RADIALBENCH_SCHEDULE: .*no.yaml"),
        ({"RADIALBENCH_MASK": "sta", "RADIALBENCH_SCHEDULE": "a.yaml"}, "set one of them"),
    ],
)
def test_a_wrong_variable_is_told_at_the_start(
    variables: dict[str, str], message: str, modules: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(IntegrationError, match=message):
        vllm_omni.register()


def test_layers_that_do_not_fit_are_refused(radial: Any) -> None:
    with pytest.raises(IntegrationError, match=r"does not run the layer blocks.7.attn1: it is cau"):
        layer_of(radial, causal=True)
    with pytest.raises(IntegrationError, match=r"its scale is 1.0, not 1/√16"):
        layer_of(radial, softmax_scale=1.0)
    with pytest.raises(IntegrationError, match=r"is 3x4x5, 60 tokens, and hands 50 queries"):
        layer_of(radial).forward_cuda(*tensors(50), metadata_of(radial))
    assert import_module(vllm_omni.BACKEND.rpartition(".")[0])


@pytest.mark.parametrize("name", ["ring_degree", "allgather_degree"])
def test_split_keys_are_refused(name: str, radial: Any) -> None:
    parallel = SimpleNamespace(**{name: 2})
    config: Any = import_module("vllm_omni.diffusion.config")
    config._current_diffusion_config = SimpleNamespace(parallel_config=parallel)
    with pytest.raises(IntegrationError, match=f"{name} is 2, which splits the keys"):
        layer_of(radial)


@pytest.mark.parametrize("layers", ["-1", '"blocks.*"'])
def test_layers_that_the_host_cannot_number_are_refused(
    layers: str, modules: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"name: mine\nrules:\n  - {{mask: radial, layers: {layers}}}\n", "utf-8")
    monkeypatch.setenv("RADIALBENCH_SCHEDULE", str(file))
    with pytest.raises(IntegrationError, match="mine has the layer .*number them from 0"):
        vllm_omni.register()
