"""Today's chat-ui (wire/h2o.md section 9): multipart ``data``, parent ids, a stored tree."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec

from penstock.testing.replay.body import File, read_form, read_json
from penstock.testing.replay.case import Case, Exchange
from penstock.testing.replay.plan import Chat, ListModels, Request, Step
from penstock.testing.replay.protocols.h2o import H2O, Opened
from penstock.types import ImagePart, Message, Part, TextPart

_LISTS = ("/api/v2/models", "/api/models")


class ChatUI(H2O):
    """Requests of today's chat-ui: the same paths as in 2023, other bodies."""

    provider: ClassVar[str] = "chatui"

    def derive(self, case: Case) -> Sequence[Step]:
        """As in 2023; a recording that only reads lists is asked for its models."""
        steps = super().derive(case)
        if steps:
            return steps
        for index, exchange in enumerate(case.exchanges):
            if exchange.request.path in _LISTS:
                access = self._access(exchange)
                return [Step(start=0, answer=index, access=access, call=ListModels())]
        return []

    def fields(self, request: Request) -> dict[str, object]:
        """Model and system text; question, parent and files of a message."""
        if request.method != "POST":
            return {}
        if request.path == "/conversation":
            body = read_json(request.content)
            return {name: body[name] for name in ("model", "preprompt") if body.get(name)}
        if not request.path.startswith("/conversation/") or request.path.count("/") > 2:
            return {}
        content_type = request.headers.get("content-type", "")
        if not content_type.startswith("multipart/"):
            return {"text": read_json(request.content).get("inputs")}
        form = read_form(content_type, request.content)
        data = read_json((form.first("data") or "").encode())
        found = {"text": data.get("inputs")}
        if data.get("id"):
            found["parent"] = data["id"]
        if form.files:
            found["files"] = [(file.field, file.name, file.data) for file in form.files]
        return found

    def repaired(self, case: Case, step: Step) -> str | None:
        """Section 9: what only the final answer has is shown where it starts with the stream."""
        expected = step.expected
        lines = case.exchanges[step.answer].response.unpacked.split(b"\n")
        streamed = "".join(
            str(line.get("token", "")).replace("\0", "")
            for line in map(read_json, lines)
            if line.get("type") == "stream"
        )
        if expected is None or expected.text != streamed or not expected.final_text:
            return None
        return expected.final_text if expected.final_text.startswith(streamed) else None

    def _opened(self, exchange: Exchange) -> Opened:
        opened = super()._opened(exchange)
        system = read_json(exchange.request.content).get("preprompt")
        return msgspec.structs.replace(opened, system=system or None)

    def _chat(self, exchange: Exchange, model: str, known: Opened | None) -> Chat:
        request = exchange.request
        form = read_form(request.header("content-type"), request.content)
        data: dict[str, Any] = read_json((form.first("data") or "").encode())
        text = str(data.get("inputs") or form.first("inputs") or "")
        content: str | tuple[Part, ...] = text
        if form.files:
            content = (TextPart(text), *map(_image, form.files))
        messages: tuple[Message, ...] = (Message(role="user", content=content),)
        if known is not None and known.system:
            messages = (Message(role="system", content=known.system), *messages)
        return Chat(model=model, messages=messages)


def _image(file: File) -> ImagePart:
    """Files travel as base64 under a name that says so (wire/h2o.md section 9)."""
    kind, separator, name = file.name.partition(";")
    if not separator or kind != "base64":
        return ImagePart(data=file.data, media_type=file.media_type, name=file.name)
    return ImagePart(data=b64decode(file.data), media_type=file.media_type, name=name)
