"""ComfyUI's models attend under a mask by its override hook, and are as before without the node."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from radialbench.errors import RadialBenchError
from radialbench.integrations.comfyui import KEY, RadialBenchMask, with_call
from radialbench.integrations.comfyui_call import step_of, video_of
from radialbench.integrations.module import RadialAttention
from radialbench.kernels.tuned import warn_once
from radialbench.maskgen.grid import TokenGrid
from tests.integrations.comfy_host import CHANNELS, OVERRIDE, WIDTH, Host, WanModel, host

GRID, TEXT = (3, 4, 5), 7
TOKENS = 60


@pytest.fixture(scope="module")
def comfy() -> Iterator[Host]:
    with host() as found:
        yield found


@pytest.fixture(autouse=True)
def forget() -> None:
    warn_once.cache_clear()


def latents(frames: int = GRID[0]) -> Tensor:
    draw = torch.Generator().manual_seed(1)
    return torch.randn(2, CHANNELS, frames, 2 * GRID[1], 2 * GRID[2], generator=draw)


def prompt(tokens: int = TEXT) -> Tensor:
    return torch.randn(2, tokens, WIDTH, generator=torch.Generator().manual_seed(2))


class Definition:
    """An override that computes what the node promises, and counts what it is called with."""

    def __init__(self, grid: TokenGrid, mask: str = "radial", layers: tuple[int, ...] = ()) -> None:
        self.attention, self.grid = RadialAttention(grid, mask), grid
        self.layers, self.seen, self.others = layers, 0, 0

    def __deepcopy__(self, memo: Any) -> "Definition":
        return self

    def __call__(self, func: Any, q: Tensor, k: Tensor, v: Tensor, heads: int, **said: Any) -> Any:
        by_head = said.get("skip_reshape")
        length = q.shape[2 if by_head else 1]
        if length != self.grid.seq_len:
            self.others += 1
            return func(q, k, v, heads, **said)
        self.seen += 1
        if self.layers and self.seen - 1 not in self.layers:
            return func(q, k, v, heads, **said)
        if not by_head:
            q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
            if k.shape[2] != length:
                return func(*(x.transpose(1, 2).flatten(2) for x in (q, k, v)), heads, **said)
        return self.attention(q, k, v).transpose(1, 2).flatten(2)


def overridden(patcher: Any, override: Any) -> Any:
    made = patcher.clone()
    made.model_options["transformer_options"][OVERRIDE] = override
    return made


def applied(patcher: Any, mask: str = "radial", **given: Any) -> Any:
    (made,) = RadialBenchMask().apply(patcher, mask, **given)
    return made


def close(got: Tensor, wanted: Tensor) -> None:
    assert wanted.abs().max() > 0.1
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)


def test_a_video_attends_under_the_mask_and_the_model_is_as_before(comfy: Host) -> None:
    plain, inputs = comfy.wan(), (latents(), prompt())
    before = comfy.run(plain, *inputs)
    masked = applied(plain)
    out = comfy.run(masked, *inputs)
    close(out, comfy.run(overridden(plain, Definition(TokenGrid(*GRID))), *inputs))
    assert (out - before).abs().max() > 1e-3
    assert torch.equal(comfy.run(plain, *inputs), before)
    assert OVERRIDE not in plain.model_options["transformer_options"]
    close(comfy.run(applied(plain, "dense"), *inputs), before)
    # Set again, only the last one counts; other sizes are other grids.
    close(comfy.run(applied(masked, "dense"), *inputs), before)
    longer = (latents(5), prompt())
    wanted = comfy.run(overridden(plain, Definition(TokenGrid(5, 4, 5))), *longer)
    close(comfy.run(masked, *longer), wanted)


# A prompt that is longer than the video attends to itself in the host's refiner.
@pytest.mark.parametrize("tokens", [TEXT, TOKENS + 9])
def test_text_behind_the_video_joins_it(tokens: int, comfy: Host) -> None:
    plain, inputs = comfy.hunyuan(), (latents(), prompt(tokens))
    wanted = Definition(TokenGrid(*GRID, tokens))
    expected = comfy.run(overridden(plain, wanted), *inputs)
    assert (wanted.seen, wanted.others > 0) == (4, True)
    close(comfy.run(applied(plain), *inputs), expected)


def test_steps_are_the_samplers(comfy: Host) -> None:
    plain, inputs = comfy.wan(), (latents(), prompt())
    definition = overridden(plain, Definition(TokenGrid(*GRID)))
    later = applied(plain, dense_steps=1)
    for sigma, model in ((1.0, plain), (0.9, plain), (0.8, definition), (0.3, definition)):
        close(comfy.run(later, *inputs, sigma), comfy.run(model, *inputs, sigma))
    with pytest.warns(UserWarning, match="ComfyUI does not say the step of attention, which rad"):
        close(comfy.run(later, *inputs, sample_sigmas=None), comfy.run(plain, *inputs))


def test_layers_are_counted_through_both_kinds_of_blocks(comfy: Host, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("rules:\n  - {mask: radial, layers: 1-2}\n", "utf-8")
    plain, inputs = comfy.hunyuan(), (latents(), prompt())
    masked = applied(plain, schedule=str(tmp_path / "mine.yaml"))
    if not comfy.numbered:
        with pytest.warns(UserWarning, match="ComfyUI does not say the layer of attention"):
            close(comfy.run(masked, *inputs), comfy.run(plain, *inputs))
        return
    wanted = Definition(TokenGrid(*GRID, TEXT), layers=(1, 2))
    close(comfy.run(masked, *inputs), comfy.run(overridden(plain, wanted), *inputs))


def test_a_schedule_that_was_edited_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    stamps = [RadialBenchMask.IS_CHANGED(mask="radial", schedule=str(file))]
    for text in ("a", "a", "b"):
        file.write_text(text, "utf-8")
        stamps.append(RadialBenchMask.IS_CHANGED(model=None, mask="radial", schedule=str(file)))
    assert stamps[0] == "" == RadialBenchMask.IS_CHANGED(mask="sta", schedule="")
    assert stamps[1] == stamps[2] != stamps[3]


def test_noise_is_the_share_of_sigma(comfy: Host, tmp_path: Path) -> None:
    text = "rules:\n  - {mask: radial, noise: [0.4, 0.9]}\n"
    (tmp_path / "mine.yaml").write_text(text, "utf-8")
    plain, inputs = comfy.wan(), (latents(), prompt())
    masked = applied(plain, schedule=str(tmp_path / "mine.yaml"))
    definition = overridden(plain, Definition(TokenGrid(*GRID)))
    for sigma, model in ((0.95, plain), (0.8, definition), (0.3, plain)):
        close(comfy.run(masked, *inputs, sigma), comfy.run(model, *inputs, sigma))


def test_what_is_dense_goes_to_the_override_before(comfy: Host) -> None:
    plain, inputs = comfy.wan(), (latents(), prompt())
    counts = Definition(TokenGrid(*GRID), "dense")
    comfy.run(applied(overridden(plain, counts)), *inputs)
    # Cross-attention of both layers has the video's queries and the prompt's keys.
    assert counts.seen == 2
    comfy.run(applied(overridden(plain, counts), dense_steps=1), *inputs)
    assert counts.seen == 6


@pytest.mark.parametrize(
    "said", [{"mask": torch.zeros(TOKENS, TOKENS)}, {"scale": 1.0}, {"enable_gqa": True}]
)
def test_calls_that_ask_for_more_are_the_hosts(said: dict[str, Any], comfy: Host) -> None:
    masked = applied(comfy.wan())
    override = masked.model_options["transformer_options"][OVERRIDE]
    q = torch.randn(1, 2, TOKENS, 16)
    seen = []

    def func(*args: Any, **kwargs: Any) -> Tensor:
        seen.append(kwargs)
        return q

    assert override(func, q, q, q, 2, skip_reshape=True, transformer_options={}, **said) is q
    assert len(seen) == 1 and said.items() <= seen[0].items()


class Executor:
    """A call of a model whose attention has some lengths."""

    def __init__(self, *lengths: int) -> None:
        sampling = SimpleNamespace(sigma_max=1.0)
        self.class_obj = SimpleNamespace(diffusion_model=WanModel(), model_sampling=sampling)
        self._lengths = lengths

    def __call__(self, *args: Any) -> str:
        for tokens in self._lengths:
            args[5][KEY].grid_of(tokens)
        return "out"


@pytest.mark.parametrize(
    ("x", "lengths", "message"),
    [
        (latents()[:, :, 0], (60,), r"no grid of tokens is known for its latents of \[2, 4, 8, 10"),
        (latents(), (61, 7), "its video is 3x4x5, 60 tokens, and its self-.* lengths of 7, 61$"),
        (latents(), (), ".*and its self-attention without another mask has lengths of none"),
    ],
)
def test_a_model_without_a_masked_layer_is_told_once(
    x: Tensor, lengths: tuple[int, ...], message: str
) -> None:
    t = torch.ones(2)
    with pytest.warns(
        UserWarning, match=f"radialbench masks nothing in WanModel: {message}"
    ) as found:
        assert [with_call(Executor(*lengths), x, t) for _ in range(2)] == ["out", "out"]
    assert len(found) == 1
    assert with_call(Executor(60), latents(), t) == "out"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mask": "radail"}, "unknown mask 'radail'; did you mean"),
        ({"schedule": "no.yaml"}, "no.yaml"),
        ({"schedule": "named", "dense_steps": 3}, "a schedule says itself what is dense"),
        ({"schedule": "named"}, "has the layer 'blocks.*', .*number them from 0"),
        ({"dense_layers": -1}, "dense_layers must be a whole number from 0"),
    ],
)
def test_wrong_input_is_one_sentence(
    given: dict[str, Any], message: str, comfy: Host, tmp_path: Path
) -> None:
    (tmp_path / "named").write_text('rules:\n  - {mask: radial, layers: "blocks.*"}\n', "utf-8")
    given = {"mask": "radial"} | given
    if given.get("schedule") == "named":
        given["schedule"] = str(tmp_path / "named")
    with pytest.raises(RadialBenchError, match=message) as caught:
        RadialBenchMask().apply(comfy.wan(), **given)
    assert "\n" not in str(caught.value)


def test_the_folder_of_the_docs_has_the_node(tmp_path: Path) -> None:
    docs = (Path(__file__).parents[2] / "docs/hosts.md").read_text(encoding="utf-8")
    (line,) = {
        one for one in docs.splitlines() if one.startswith("from radialbench.integrations.comfyui ")
    }
    (tmp_path / "__init__.py").write_text(line, "utf-8")
    # As the host loads a folder of custom_nodes.
    spec = importlib.util.spec_from_file_location("radialbench_node", tmp_path / "__init__.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, node in module.NODE_CLASS_MAPPINGS.items():
        assert name in module.NODE_DISPLAY_NAME_MAPPINGS
        inputs = node.INPUT_TYPES()
        named = set(inputs["required"]) | set(inputs["optional"])
        code = getattr(node, node.FUNCTION).__code__
        assert named == set(code.co_varnames[1 : code.co_argcount])
        choices, plain = inputs["required"]["mask"]
        assert plain["default"] in choices


def test_sizes_and_steps_of_the_host() -> None:
    class Cosmos:
        patch_spatial, patch_temporal = 2, 1

    class Mochi:
        patch_size = 2

    class Ltx:
        patchifier = Mochi

    class Unknown:
        patch_size = None

    assert video_of(Cosmos, (1, 4, 3, 7, 8)) == (3, 4, 4)
    assert video_of(Mochi, (1, 4, 3, 8, 8)) == (3, 4, 4)
    assert video_of(Ltx, (1, 4, 3, 8, 8)) == (3, 4, 4)
    assert video_of(Mochi, (1, 4, 8, 8)) is None
    assert video_of(Unknown, (1, 4, 3, 8, 8)) is None
    sigmas = torch.tensor([80.0, 10.0, 1.0, 0.0])
    assert [step_of(sigma, sigmas) for sigma in (90.0, 80.0, 40.0, 10.0, 0.5)] == [0, 0, 0, 1, 2]
    assert step_of(1.0, None) is None
