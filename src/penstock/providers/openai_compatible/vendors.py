"""The well-known OpenAI-compatible vendors and local servers: one row each, no code.

Names and labels are the registry's, which loads nothing; a test holds its rows and these together.
"""

from __future__ import annotations

from penstock.types import Capabilities, Value

_OPENAI = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "seed", "stop")
_MORE = (*_OPENAI, "top_k", "repetition_penalty", "typical_p")


class Vendor(Value, frozen=True):
    """How a server differs from the others.

    Attributes:
        base_url: the address its paths are appended to; None where the caller names one.
        key_env: the variable with the credential, without which it refuses all calls.
        max_tokens: the name of that parameter.
        stream_usage: it knows ``stream_options.include_usage``.
        sampling: the sampling parameters it knows, but for the limit of tokens.
    """

    base_url: str | None
    key_env: str | None = None
    max_tokens: str = "max_tokens"
    stream_usage: bool = True
    sampling: tuple[str, ...] = _OPENAI


VENDORS: dict[str, Vendor] = {
    "openai": Vendor(
        "https://api.openai.com/v1", "OPENAI_API_KEY", max_tokens="max_completion_tokens"
    ),
    "openrouter": Vendor("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY", sampling=_MORE),
    "groq": Vendor("https://api.groq.com/openai/v1", "GROQ_API_KEY"),
    "together": Vendor("https://api.together.xyz/v1", "TOGETHER_API_KEY", sampling=_MORE),
    "mistral": Vendor("https://api.mistral.ai/v1", "MISTRAL_API_KEY", stream_usage=False),
    "deepseek": Vendor("https://api.deepseek.com/v1", "DEEPSEEK_API_KEY"),
    "fireworks": Vendor(
        "https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY", sampling=_MORE
    ),
    "ollama": Vendor("http://127.0.0.1:11434/v1"),
    "llamacpp": Vendor("http://127.0.0.1:8080/v1", sampling=_MORE),
    "vllm": Vendor("http://127.0.0.1:8000/v1", sampling=_MORE),
    "lmstudio": Vendor("http://127.0.0.1:1234/v1", sampling=_MORE),
    "tgi_openai": Vendor("http://127.0.0.1:3000/v1"),
}

ANY = Vendor(None, sampling=_MORE)
"""A server of which only the address is known: everything may be sent, it decides."""


def capabilities_of(vendor: Vendor) -> Capabilities:
    """What can be asked of ``vendor``; ranges are the server's to check."""
    return Capabilities(
        sampling=dict.fromkeys((*vendor.sampling, "max_tokens")),
        images=True,
        tools=True,
        reasoning=True,
        extra=None,
        chat_completions=True,
    )
