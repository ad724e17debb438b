"""The well-known OpenAI-compatible vendors and local servers: one row each, no code."""

from __future__ import annotations

from penstock.types import Capabilities, Value

_OPENAI = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "seed", "stop")
_MORE = (*_OPENAI, "top_k", "repetition_penalty", "typical_p")


class Vendor(Value, frozen=True):
    """How a server differs from the others.

    Attributes:
        base_url: the address its paths are appended to; None where the caller names one.
        needs_key: it refuses calls without a credential.
        max_tokens: the name of that parameter.
        stream_usage: it knows ``stream_options.include_usage``.
        sampling: the sampling parameters it knows, but for the limit of tokens.
    """

    base_url: str | None
    needs_key: bool = True
    max_tokens: str = "max_tokens"
    stream_usage: bool = True
    sampling: tuple[str, ...] = _OPENAI


VENDORS: dict[str, Vendor] = {
    "openai": Vendor("https://api.openai.com/v1", max_tokens="max_completion_tokens"),
    "openrouter": Vendor("https://openrouter.ai/api/v1", sampling=_MORE),
    "groq": Vendor("https://api.groq.com/openai/v1"),
    "together": Vendor("https://api.together.xyz/v1", sampling=_MORE),
    "mistral": Vendor("https://api.mistral.ai/v1", stream_usage=False),
    "deepseek": Vendor("https://api.deepseek.com/v1"),
    "fireworks": Vendor("https://api.fireworks.ai/inference/v1", sampling=_MORE),
    "ollama": Vendor("http://127.0.0.1:11434/v1", needs_key=False),
    "llamacpp": Vendor("http://127.0.0.1:8080/v1", needs_key=False, sampling=_MORE),
    "vllm": Vendor("http://127.0.0.1:8000/v1", needs_key=False, sampling=_MORE),
    "lmstudio": Vendor("http://127.0.0.1:1234/v1", needs_key=False, sampling=_MORE),
    "tgi_openai": Vendor("http://127.0.0.1:3000/v1", needs_key=False),
}

ANY = Vendor(None, needs_key=False, sampling=_MORE)
"""A server of which only the address is known: everything may be sent, it decides."""


def capabilities_of(vendor: Vendor) -> Capabilities:
    """What can be asked of ``vendor``; ranges are the server's to check."""
    return Capabilities(
        sampling=dict.fromkeys((*vendor.sampling, "max_tokens")),
        images=True,
        tools=True,
        reasoning=True,
        extra=None,
    )
