"""Requests to text-generation-inference itself: the same frames, no conversation."""

from __future__ import annotations

import msgspec

from penstock.errors import ProtocolError
from penstock.providers.h2o.dialect.turn import Turn
from penstock.types import ModelInfo
from penstock.wire.decoder import JSON_ERRORS
from penstock.wire.request import HttpRequest, header_value, json_request

_ACCEPT = ("Accept", "*/*")


def generate_request(base: str, turn: Turn, key: str | None) -> HttpRequest:
    """Ask for an answer piece by piece.

    Raises:
        BadRequestError: the key cannot stand in a header.
    """
    body = {"inputs": turn.inputs, "parameters": turn.parameters}
    url = f"{base}/generate_stream"
    return json_request("POST", url, body, *_headers(key), stream=True)


def info_request(base: str, key: str | None) -> HttpRequest:
    """Ask which model it serves."""
    return HttpRequest(method="GET", url=f"{base}/info", headers=_headers(key))


def decode_info(body: bytes) -> ModelInfo:
    """The one model, by the router's own word.

    Raises:
        ProtocolError: it is not named.
    """
    try:
        return ModelInfo(id=msgspec.json.decode(body, type=_Info).model_id)
    except JSON_ERRORS:
        raise ProtocolError("the server does not name its model") from None


class _Info(msgspec.Struct):
    model_id: str


def _headers(key: str | None) -> tuple[tuple[str, str], ...]:
    if not key:
        return (_ACCEPT,)
    return (_ACCEPT, ("Authorization", f"Bearer {header_value('api_key', key)}"))
