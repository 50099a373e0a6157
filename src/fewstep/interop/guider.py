"""Negative prompts in one pass for Modular Diffusers: guiders that turn a denoiser's attention away.

``pipe.update_components(guider=NormalizedAttentionGuidance())``.  Importing this imports diffusers.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import torch
from diffusers.configuration_utils import register_to_config
from diffusers.guiders.guider_utils import BaseGuidance, GuiderOutput
from torch import Tensor

from fewstep.guidance import NAG, NASA, Away
from fewstep.interop.attention import turned_away

__all__ = ["NegativeAwayGuidance", "NormalizedAttentionGuidance"]

STATES = ("prompt_embeds", "encoder_hidden_states")  # what pipelines call the tokens of the prompt
MASKS = ("encoder_attention_mask", "prompt_attention_mask", "prompt_embeds_mask")


class _AwayGuidance(BaseGuidance):  # type: ignore[misc]
    """One batch with the tokens of both prompts in a row; without a negative prompt, the prompt alone."""

    _input_predictions = ["pred_cond"]  # noqa: RUF012  (a list is what diffusers accepts)

    def __init__(self, rule: Away, start: float, stop: float, enabled: bool) -> None:
        super().__init__(start, stop, enabled)
        self.rule, self._tokens, self._turned = rule, 0, ExitStack()

    def prepare_inputs(self, data: Mapping[str, Any]) -> list[Any]:
        """Return the one batch; ``data`` are tensors, or pairs of what goes with the prompt and the negative one."""
        return [
            self._batch({name: value if isinstance(value, tuple) else (value, None) for name, value in data.items()})
        ]

    def prepare_inputs_from_block_state(self, data: Any, input_fields: Mapping[str, Any]) -> list[Any]:
        """Return the one batch; ``input_fields`` name attributes of ``data``, or pairs of them."""
        named = {name: field if isinstance(field, tuple) else (field, None) for name, field in input_fields.items()}
        found = {name: [each and getattr(data, each, None) for each in pair] for name, pair in named.items()}
        return [self._batch({name: (mine, other) for name, (mine, other) in found.items()})]

    def prepare_models(self, denoiser: torch.nn.Module) -> None:
        """Put the rule into the denoiser's attention, if the batch has two prompts."""
        super().prepare_models(denoiser)
        if self._tokens:
            self._turned.enter_context(turned_away(denoiser, self.rule, self._tokens))

    def cleanup_models(self, denoiser: torch.nn.Module) -> None:
        """Take it out again."""
        self._turned.close()

    def forward(self, pred_cond: Tensor) -> Any:
        """Return the prediction as it is."""
        return GuiderOutput(pred=pred_cond, pred_cond=pred_cond, pred_uncond=None)

    def __call__(self, data: list[Any]) -> Any:
        """Return the prediction of the one batch."""
        return self.forward(data[0].noise_pred)

    @property
    def is_conditional(self) -> bool:
        """Whether the prompt is asked for: always."""
        return True

    @property
    def num_conditions(self) -> int:
        """How many prompts are to be encoded: 2, although one pass reads both, or 1 where the rule does nothing."""
        return 2 if self._enabled and not self.rule.silent else 1

    def _batch(self, pairs: Mapping[str, tuple[Any, Any]]) -> Any:
        """Return the batch, and keep the length of the prompt, 0 where there is no other one."""
        from diffusers.modular_pipelines.modular_pipeline import BlockState

        both = {name for name in (*STATES, *MASKS) if name in pairs and pairs[name][1] is not None and self._due()}
        states = [pairs[name][0] for name in STATES if name in both]
        self._tokens = states[0].shape[1] if states else 0
        given = {name: torch.cat(pair, 1) if name in both else pair[0] for name, pair in pairs.items()}
        return BlockState(**given, **{self._identifier_key: "pred_cond"})

    def _due(self) -> bool:
        """Whether this step is one of those from ``start`` to ``stop``."""
        if self.num_conditions == 1:
            return False
        if self._num_inference_steps is None:
            return True
        first, last = (int(share * self._num_inference_steps) for share in (self._start, self._stop))
        return bool(first <= self._step < last)


class NormalizedAttentionGuidance(_AwayGuidance):
    """``fewstep.guidance.NAG`` as a guider; from the share ``start`` of the steps to ``stop``."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        scale: float = 4.0,
        tau: float = 2.5,
        alpha: float = 0.5,
        start: float = 0.0,
        stop: float = 1.0,
        enabled: bool = True,
    ) -> None:
        super().__init__(NAG(scale, tau, alpha), start, stop, enabled)


class NegativeAwayGuidance(_AwayGuidance):
    """``fewstep.guidance.NASA`` as a guider."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, scale: float = 0.1, start: float = 0.0, stop: float = 1.0, enabled: bool = True) -> None:
        super().__init__(NASA(scale), start, stop, enabled)
