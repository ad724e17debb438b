"""Members of the other two surfaces in the words of chat completions. Pure.

For upstreams that speak OpenAI's chat completions: what these can honour goes there instead of
being refused. Each function gives member -> what is sent for it; a member that has no words there
is not in the answer, and is judged like any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_SAME = frozenset(
    {"parallel_tool_calls", "prompt_cache_key", "safety_identifier", "service_tier", "user"}
)
_CHOICES = {"any": "required", "auto": "auto", "none": "none"}

Translated = dict[str, dict[str, Any]]


def from_responses(given: Mapping[str, Any]) -> Translated:
    """Members of ``POST /v1/responses``."""
    made: Translated = {name: {name: given[name]} for name in _SAME if given.get(name) is not None}
    choice = given.get("tool_choice")
    if choice in ("auto", "none", "required"):
        made["tool_choice"] = {"tool_choice": choice}
    elif name := _named(choice, "function"):
        made["tool_choice"] = {"tool_choice": _function(name)}
    text = _text(given.get("text"))
    if text is not None:
        made["text"] = text
    effort = given.get("reasoning")
    if isinstance(effort, dict) and effort.keys() == {"effort"} and effort["effort"]:
        made["reasoning"] = {"reasoning_effort": effort["effort"]}
    return made


def from_messages(given: Mapping[str, Any]) -> Translated:
    """Members of ``POST /v1/messages``."""
    made: Translated = {}
    choice = given.get("tool_choice")
    if isinstance(choice, dict):
        name = _named(choice, "tool")
        chosen = _function(name) if name else _CHOICES.get(str(choice.get("type")))
        apart = choice.get("disable_parallel_tool_use")
        if chosen is not None and apart in (None, False, True):
            made["tool_choice"] = {"tool_choice": chosen}
            if apart:
                made["tool_choice"]["parallel_tool_calls"] = False
    metadata = given.get("metadata")
    user = metadata.get("user_id") if isinstance(metadata, dict) else None
    if isinstance(user, str):
        made["metadata"] = {"user": user}
    return made


def merged(translated: Translated, *, tools: bool) -> dict[str, Any]:
    """What is sent for all of them.

    Args:
        tools: there are tools; without them such servers refuse to be told how to use them.
    """
    made = {name: value for members in translated.values() for name, value in members.items()}
    if not tools:
        made.pop("parallel_tool_calls", None)
        if made.get("tool_choice") in ("auto", "none"):
            del made["tool_choice"]
    return made


def _named(choice: object, kind: str) -> str | None:
    """The tool that must be called."""
    if not isinstance(choice, dict) or choice.get("type") != kind:
        return None
    name = choice.get("name")
    return name if isinstance(name, str) else None


def _function(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def _text(text: object) -> dict[str, Any] | None:
    """The form of the answer; None where it holds something unknown."""
    if not isinstance(text, dict) or not text.keys() <= {"format", "verbosity"}:
        return None
    made: dict[str, Any] = {}
    if text.get("verbosity") is not None:
        made["verbosity"] = text["verbosity"]
    form = text.get("format")
    if form is None or form == {"type": "text"}:
        return made
    if form == {"type": "json_object"}:
        return {**made, "response_format": form}
    if not isinstance(form, dict) or form.get("type") != "json_schema":
        return None
    schema = {name: value for name, value in form.items() if name != "type"}
    return {**made, "response_format": {"type": "json_schema", "json_schema": schema}}
