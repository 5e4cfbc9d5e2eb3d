"""A whole pipeline of diffusers, with its text encoder, tokenizer and autoencoder, under a mask."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderKLWan,
    UniPCMultistepScheduler,
    WanPipeline,
    WanTransformer3DModel,
)
from torch import Tensor

from radialbench.integrations import time_pipeline
from radialbench.integrations.blueprint import sharpen
from radialbench.integrations.diffusers import apply_radial, remove_radial
from tests.integrations.small import replaced

pytestmark = pytest.mark.filterwarnings("ignore")  # Those of the libraries are theirs.
SIZE = {"width": 64, "height": 48, "num_frames": 17}
WORDS = ("<pad>", "</s>", "<unk>", "a", "cat", "on", "surfboard")


def _untyped(*kinds: Any) -> tuple[Any, ...]:
    """Return classes that their library did not annotate."""
    return kinds


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

    words: Any = models.WordLevel({word: at for at, word in enumerate(WORDS)}, unk_token="<unk>")
    tokenizer = Tokenizer(words)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    torch.manual_seed(0)
    small: dict[str, Any] = {"d_model": 32, "d_kv": 8, "d_ff": 37, "num_layers": 1, "num_heads": 4}
    transformer: dict[str, Any] = {"attention_head_dim": 16, "freq_dim": 32, "ffn_dim": 48}
    vae: dict[str, Any] = {"base_dim": 8, "dim_mult": [1, 1, 1, 1], "num_res_blocks": 1}
    fast, made, codec, scheduler, whole = _untyped(
        PreTrainedTokenizerFast,
        WanTransformer3DModel,
        AutoencoderKLWan,
        UniPCMultistepScheduler,
        WanPipeline,
    )
    pipe = whole(
        tokenizer=fast(
            tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
        ),
        text_encoder=UMT5EncoderModel(UMT5Config(vocab_size=len(WORDS), **small)),
        vae=codec(**vae),
        scheduler=scheduler(flow_shift=3.0),
        transformer=made(num_attention_heads=2, text_dim=32, num_layers=3, **transformer),
    )
    sharpen(pipe.transformer)
    path = tmp_path_factory.mktemp("wan")
    pipe.save_pretrained(path)
    return path


def video(pipe: Any) -> Tensor:
    frames = pipe(
        "a cat on a surfboard",
        **SIZE,
        num_inference_steps=4,
        generator=torch.manual_seed(0),
        output_type="latent",
    ).frames
    assert isinstance(frames, Tensor)
    return frames


def test_a_pipeline_of_a_folder_under_a_mask(folder: Path) -> None:
    (kind,) = _untyped(WanPipeline)
    pipe = kind.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    before = video(pipe)
    attention = apply_radial(pipe, size="64x48x17", decay=0.3, dense_layers=1, dense_steps=2)
    masked = video(pipe)
    # Guidance calls the transformer twice in each of four steps.
    assert (attention.denoising.step, attention.denoising.video) == (3, 0)
    assert (masked - before).abs().max() > 1e-4
    assert torch.equal(video(pipe), masked)
    assert attention.denoising.video == 1
    times = time_pipeline(pipe, size="64x48x17", decay=0.3, max_samples=1)
    assert all(one.timing for one in times.records)
    assert replaced(pipe.transformer) == 2
    remove_radial(pipe)
    assert torch.equal(video(pipe), before)
