"""What is known of the vendor's models and limits: data, nothing else.

The ids, their hosts and the limits of ``message-stream`` are those of spring 2025 (wire/allenai.md
sections 3.1 and 3.8); servers of 2026 say theirs in ``GET /v4/models/`` (section 4.6).
"""

from __future__ import annotations

import math

from penstock.types import Capabilities

BASE_URL = "https://olmo-api.allen.ai"

DEFAULT_MODEL = "tulu3-405b"
IMAGE_MODEL = "mm-olmo-uber-model-v4-synthetic"

MODELS: tuple[str, ...] = (
    DEFAULT_MODEL,
    "OLMo-2-1124-13B-Instruct",
    "tulu-3-1-8b",
    "Llama-3-1-Tulu-3-70B",
    "olmoe-0125",
    "olmo-2-0325-32b-instruct",
)
"""The documented ids."""

ALIASES: dict[str, str] = {
    "tulu-3-405b": DEFAULT_MODEL,
    "olmo-2-13b": "OLMo-2-1124-13B-Instruct",
    "tulu-3-8b": "tulu-3-1-8b",
    "tulu-3-70b": "Llama-3-1-Tulu-3-70B",
    "olmo-1-7b": "olmoe-0125",
    "olmo-2-32b": "olmo-2-0325-32b-instruct",
}


def resolve(model: str) -> str:
    """The id for a name: the default for an empty one, an alias's target, else itself."""
    return ALIASES.get(model, model) or DEFAULT_MODEL


DEFAULT_HOST = "inferd"
HOSTS: dict[str, str] = {
    DEFAULT_MODEL: "inferd",
    **dict.fromkeys((*MODELS[1:], IMAGE_MODEL), "modal"),
}
"""The host that ``message-stream`` demands for each model."""

STEP = 0.01
"""``temperature`` and ``top_p`` of ``message-stream`` lie on this grid."""

_COMMON_FIELDS = frozenset(
    {"captchaToken", "host", "max_tokens", "n", "logprobs", "original", "private", "stop"}
    | {"template", "temperature", "top_p"}
)
_THREAD_FIELDS = _COMMON_FIELDS | {
    "bypassSafetyCheck",
    "enableToolCalling",
    "extraParameters",
    "inputParts",
    "selectedTools",
    "toolCallId",
    "toolDefinitions",
}

CAPABILITIES: dict[str, Capabilities] = {
    "message-stream": Capabilities(
        sampling={
            "temperature": (0.0, 1.0),
            "top_p": (0.01, 1.0),
            "max_tokens": (1, 2048),
            "stop": None,
        },
        system=False,
        images=True,
        conversations=True,
        extra=_COMMON_FIELDS | {"role"},
    ),
    "threads": Capabilities(
        sampling={
            "temperature": (0.0, math.inf),
            "top_p": (0.0, 1.0),
            "max_tokens": (1, math.inf),
            "stop": None,
        },
        system=False,
        images=True,
        tools=True,
        reasoning=True,
        conversations=True,
        extra=_THREAD_FIELDS,
    ),
}
CAPABILITIES["v5-chat"] = CAPABILITIES["threads"]
"""By dialect. The limits of ``threads`` are the model's own, which the server knows."""
