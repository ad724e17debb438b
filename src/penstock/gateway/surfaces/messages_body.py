"""The body of ``POST /v1/messages`` (Anthropic's): what it may hold, and what becomes of it. Pure.

Source: ``openai-surface.md`` section 4, and the published reference of that interface.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec

from penstock.gateway.surfaces.body import ModelName, converted
from penstock.gateway.surfaces.honoured import Chooser, stop_texts
from penstock.gateway.surfaces.surface import Asked, wrong
from penstock.gateway.surfaces.translated import from_messages, merged
from penstock.prompts import parse_messages
from penstock.types import Capabilities, ChatRequest, Message, Sampling, Tool, ToolCallPart

MAX_STOPS = 64

_HARMLESS: dict[str, tuple[Any, ...]] = {
    "metadata": (),
    "service_tier": (None, "auto", "standard_only"),
    "thinking": (None, {"type": "disabled"}),
    "tool_choice": (None, {"type": "auto"}, {"type": "none"}),
    "container": (None,),
    "mcp_servers": (None, []),
    "context_management": (None,),
    "output_config": (None, {}),
}


class _Tool(msgspec.Struct):
    name: str
    input_schema: dict[str, Any]
    description: str | None = None


class _Turn(msgspec.Struct):
    role: Literal["user", "assistant"]
    content: str | list[dict[str, Any]]


class MessagesBody(msgspec.Struct):
    """The members that this gateway knows."""

    model: ModelName
    messages: Annotated[list[_Turn], msgspec.Meta(min_length=1)]
    max_tokens: Annotated[int, msgspec.Meta(ge=1)]
    system: str | list[dict[str, Any]] | None = None
    stream: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop_sequences: list[str] | None = None
    tools: list[_Tool] | None = None


_KNOWN = frozenset(MessagesBody.__struct_fields__)


def read_messages(given: Mapping[str, Any], max_messages: int) -> MessagesBody:
    """The typed part of a body.

    Raises:
        BadRequestError: a member is missing, wrong, or over a limit; ``param`` names it.
    """
    body = converted(dict(given), MessagesBody)
    if len(body.messages) > max_messages:
        raise wrong(f"messages holds more than {max_messages} messages", "messages")
    return body


def ask_messages(
    body: MessagesBody, given: Mapping[str, Any], able: Capabilities, *, lenient: bool = False
) -> Asked:
    """What ``body`` asks of a back end that is ``able`` to do so much.

    ``max_tokens`` must be given, so it is no wish: a back end that has no such limit answers
    without it, and the answer's warnings say so. Stop texts are always looked for here, for the
    answer must say which one it was.

    Raises:
        BadRequestError: a parameter can be honoured neither there nor here.
    """
    choose = Chooser(body.model, lenient=lenient)
    said = from_messages(given) if able.chat_completions else {}
    choose.check_rest(given, _KNOWN | said.keys(), _HARMLESS)
    values = {
        name: value
        for name in ("temperature", "top_p", "top_k")
        if (value := getattr(body, name)) is not None
    }
    sampling = choose.sampling(values, able)
    if "max_tokens" in able.sampling:
        sampling["max_tokens"] = body.max_tokens
    else:
        choose.dropped.append("max_tokens")
    tools = body.tools or ()
    if given.get("tool_choice") == {"type": "none"} and not able.chat_completions:
        tools = ()
    if tools and not able.tools:
        choose.refuse("tools", f"tools are not supported by the back end of {body.model[:80]}")
    system = _system(body.system)
    turns = [turn for each in body.messages for turn in _turns(each)]
    return Asked(
        request=ChatRequest(
            model=body.model,
            messages=(*system, *turns),
            sampling=Sampling(**sampling),
            tools=_tools(tools) if able.tools else (),
            extra=merged(said, tools=bool(tools)),
            stream=bool(body.stream),
        ),
        stream=bool(body.stream),
        stops=stop_texts(body.stop_sequences, "stop_sequences", MAX_STOPS),
        dropped=tuple(choose.dropped),
    )


def _system(system: str | list[dict[str, Any]] | None) -> tuple[Message, ...]:
    if system is None:
        return ()
    text = system if isinstance(system, str) else "".join(_text(block) for block in system)
    return (Message(role="system", content=text),) if text else ()


def _turns(turn: _Turn) -> list[Message]:
    """One turn as messages: the results of tools are messages of their own."""
    if isinstance(turn.content, str):
        return [Message(role=turn.role, content=turn.content)]
    results = [block for block in turn.content if block.get("type") == "tool_result"]
    calls = [block for block in turn.content if block.get("type") == "tool_use"]
    parts = [
        _part(block)
        for block in turn.content
        if block.get("type") not in ("tool_result", "tool_use", "thinking", "redacted_thinking")
    ]
    made = [_result(block) for block in results]
    if parts or calls or not made:
        given: dict[str, Any] = {"role": turn.role, "content": parts or ""}
        (message,) = parse_messages([given])
        made.append(msgspec.structs.replace(message, tool_calls=tuple(map(_call, calls))))
    return made


def _part(block: Mapping[str, Any]) -> dict[str, Any]:
    kind = block.get("type")
    if kind == "text":
        return {"type": "text", "text": _text(block)}
    source = block.get("source")
    if kind == "image" and isinstance(source, dict):
        url = source.get("url")
        if source.get("type") == "base64":
            url = f"data:{source.get('media_type')};base64,{source.get('data')}"
        return {"type": "image_url", "image_url": {"url": url}}
    raise wrong(f"content blocks of type {str(kind)[:40]!r} are not supported", "messages")


def _text(block: object) -> str:
    known = block if isinstance(block, dict) else {}
    text = known.get("text")
    if known.get("type") != "text" or not isinstance(text, str):
        raise wrong("a text block must hold its text", "messages")
    return text


def _result(block: Mapping[str, Any]) -> Message:
    content = block.get("content") or ""
    if isinstance(content, list):
        content = "".join(_text(inner) for inner in content)
    if not isinstance(content, str):
        raise wrong("the content of a tool_result must be text or blocks", "messages")
    return Message(role="tool", content=content, tool_call_id=_required(block, "tool_use_id"))


def _call(block: Mapping[str, Any]) -> ToolCallPart:
    arguments = msgspec.json.encode(block.get("input") or {}).decode()
    name = _required(block, "name")
    return ToolCallPart(id=_required(block, "id"), name=name, arguments=arguments)


def _required(block: Mapping[str, Any], name: str) -> str:
    value = block.get(name)
    if not isinstance(value, str):
        raise wrong(f"a block of type {block['type']} needs {name}, a string", "messages")
    return value


def _tools(tools: Sequence[_Tool]) -> tuple[Tool, ...]:
    return tuple(
        Tool(name=tool.name, description=tool.description or "", parameters=tool.input_schema)
        for tool in tools
    )
