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
        return project_out(
            attn, self.attend(self.project(attn, hidden_states, rotary_emb=rotary_emb))
        )

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
        return in_type_of_v(q, k, v)


class LtxProcessor(RadialProcessor):
    """Self-attention of LTX-Video: video alone."""

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        image_rotary_emb: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Attend; arguments are diffusers'."""
        if self.dense:
            dense: Tensor = self.stock(
                attn, hidden_states, encoder_hidden_states, attention_mask, image_rotary_emb
            )
            return dense
        made = self.project(attn, hidden_states, image_rotary_emb=image_rotary_emb)
        return project_out(attn, self.attend(made))

    @classmethod
    def project(
        cls,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        image_rotary_emb: tuple[Tensor, Tensor] | None = None,
    ) -> Projected:
        """Return q, k and v of a call."""
        q, k, v = _across_heads(attn, hidden_states)
        if image_rotary_emb is not None:
            # Angles are those of all heads side by side.
            cos, sin = (_heads(x, attn.heads) for x in image_rotary_emb)
            q, k = (rotated(x, cos[..., 0::2], sin[..., 1::2]) for x in (q, k))
        return in_type_of_v(q, k, v)


class Ltx2Processor(RadialProcessor):
    """Self-attention of LTX-2's video; layers that skip attention for guidance keep theirs."""

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        query_rotary_emb: tuple[Tensor, Tensor] | None = None,
        key_rotary_emb: tuple[Tensor, Tensor] | None = None,
        perturbation_mask: Tensor | None = None,
        all_perturbed: bool | None = None,
    ) -> Tensor:
        """Attend; arguments are diffusers', which passes on only what the signature names."""
        if self.dense or perturbation_mask is not None:
            given = (encoder_hidden_states, attention_mask, query_rotary_emb, key_rotary_emb)
            perturbed: dict[str, Any] = {}
            if perturbation_mask is not None:
                perturbed = {"perturbation_mask": perturbation_mask, "all_perturbed": all_perturbed}
            dense: Tensor = self.stock(attn, hidden_states, *given, **perturbed)
            return dense
        made = self.project(attn, hidden_states, query_rotary_emb=query_rotary_emb)
        out = self.attend(made)
        if attn.to_gate_logits is not None:
            gates = 2.0 * torch.sigmoid(attn.to_gate_logits(hidden_states))
            out = (_heads(out, attn.heads) * gates.unsqueeze(-1)).flatten(2)
        return project_out(attn, out)

    @classmethod
    def project(
        cls,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        query_rotary_emb: tuple[Tensor, Tensor] | None = None,
        key_rotary_emb: tuple[Tensor, Tensor] | None = None,
        perturbation_mask: Tensor | None = None,
        all_perturbed: bool | None = None,
    ) -> Projected:
        """Return q, k and v of a call."""
        q, k, v = _across_heads(attn, hidden_states)
        if query_rotary_emb is not None:
            if attn.rope_type == "split":
                # [batch, heads, tokens, head_dim / 2]: the halves of a head are turned.
                cos, sin = (x.transpose(1, 2) for x in query_rotary_emb)
                q, k = turned_halves(q, cos, sin), turned_halves(k, cos, sin)
            else:
                cos, sin = (_heads(x, attn.heads) for x in query_rotary_emb)
                q, k = (rotated(x, cos[..., 0::2], sin[..., 1::2]) for x in (q, k))
        return in_type_of_v(q, k, v)


class CosmosProcessor(LtxProcessor):
    """Self-attention of Cosmos Predict: video alone."""

    @classmethod
    def project(
        cls,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        image_rotary_emb: tuple[Tensor, Tensor] | None = None,
    ) -> Projected:
        """Return q, k and v of a call."""
        q, k, v = projected(attn, hidden_states)
        if image_rotary_emb is not None:
            half = q.shape[-1] // 2
            cos, sin = (x[:, None, :half] for x in image_rotary_emb)
            q, k = turned_halves(q, cos, sin), turned_halves(k, cos, sin)
        return in_type_of_v(q, k, v)


class KandinskyProcessor(RadialProcessor):
    """Self-attention of Kandinsky 5: video alone."""

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        rotary_emb: Tensor | None = None,
        sparse_params: dict[str, Any] | None = None,
    ) -> Tensor:
        """Attend; arguments are diffusers'."""
        if self.dense:
            dense: Tensor = self.stock(
                attn, hidden_states, encoder_hidden_states, rotary_emb, sparse_params
            )
            return dense
        made = self.project(attn, hidden_states, rotary_emb=rotary_emb)
        out: Tensor = attn.out_layer(self.attend(made))
        return out

    @classmethod
    def project(
        cls,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        rotary_emb: Tensor | None = None,
        sparse_params: dict[str, Any] | None = None,
    ) -> Projected:
        """Return q, k and v of a call."""
        names = ("to_query", "to_key", "to_value")
        q, k, v = (_heads(getattr(attn, name)(hidden_states), attn.num_heads) for name in names)
        q, k = (
            norm(x.float()).type_as(x) for norm, x in ((attn.query_norm, q), (attn.key_norm, k))
        )
        if rotary_emb is not None:
            q, k = _by_matrices(q, rotary_emb), _by_matrices(k, rotary_emb)
        return in_type_of_v(q, k, v)


def _by_matrices(x: Tensor, rotary_emb: Tensor) -> Tensor:
    """Turn pairs of channels by 2×2 matrices; the model rounds what it turns to bfloat16."""
    pairs = x.unflatten(-1, (-1, 1, 2)).float()
    turned: Tensor = (rotary_emb * pairs).sum(dim=-1).flatten(-2).to(torch.bfloat16).type_as(x)
    return turned


def turned_halves(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate channel i of a head with channel i + head_dim / 2, in float32.

    x is [batch, tokens, heads, head_dim]; cosines and sines broadcast to half of that.
    """
    low, high = x.float().chunk(2, dim=-1)
    return torch.cat([low * cos - high * sin, high * cos + low * sin], dim=-1).to(x.dtype)


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


def projected(attn: Any, x: Tensor, added: str = "") -> tuple[Tensor, Tensor, Tensor]:
    """Project tokens to q, k and v by head; `added` is in the names of the text's layers."""
    names = [f"add_{part}_proj" if added else f"to_{part}" for part in "qkv"]
    q, k, v = (_heads(getattr(attn, name)(x), attn.heads) for name in names)
    norms = [getattr(attn, f"norm_{added}{part}") for part in "qk"]
    q, k = (x if norm is None else norm(x) for norm, x in zip(norms, (q, k), strict=True))
    return q, k, v


def _across_heads(attn: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Project tokens to q, k and v by head, with a norm over all heads together."""
    q, k, v = attn.norm_q(attn.to_q(x)), attn.norm_k(attn.to_k(x)), attn.to_v(x)
    return _heads(q, attn.heads), _heads(k, attn.heads), _heads(v, attn.heads)


def in_type_of_v(
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


def project_out(attn: Any, hidden_states: Tensor) -> Tensor:
    """Project what attention returned back to the channels of the model."""
    out: Tensor = attn.to_out[1](attn.to_out[0](hidden_states))
    return out
