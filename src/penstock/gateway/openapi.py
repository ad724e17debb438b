"""``/openapi.json``: the interface as it is, made from the types that read and describe it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from http import HTTPStatus
from typing import Any

import msgspec

from penstock import __version__
from penstock.gateway import shapes
from penstock.gateway.status import Status
from penstock.gateway.surfaces.chat_body import ChatBody
from penstock.gateway.surfaces.messages_body import MessagesBody
from penstock.gateway.surfaces.responses_body import ResponsesBody
from penstock.types import Value

Struct = type[msgspec.Struct]

DOOR = (400, 401, 403, 405, 421, 500)
"""What any path but the health checks may be answered with at the door."""
UPSTREAM = (404, 408, 413, 415, 422, 429, 502, 503, 504)
"""What a question may be answered with beside that."""


class Operation(Value, frozen=True, kw_only=True):
    """One method of one path.

    Attributes:
        summary: one sentence.
        answer: type of the JSON answer; None where it is text or of no fixed shape.
        body: type of the request's body.
        stream: the answer may be an event stream.
        text: content types of an answer that is no JSON.
        errors: statuses beside 200.
        error: type of their bodies.
        open: needs no key.
    """

    summary: str
    method: str = "get"
    answer: Struct | None = None
    body: Struct | None = None
    stream: bool = False
    text: tuple[str, ...] = ()
    errors: tuple[int, ...] = DOOR
    error: Struct = shapes.Error
    open: bool = False


def _ask(summary: str, body: Struct, answer: Struct, error: Struct = shapes.Error) -> Operation:
    return Operation(
        summary=summary,
        method="post",
        body=body,
        answer=answer,
        stream=True,
        errors=(*DOOR, *UPSTREAM),
        error=error,
    )


OPERATIONS: dict[str, Operation] = {
    "/v1/chat/completions": _ask("Answer a chat.", ChatBody, shapes.ChatCompletion),
    "/v1/responses": _ask("Answer, in the form of responses.", ResponsesBody, shapes.Response),
    "/v1/messages": _ask(
        "Answer, in the form of Anthropic's messages.",
        MessagesBody,
        shapes.MessageAnswer,
        shapes.MessagesError,
    ),
    "/v1/models": Operation(summary="The models on offer.", answer=shapes.ModelList),
    "/v1/models/{id}": Operation(
        summary="One model; its id may hold slashes.",
        answer=shapes.Model,
        errors=(*DOOR, 404, 502, 503, 504),
    ),
    "/api/status": Operation(summary="How each target did over the last hour.", answer=Status),
    "/metrics": Operation(
        summary="Figures for Prometheus.", text=("text/plain", "application/openmetrics-text")
    ),
    "/openapi.json": Operation(summary="This description."),
    "/health/live": Operation(
        summary="Whether the process answers.",
        answer=shapes.Live,
        errors=(400, 403, 405, 421),
        open=True,
    ),
    "/health/ready": Operation(
        summary="Whether new requests are taken.",
        answer=shapes.Ready,
        errors=(400, 403, 405, 421, 503),
        open=True,
    ),
}


@cache
def description() -> bytes:
    """The description as JSON."""
    return msgspec.json.encode(_described())


def _described() -> dict[str, Any]:
    used = {each for one in OPERATIONS.values() for each in (one.answer, one.body, one.error)}
    types = sorted((each for each in used if each is not None), key=lambda each: each.__name__)
    references, schemas = msgspec.json.schema_components(
        types, ref_template="#/components/schemas/{name}"
    )
    named = dict(zip(types, references, strict=True))
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Penstock",
            "version": __version__,
            "description": "Many chat back ends behind OpenAI's interface.",
        },
        "paths": {path: {one.method: _of(path, one, named)} for path, one in OPERATIONS.items()},
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
    }


def _of(path: str, one: Operation, named: dict[Struct, dict[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {"summary": one.summary, "operationId": _id_of(path, one)}
    if "{id}" in path:
        made["parameters"] = [
            {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
        ]
    if one.body is not None:
        content = {"application/json": {"schema": named[one.body]}}
        made["requestBody"] = {"required": True, "content": content}
    schema = {} if one.answer is None else named[one.answer]
    kinds = one.text or ("application/json",)
    content = {kind: {"schema": {"type": "string"} if one.text else schema} for kind in kinds}
    if one.stream:
        content["text/event-stream"] = {"schema": {"description": "Events, each with JSON."}}
    made["responses"] = {"200": _answer(200, content)} | {
        str(status): _answer(status, _failure(named, one, status)) for status in sorted(one.errors)
    }
    # Without keys the gateway asks for none.
    made["security"] = [] if one.open else [{}, {"bearer": []}, {"header": []}]
    return made


def _failure(named: dict[Struct, dict[str, Any]], one: Operation, status: int) -> dict[str, Any]:
    # A body that does not come is given up before anybody knows which interface it is for.
    error = shapes.Error if status == 408 else one.error
    return {"application/json": {"schema": named[error]}}


def _answer(status: int, content: dict[str, Any]) -> dict[str, Any]:
    phrase = HTTPStatus(status).phrase
    headers = {
        "x-request-id": {
            "description": "The id of the request, in every answer.",
            "schema": {"type": "string"},
        }
    }
    return {"description": phrase, "headers": headers, "content": content}


def _id_of(path: str, one: Operation) -> str:
    words: Sequence[str] = path.replace("{", "by_").replace("}", "").replace(".", "/").split("/")
    return "_".join((one.method, *filter(None, words)))
