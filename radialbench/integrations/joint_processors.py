"""Attention processors for joint attention of video and text."""

from typing import Any

import torch
from torch import Tensor

from radialbench.integrations.processors import (
    Projected,
    RadialProcessor,
    in_type_of_v,
    project_out,
    projected,
    rotated,
)


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
            q, k, v = projected(attn, torch.cat([hidden_states, encoder_hidden_states], dim=1))
            q, k = (
                torch.cat([rotated(x[:, :video], cos, sin), x[:, video:]], dim=1) for x in (q, k)
            )
        else:
            q, k, v = projected(attn, hidden_states)
            added = projected(attn, encoder_hidden_states, "added_")
            sides = zip((rotated(q, cos, sin), rotated(k, cos, sin), v), added, strict=True)
            q, k, v = (torch.cat(pair, dim=1) for pair in sides)
        text_len = cls._real_text(attention_mask, video).sum(dim=1)
        return in_type_of_v(q, k, v, text, text_len)

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


class HunyuanVideo15Processor(HunyuanVideoProcessor):
    """Joint attention of HunyuanVideo 1.5: image and text, what is real first."""

    @staticmethod
    def _real_text(attention_mask: Tensor, video: int) -> Tensor:
        return attention_mask.bool()


class CogVideoXProcessor(RadialProcessor):
    """Joint attention of CogVideoX: text, then video."""

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        image_rotary_emb: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Attend; arguments are diffusers'."""
        given = (hidden_states, encoder_hidden_states, attention_mask, image_rotary_emb)
        if self.dense:
            both: tuple[Tensor, Tensor] = self.stock(attn, *given)
            return both
        out = project_out(attn, self.attend(self.project(attn, *given)))
        text = encoder_hidden_states.shape[1]
        return out[:, text:], out[:, :text]

    @classmethod
    def project(
        cls,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        image_rotary_emb: tuple[Tensor, Tensor] | None = None,
    ) -> Projected:
        """Return q, k and v of a call."""
        text = encoder_hidden_states.shape[1]
        q, k, v = projected(attn, torch.cat([encoder_hidden_states, hidden_states], dim=1))
        if image_rotary_emb is not None:
            cos, sin = image_rotary_emb[0][:, None, 0::2], image_rotary_emb[1][:, None, 1::2]
            q, k = (torch.cat([x[:, :text], rotated(x[:, text:], cos, sin)], dim=1) for x in (q, k))
        return in_type_of_v(q, k, v, text)


def _both_out(attn: Any, out: Tensor, video: int) -> tuple[Tensor, Tensor]:
    """Project video and text back, where a block does so: single stream blocks do not."""
    hidden_states, encoder_hidden_states = out[:, :video], out[:, video:]
    if getattr(attn, "to_out", None) is not None:
        hidden_states = project_out(attn, hidden_states)
    if getattr(attn, "to_add_out", None) is not None:
        encoder_hidden_states = attn.to_add_out(encoder_hidden_states)
    return hidden_states, encoder_hidden_states
