"""What is known of models without asking: names of their parameters and ranges.

From wire/replicate.md section 7. A model's own schema, where it can be read, wins over this.
"""

from __future__ import annotations

from collections.abc import Mapping

from penstock.types import Capabilities, Value

DEFAULT_MODEL = "meta/meta-llama-3-70b-instruct"
MODELS: tuple[str, ...] = (DEFAULT_MODEL,)
"""The documented ids."""


class Field(Value, frozen=True):
    """One input parameter of a model.

    Attributes:
        kind: its JSON type; empty where that is not known.
        low: smallest value allowed.
        high: largest value allowed.
    """

    kind: str = ""
    low: float | None = None
    high: float | None = None


class ModelInputs(Value, frozen=True):
    """The input parameters of a model.

    Attributes:
        fields: name -> parameter; None where nothing is known, so that every common name passes.
    """

    fields: Mapping[str, Field] | None = None

    def has(self, name: str) -> bool:
        """Whether the model is known to take ``name``."""
        return self.fields is not None and name in self.fields


UNKNOWN = ModelInputs()

LIMIT_NAMES = (
    "max_tokens",
    "max_new_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "max_length_tokens",
)
"""The names of the one thing we call ``max_tokens``, most common first."""

IMAGE_NAMES = ("image_input", "images", "image")
"""The names under which models take images."""

SAMPLING_NAMES: Mapping[str, tuple[str, ...]] = {
    "temperature": ("temperature",),
    "top_p": ("top_p",),
    "top_k": ("top_k",),
    "typical_p": ("typical_p",),
    "repetition_penalty": ("repetition_penalty",),
    "presence_penalty": ("presence_penalty",),
    "frequency_penalty": ("frequency_penalty",),
    "max_tokens": LIMIT_NAMES,
    "seed": ("seed",),
}
"""Our parameter -> the names it has in models. ``stop`` is treated apart."""

CAPABILITIES = Capabilities(
    sampling=dict.fromkeys((*SAMPLING_NAMES, "stop")),
    system=True,
    history=True,
    images=True,
    extra=None,
)
"""Ranges differ from model to model, and are checked once its inputs are known."""


def _row(*names: str, **fields: Field) -> ModelInputs:
    return ModelInputs({**{name: Field() for name in names}, **fields})


# The public schema of 2024-07 lacks system_prompt and stop_sequences, which the example run of
# 2024-05 and the recorded case replicate-stream-basic have. The schema decides where it is known.
_LLAMA_3 = _row(
    *("prompt", "prompt_template", "max_tokens", "min_tokens", "temperature", "top_p", "top_k"),
    *("presence_penalty", "frequency_penalty", "system_prompt", "stop_sequences"),
)
_O_SERIES = _row("prompt", "system_prompt", "max_completion_tokens", "reasoning_effort")

KNOWN: Mapping[str, ModelInputs] = {
    DEFAULT_MODEL: _LLAMA_3,
    "meta/meta-llama-3-8b-instruct": _LLAMA_3,
    "meta/meta-llama-3.1-405b-instruct": _row(
        *("prompt", "system_prompt", "max_tokens", "min_tokens", "temperature", "top_p", "top_k"),
        *("presence_penalty", "frequency_penalty", "stop_sequences", "prompt_template"),
    ),
    "meta/llama-2-70b-chat": _row(
        *("prompt", "system_prompt", "min_new_tokens", "top_k", "stop_sequences", "seed"),
        max_new_tokens=Field("integer", low=1),
        temperature=Field("number", low=0.01, high=5),
        top_p=Field("number", low=0, high=1),
    ),
    "meta/llama-4-maverick-instruct": _row("prompt", "system_prompt", "max_tokens", "temperature"),
    "anthropic/claude-4-sonnet": _row(
        *("prompt", "system_prompt", "max_image_resolution", "extended_thinking"),
        max_tokens=Field("integer", low=1024, high=64000),
        thinking_budget_tokens=Field("integer", low=1024),
        image=Field("string"),
    ),
    "google/gemini-2.5-flash": _row(
        *("prompt", "max_output_tokens", "temperature", "top_p", "dynamic_thinking", "videos"),
        images=Field("array"),
    ),
    "deepseek-ai/deepseek-67b-base": _row(
        *("prompt", "temperature", "top_p", "top_k", "repetition_penalty"),
        max_new_tokens=Field("integer", low=1, high=4096),
    ),
    "deepseek-ai/deepseek-vl2": _row("prompt", "max_length_tokens", image=Field("string")),
    "deepseek-ai/deepseek-v3.1": _row(
        *("prompt", "max_tokens", "thinking", "top_p", "presence_penalty", "frequency_penalty"),
    ),
}

KNOWN_FAMILIES: Mapping[str, ModelInputs] = {
    "openai/gpt-5": _row(
        *("prompt", "system_prompt", "max_completion_tokens", "reasoning_effort", "verbosity"),
        image_input=Field("array"),
    ),
    "openai/o1": _O_SERIES,
    "openai/o3": _O_SERIES,
    "openai/o4": _O_SERIES,
}
"""Start of a model's name -> its inputs. Older o-series versions take no messages and no images."""


def known_inputs(model: str | None) -> ModelInputs:
    """What the table says of ``owner/name``."""
    if model is None:
        return UNKNOWN
    if model in KNOWN:
        return KNOWN[model]
    families = (inputs for start, inputs in KNOWN_FAMILIES.items() if model.startswith(start))
    return next(families, UNKNOWN)
