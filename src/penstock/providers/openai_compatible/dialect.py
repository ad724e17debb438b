"""Chat completions as requests: pure (``openai-surface.md`` sections 1 and 4)."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import msgspec

from penstock.prompts import data_url
from penstock.providers.openai_compatible.vendors import Vendor
from penstock.types import ChatRequest, Message, ModelInfo, TextPart, Tool
from penstock.wire.decoder import JSON_ERRORS, bad_payload
from penstock.wire.request import HttpRequest, header_value, json_request


def base_of(base_url: str) -> str:
    """The address that ``/chat/completions`` is appended to.

    A bare origin gets ``/v1``: every known server has its paths there.
    """
    return base_url if urlsplit(base_url).path else f"{base_url}/v1"


def chat_request(base: str, vendor: Vendor, request: ChatRequest, key: str | None) -> HttpRequest:
    """The request that asks for an answer."""
    sampling = request.sampling.given()
    if "max_tokens" in sampling:
        sampling[vendor.max_tokens] = sampling.pop("max_tokens")
    body: dict[str, Any] = {
        "model": request.model,
        # As the caller had them, where they came in this protocol's shape.
        "messages": request.extra.get("messages") or [*map(_message, request.messages)],
        "stream": request.stream,
        **sampling,
    }
    if request.stream and vendor.stream_usage:
        body["stream_options"] = {"include_usage": True}
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
    body.update(request.extra)
    accept = "text/event-stream" if request.stream else "application/json"
    return json_request(
        "POST",
        f"{base}/chat/completions",
        body,
        ("Accept", accept),
        *_authorization(key),
        stream=request.stream,
    )


def models_request(base: str, key: str | None) -> HttpRequest:
    """The request that asks for the models."""
    return HttpRequest(method="GET", url=f"{base}/models", headers=_authorization(key))


class _Model(msgspec.Struct):
    id: str
    owned_by: str | None = None


class _Models(msgspec.Struct):
    data: list[_Model]


def decode_models(body: bytes) -> list[ModelInfo]:
    """The models of ``GET /models``; a bare list is taken, too.

    Raises:
        ProtocolError: it is something else.
    """
    try:
        models = msgspec.json.decode(body, type=_Models | list[_Model])
    except JSON_ERRORS as error:
        raise bad_payload(error, body) from None
    listed = models.data if isinstance(models, _Models) else models
    return [ModelInfo(id=model.id, description=model.owned_by or "") for model in listed]


def _authorization(key: str | None) -> tuple[tuple[str, str], ...]:
    return (("Authorization", f"Bearer {header_value('api_key', key)}"),) if key else ()


def _message(message: Message) -> dict[str, Any]:
    made: dict[str, Any] = {"role": message.role, "content": _content(message)}
    if message.name is not None:
        made["name"] = message.name
    if message.tool_call_id is not None:
        made["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        made["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.tool_calls
        ]
    return made


def _content(message: Message) -> str | list[dict[str, Any]]:
    if isinstance(message.content, str):
        return message.content
    return [
        {"type": "text", "text": part.text}
        if isinstance(part, TextPart)
        else {"type": "image_url", "image_url": {"url": data_url(part)}}
        for part in message.content
    ]


def _tool(tool: Tool) -> dict[str, Any]:
    function = {"name": tool.name, "parameters": tool.parameters}
    if tool.description:
        function["description"] = tool.description
    return {"type": "function", "function": function}
