"""The body of ``POST /v1/responses``: what it may hold, and what becomes of it. Pure.

Source: ``openai-surface.md`` section 4. Nothing is stored here, so an answer cannot be continued
by its id: the history is sent again as ``input``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec

from penstock.errors import BadRequestError
from penstock.gateway.surfaces.body import ModelName, converted
from penstock.gateway.surfaces.honoured import Chooser
from penstock.gateway.surfaces.surface import Asked, wrong
from penstock.gateway.surfaces.translated import from_responses, merged
from penstock.prompts import parse_messages
from penstock.types import Capabilities, ChatRequest, Message, Sampling, Tool, ToolCallPart

_HARMLESS: dict[str, tuple[Any, ...]] = {
    "metadata": (),
    "user": (),
    "safety_identifier": (),
    "prompt_cache_key": (),
    "include": (None, []),
    "store": (None, False),
    "background": (None, False),
    "service_tier": (None, "auto", "default"),
    "truncation": (None, "disabled"),
    "parallel_tool_calls": (None, True),
    "tool_choice": (None, "auto", "none"),
    "text": (None, {}, {"format": {"type": "text"}}),
    "reasoning": (None, {}),
    "top_logprobs": (None, 0),
    "stream_options": (None, {}, {"include_obfuscation": False}, {"include_obfuscation": True}),
    "conversation": (None,),
    "prompt": (None,),
    "max_tool_calls": (None,),
}


class _Tool(msgspec.Struct):
    type: str
    name: str = ""
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ResponsesBody(msgspec.Struct):
    """The members that this gateway knows."""

    model: ModelName
    input: str | Annotated[list[dict[str, Any]], msgspec.Meta(min_length=1)]
    instructions: str | None = None
    previous_response_id: str | None = None
    stream: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_output_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    tools: list[_Tool] | None = None


_KNOWN = frozenset(ResponsesBody.__struct_fields__)


def read_responses(given: Mapping[str, Any], max_messages: int) -> ResponsesBody:
    """The typed part of a body.

    Raises:
        BadRequestError: a member is missing, wrong, or over a limit; ``param`` names it.
    """
    body = converted(dict(given), ResponsesBody)
    if body.previous_response_id is not None:
        raise wrong(
            "previous_response_id is not supported: nothing is stored here; send the earlier "
            "turns in input",
            "previous_response_id",
        )
    if not isinstance(body.input, str) and len(body.input) > max_messages:
        raise wrong(f"input holds more than {max_messages} items", "input")
    return body


def ask_responses(
    body: ResponsesBody, given: Mapping[str, Any], able: Capabilities, *, lenient: bool = False
) -> Asked:
    """What ``body`` asks of a back end that is ``able`` to do so much.

    Raises:
        BadRequestError: a parameter can be honoured neither there nor here.
    """
    choose = Chooser(body.model, lenient=lenient)
    said = from_responses(given) if able.chat_completions else {}
    choose.check_rest(given, _KNOWN | said.keys(), _HARMLESS)
    values: dict[str, Any] = {
        name: value
        for name in ("temperature", "top_p")
        if (value := getattr(body, name)) is not None
    }
    if body.max_output_tokens is not None:
        if "max_tokens" in able.sampling:
            values["max_tokens"] = body.max_output_tokens
        else:
            choose.refuse(
                "max_output_tokens",
                f"max_output_tokens is not supported by the back end of {body.model[:80]}",
            )
    tools = body.tools or ()
    if given.get("tool_choice") == "none" and not able.chat_completions:
        tools = ()
    if tools and not able.tools:
        choose.refuse("tools", f"tools are not supported by the back end of {body.model[:80]}")
    return Asked(
        request=ChatRequest(
            model=body.model,
            messages=_messages(body),
            sampling=Sampling(**choose.sampling(values, able)),
            tools=_tools(tools, choose) if able.tools else (),
            extra=merged(said, tools=bool(tools)) | _strict(tools, able),
            stream=bool(body.stream),
        ),
        stream=bool(body.stream),
        dropped=tuple(choose.dropped),
    )


def _messages(body: ResponsesBody) -> tuple[Message, ...]:
    given: list[dict[str, Any] | Message] = []
    if body.instructions:
        given.append({"role": "system", "content": body.instructions})
    if isinstance(body.input, str):
        given.append({"role": "user", "content": body.input})
    else:
        given += [_item(item) for item in body.input if item.get("type") != "reasoning"]
    try:
        return _gathered(parse_messages(given))
    except BadRequestError as error:
        error.param = "input"
        raise


def _gathered(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Tool calls that follow each other as one message, with the text before them.

    They are items of their own here, and one message of the assistant everywhere else.
    """
    made: list[Message] = []
    for message in messages:
        before = made[-1] if made else None
        if message.tool_calls and before is not None and before.role == "assistant":
            calls = before.tool_calls + message.tool_calls
            made[-1] = msgspec.structs.replace(before, tool_calls=calls)
        else:
            made.append(message)
    return tuple(made)


def _item(item: Mapping[str, Any]) -> dict[str, Any] | Message:
    kind = item.get("type", "message")
    if kind == "message":
        return {"role": item.get("role"), "content": _content(item.get("content"))}
    if kind == "function_call":
        call = ToolCallPart(
            id=_required(item, "call_id"),
            name=_required(item, "name"),
            arguments=_required(item, "arguments"),
        )
        return Message(role="assistant", tool_calls=(call,))
    if kind == "function_call_output":
        output = item.get("output")
        text = output if isinstance(output, str) else msgspec.json.encode(output).decode()
        return Message(role="tool", content=text, tool_call_id=_required(item, "call_id"))
    raise wrong(f"items of type {str(kind)[:40]!r} are not supported", "input")


def _required(item: Mapping[str, Any], name: str) -> str:
    value = item.get(name)
    if not isinstance(value, str):
        raise wrong(f"an item of type {item['type']} needs {name}, a string", "input")
    return value


def _content(content: object) -> object:
    if not isinstance(content, list):
        return content
    return [_part(part) if isinstance(part, dict) else part for part in content]


def _part(part: Mapping[str, Any]) -> dict[str, Any]:
    kind = part.get("type")
    if kind in ("input_text", "output_text", "text"):
        return {"type": "text", "text": part.get("text")}
    if kind == "refusal":
        return {"type": "text", "text": part.get("refusal")}
    if kind == "input_image":
        return {"type": "image_url", "image_url": {"url": part.get("image_url")}}
    raise wrong(f"content of type {str(kind)[:40]!r} is not supported", "input")


def _strict(tools: Sequence[_Tool], able: Capabilities) -> dict[str, Any]:
    """The tools as chat completions have them, where one of them is to be kept to its schema."""
    if not (able.chat_completions and any(tool.strict for tool in tools)):
        return {}
    named = ("name", "description", "parameters", "strict")
    functions = [
        {name: value for name in named if (value := getattr(tool, name)) is not None}
        for tool in tools
        if tool.type == "function"
    ]
    return {"tools": [{"type": "function", "function": each} for each in functions]}


def _tools(tools: Sequence[_Tool], choose: Chooser) -> tuple[Tool, ...]:
    for tool in tools:
        if tool.type != "function":
            choose.refuse("tools", f"tools of type {tool.type[:40]!r} are not supported")
    return tuple(
        Tool(name=tool.name, description=tool.description or "", parameters=tool.parameters or {})
        for tool in tools
        if tool.type == "function"
    )
