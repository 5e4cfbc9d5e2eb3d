"""Attention processors for diffusers: a model's own projections around `RadialAttention`.

Only the attention differs from that of the stock processors, which still run dense steps.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from radialbench.integrations.module import RadialAttention


class Projected(NamedTuple):
    """q, k and v as attention sees them: after norms and rotary embeddings, text behind the video.

    Attributes:
        q: [batch, heads, seq_len, head_dim], in the order in which the transformer runs.
        k: As q.
        v: As q.
        text_tokens: Text slots of the sequence; None if it has no text.
        text_len: [batch] real text tokens of each sequence; None if it has no text.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    text_tokens: int | None = None
    text_len: Tensor | None = None


class RadialProcessor:
    """What the processors of all models share.

    Attributes:
        stock: The processor that is replaced; it runs dense steps.
        attention: Runs all other steps; one for all layers.
        place: A number that layers share whose masks are the same in every step: the lowest of
            their numbers. So one compiled block serves them all.
        dense: Whether the layer is dense in this step.
    """

    def __init__(self, stock: Any, attention: RadialAttention, place: int = 0) -> None:
        self.stock = stock
        self.attention = attention
        self.place = place
        self.dense = attention.is_dense(place)

    # diffusers sets these on the processors that have them, here for the dense steps.
    @property
    def _attention_backend(self) -> Any:
        return self.stock._attention_backend

    @_attention_backend.setter
    def _attention_backend(self, backend: Any) -> None:
        self.stock._attention_backend = backend

    @property
    def _parallel_config(self) -> Any:
        return self.stock._parallel_config

    @_parallel_config.setter
    def _parallel_config(self, config: Any) -> None:
        self.stock._parallel_config = config

    @classmethod
    def project(cls, attn: Any, *args: Any, **kwargs: Any) -> Projected:
        """Return q, k and v of a call; arguments are those of the processor."""
        raise NotImplementedError

    def attend(self, made: Projected) -> Tensor:
        """Attend; returns [batch, seq_len, channels]."""
        q, k, v, text_tokens, text_len = made
        out: Tensor = self.attention(
            q, k, v, layer=self.place, text_tokens=text_tokens, text_len=text_len
        )
        return out.transpose(1, 2).flatten(2, 3)


class WanProcessor(RadialProcessor):
    """Self-attention of Wan 2.1 and 2.2: video alone."""

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        rotary_emb: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Attend; arguments are diffusers'."""
        if self.dense:
            dense: Tensor = self.stock(
                attn, hidden_states, encoder_hidden_states, attention_mask, rotary_emb
            )
            return dense
        return _out(attn, self.attend(self.project(attn, hidden_states, rotary_emb=rotary_emb)))

    @classmethod
    def project(
        cls,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        rotary_emb: tuple[Tensor, Tensor] | None = None,
    ) -> Projected:
        """Return q, k and v of a call."""
        if getattr(attn, "fused_projections", False):
            q, k, v = attn.to_qkv(hidden_states).chunk(3, dim=-1)
        else:
            q, k, v = (to(hidden_states) for to in (attn.to_q, attn.to_k, attn.to_v))
        # The norm is over all heads together.
        q, k, v = (_heads(x, attn.heads) for x in (attn.norm_q(q), attn.norm_k(k), v))
        if rotary_emb is not None:
            cos, sin = rotary_emb[0][..., 0::2], rotary_emb[1][..., 1::2]
            q, k = rotated(q, cos, sin), rotated(k, cos, sin)
        return _in_type_of_v(q, k, v)


class JointProcessor(RadialProcessor):
    """Joint attention of video, then text."""

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor,
        image_rotary_emb: tuple[Tensor, Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Attend; arguments are diffusers'."""
        if self.dense:
            both: tuple[Tensor, Tensor] = self.stock(
                *(attn, hidden_states, encoder_hidden_states, attention_mask, image_rotary_emb)
            )
            return both
        made = self.project(
            *(attn, hidden_states, encoder_hidden_states, attention_mask, image_rotary_emb)
        )
        return _both_out(attn, self.attend(made), hidden_states.shape[1])

    @classmethod
    def project(
        cls,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor,
        image_rotary_emb: tuple[Tensor, Tensor],
    ) -> Projected:
        """Return q, k and v of a call."""
        video, text = hidden_states.shape[1], encoder_hidden_states.shape[1]
        cos, sin = cls._angles(image_rotary_emb)
        if attn.add_q_proj is None:
            q, k, v = _linear(attn, torch.cat([hidden_states, encoder_hidden_states], dim=1))
            q, k = (
                torch.cat([rotated(x[:, :video], cos, sin), x[:, video:]], dim=1) for x in (q, k)
            )
        else:
            q, k, v = _linear(attn, hidden_states)
            added = _linear(attn, encoder_hidden_states, "added_")
            sides = zip((rotated(q, cos, sin), rotated(k, cos, sin), v), added, strict=True)
            q, k, v = (torch.cat(pair, dim=1) for pair in sides)
        text_len = cls._real_text(attention_mask, video).sum(dim=1)
        return _in_type_of_v(q, k, v, text, text_len)

    @staticmethod
    def _angles(image_rotary_emb: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return image_rotary_emb

    @staticmethod
    def _real_text(attention_mask: Tensor, video: int) -> Tensor:
        """Return [batch, text tokens] whether a token is real; real tokens come first."""
        raise NotImplementedError


class HunyuanVideoProcessor(JointProcessor):
    """Joint attention of HunyuanVideo, in dual and single stream blocks."""

    @staticmethod
    def _angles(image_rotary_emb: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return image_rotary_emb[0][:, None, 0::2], image_rotary_emb[1][:, None, 1::2]

    @staticmethod
    def _real_text(attention_mask: Tensor, video: int) -> Tensor:
        return attention_mask[:, 0, 0, video:]  # Of video and text, [batch, 1, 1, key].


class MochiProcessor(JointProcessor):
    """Joint attention of Mochi 1: text padded on the right."""

    @staticmethod
    def _real_text(attention_mask: Tensor, video: int) -> Tensor:
        return attention_mask.bool()


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate neighbouring channels of [batch, tokens, heads, head_dim] in the type of the angles.

    Cosines and sines broadcast to [batch, tokens, heads, head_dim / 2]. Returns the type of x.
    """
    if cos.dtype in (torch.float32, torch.float64) and not torch.compiler.is_compiling():
        # As complex numbers this takes three passes over memory instead of eight. A compiler fuses
        # the eight, but not operations on complex numbers.
        turned = x.to(cos.dtype, copy=True)
        pairs = torch.view_as_complex(turned.unflatten(-1, (-1, 2)))
        pairs *= torch.complex(cos, sin)
        return turned.to(x.dtype)
    even, odd = x[..., 0::2], x[..., 1::2]
    out = torch.empty_like(x)
    out[..., 0::2] = even * cos - odd * sin
    out[..., 1::2] = even * sin + odd * cos
    return out


def _linear(attn: Any, x: Tensor, added: str = "") -> tuple[Tensor, Tensor, Tensor]:
    """Project tokens to q, k and v by head; `added` is in the names of the text's layers."""
    names = [f"add_{part}_proj" if added else f"to_{part}" for part in "qkv"]
    q, k, v = (_heads(getattr(attn, name)(x), attn.heads) for name in names)
    return getattr(attn, f"norm_{added}q")(q), getattr(attn, f"norm_{added}k")(k), v


def _in_type_of_v(
    q: Tensor, k: Tensor, v: Tensor, text_tokens: int | None = None, text_len: Tensor | None = None
) -> Projected:
    """Return what attention takes, from [batch, seq_len, heads, head_dim].

    Norms may leave q and k in float32, in autocast or by their weights: they get the type of v.
    """
    q, k, v = (x.to(v.dtype).transpose(1, 2) for x in (q, k, v))
    return Projected(q, k, v, text_tokens, text_len)


def _heads(x: Tensor, heads: int) -> Tensor:
    by_head: Tensor = x.unflatten(2, (heads, -1))
    return by_head


def _out(attn: Any, hidden_states: Tensor) -> Tensor:
    out: Tensor = attn.to_out[1](attn.to_out[0](hidden_states))
    return out


def _both_out(attn: Any, out: Tensor, video: int) -> tuple[Tensor, Tensor]:
    """Project video and text back, where a block does so: single stream blocks do not."""
    hidden_states, encoder_hidden_states = out[:, :video], out[:, video:]
    if getattr(attn, "to_out", None) is not None:
        hidden_states = _out(attn, hidden_states)
    if getattr(attn, "to_add_out", None) is not None:
        encoder_hidden_states = attn.to_add_out(encoder_hidden_states)
    return hidden_states, encoder_hidden_states
