"""Every supported class of diffusers does under a mask what its row of the docs says."""

import inspect
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from benchmarks import models
from benchmarks.models import FEATURES, STORED, ModelFeature, Trial, outcome, radial
from benchmarks.parts import read_lines
from radialbench.errors import GridError, IntegrationError
from radialbench.integrations.blueprint import RELEASED, TINY
from radialbench.integrations.capture import capture
from radialbench.integrations.diffusers import apply_radial, remove_radial
from radialbench.integrations.models import MODELS, REFUSED
from tests.integrations.small import replaced

pytestmark = pytest.mark.filterwarnings("ignore:In CPU autocast")
FIRST = ("guidance batch", "image")
OTHERS = [feature for feature in FEATURES if feature not in FIRST]
# All features of all classes take a minute: of the others, each class has one in turn.
TRIED = [
    (title, feature)
    for place, title in enumerate(MODELS)
    for feature in (*FIRST, OTHERS[place % len(OTHERS)])
]
STORED_OUTCOMES = {
    (one.transformer, one.feature): (one.outcome, one.detail)
    for one in read_lines(STORED, ModelFeature)
}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Small matrices are faster on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_the_docs_have_every_class_and_feature() -> None:
    assert STORED_OUTCOMES.keys() == {(title, name) for title in MODELS for name in FEATURES}
    assert not MODELS.keys() & REFUSED.keys()
    assert MODELS.keys() == TINY.keys() >= {title for title, _ in RELEASED.values()}


@pytest.mark.parametrize(("title", "feature"), TRIED)
def test_a_class_does_what_the_docs_say(title: str, feature: str) -> None:
    assert outcome(title, feature) == STORED_OUTCOMES[title, feature]


@pytest.mark.parametrize(
    "title", ["HunyuanVideo15Transformer3DModel", "CogVideoXTransformer3DModel"]
)
def test_what_captured_attention_computes_is_what_the_model_has(title: str, tmp_path: Any) -> None:
    trial = Trial.of(title)
    before = trial.out()
    with capture(trial.transformer, tmp_path, layers=[1]):
        assert torch.equal(trial.out(), before)
    from radialbench.fidelity.files import open_inputs

    (file,) = open_inputs(tmp_path)
    assert file.header.grid == trial.grid


@pytest.mark.parametrize(
    ("title", "change", "kind", "message"),
    [
        (
            "LTXVideoTransformer3DModel",
            {"num_frames": 5},
            IntegrationError,
            "has 192 tokens, and a video of 5×6×8 has 240: tokens of conditions",
        ),
        (
            "LTX2VideoTransformer3DModel",
            {"video_self_attention_mask": torch.ones(1, 192, 192)},
            IntegrationError,
            "is called with video_self_attention_mask, attention of its own",
        ),
        (
            "Kandinsky5Transformer3DModel",
            {"sparse_params": {"P": 0.9}},
            IntegrationError,
            "is called with sparse_params, attention of its own",
        ),
        (
            "CogVideoXTransformer3DModel",
            {"hidden_states": torch.zeros(1, 5, 16, 12, 16)},
            GridError,
            "got latents of 5×12×16, .* has 4×12×16: apply it with the size",
        ),
    ],
)
def test_calls_that_a_mask_does_not_fit(
    title: str, change: dict[str, Any], kind: type[Exception], message: str
) -> None:
    trial = Trial.of(title)
    trial.apply(radial())
    trial.inputs |= change
    with pytest.raises(kind, match=message):
        trial.out()


def test_guidance_that_skips_attention_still_does() -> None:
    """LTX-2.3 perturbs blocks: their values pass through, and no mask has a part in it."""
    trial = Trial.of("LTX2VideoTransformer3DModel", perturbed_attn=True)
    every = list(range(len(trial.transformer.transformer_blocks)))
    trial.inputs["spatio_temporal_guidance_blocks"] = every
    wanted = trial.out()
    trial.apply(radial())
    assert torch.equal(trial.out(), wanted)
    trial.inputs["spatio_temporal_guidance_blocks"] = every[:1]
    assert not torch.equal(trial.out(), wanted)


@pytest.mark.parametrize("config", [{"rope_type": "split"}, {"gated_attn": True}])
def test_ltx_2_3(config: dict[str, Any]) -> None:
    models.masked(Trial.of("LTX2VideoTransformer3DModel", **config))


def test_a_causal_skyreels_is_refused_before_anything_changes() -> None:
    trial = Trial.of("SkyReelsV2Transformer3DModel")
    trial.transformer.register_to_config(num_frame_per_block=2)
    with pytest.raises(IntegrationError, match="takes no mask: it has a causal mask of its own"):
        trial.apply(radial())
    assert replaced(trial.transformer) == 0


@pytest.mark.parametrize(("title", "reason"), REFUSED.items())
def test_known_classes_that_are_not_supported_say_why(title: str, reason: str) -> None:
    import diffusers

    assert inspect.isclass(getattr(diffusers, title))
    made = type(title, (torch.nn.Module,), {})()
    with pytest.raises(IntegrationError, match=f"got a {title}; {reason}; in the attention of"):
        apply_radial(made, size="64x48x17")


@pytest.mark.parametrize("title", MODELS)
def test_remove_restores_bit_for_bit(title: str) -> None:
    trial = Trial.of(title)
    before = trial.out()
    trial.apply(radial())
    assert replaced(trial.transformer) > 0
    remove_radial(trial.transformer)
    assert replaced(trial.transformer) == 0
    assert torch.equal(trial.out(), before)
