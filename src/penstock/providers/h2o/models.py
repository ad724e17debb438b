"""What the service offered, as data (``wire/h2o.md`` sections 0, 3 and 5)."""

from __future__ import annotations

from collections.abc import Mapping

from penstock.types import Capabilities

URL = "https://gpt-gm.h2o.ai"

FALCON_40B = "h2oai/h2ogpt-gm-oasst1-en-2048-falcon-40b-v1"
FALCON_7B = "h2oai/h2ogpt-gm-oasst1-en-2048-falcon-7b-v3"
LLAMA_13B = "h2oai/h2ogpt-gm-oasst1-en-2048-open-llama-13b"

MODELS: tuple[str, ...] = (FALCON_40B, FALCON_7B, LLAMA_13B)
DEFAULT_MODEL = FALCON_40B

ALIASES: Mapping[str, str] = {
    "falcon-40b": FALCON_40B,
    "falcon-7b": FALCON_7B,
    "llama-13b": LLAMA_13B,
}
"""Short names; the server knows full ids only and answers 500 to these (rule 13)."""

DEFAULT_PARAMETERS: Mapping[str, float | int | bool] = {
    "temperature": 0.4,
    "truncate": 2048,
    "max_new_tokens": 1024,
    "do_sample": True,
    "repetition_penalty": 1.2,
    "return_full_text": False,
}
"""The service's own settings, which its web page sent with each message; the app adds none."""

OPEN_PARAMETERS: Mapping[str, float | int | bool] = {
    "max_new_tokens": 1024,
    "return_full_text": False,
}
"""For models we know nothing of: only what keeps the router from its default of 20 tokens."""

ROUTER_PARAMETERS = frozenset(
    {
        "temperature",
        "truncate",
        "max_new_tokens",
        "do_sample",
        "repetition_penalty",
        "return_full_text",
        "top_k",
        "top_p",
        "typical_p",
        "stop",
        "seed",
        "watermark",
        "details",
        "decoder_input_details",
    }
)
"""What the router of text-generation-inference knows; it ignores the rest without a word."""

MESSAGE_OPTIONS = frozenset({"id", "response_id", "is_retry", "web_search_id"})
"""What the app reads beside the parameters."""

_U32 = float(2**32 - 1)
_SAMPLING: Mapping[str, tuple[float, float] | None] = {
    # Open intervals cannot be said here; ``dialect.parameters`` checks them.
    "temperature": None,
    "top_p": None,
    "typical_p": None,
    "repetition_penalty": None,
    "top_k": (1.0, float(2**31 - 1)),
    "max_tokens": (1.0, _U32),
    "seed": (0.0, float(2**64 - 1)),
    "stop": None,
}

CAPABILITIES = Capabilities(
    sampling=_SAMPLING,
    system=False,
    history=True,
    conversations=True,
    extra=ROUTER_PARAMETERS | MESSAGE_OPTIONS,
)
ROUTER_CAPABILITIES = Capabilities(
    sampling=_SAMPLING, system=False, history=True, extra=ROUTER_PARAMETERS
)
