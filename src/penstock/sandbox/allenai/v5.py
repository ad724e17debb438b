"""The newest application: whoami, and chat as read in its source (wire/allenai.md section 5).

Nothing of the chat was recorded: what is here follows the reading, line by line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from penstock.sandbox.allenai import shapes
from penstock.sandbox.allenai.fields import Reader, read_body
from penstock.sandbox.allenai.refusals import Complaint, Refused, invalid, problem
from penstock.sandbox.allenai.store import Message, User
from penstock.sandbox.allenai.threads import LINES, asked_2026, failed, settle, storable
from penstock.sandbox.allenai.turns import Asked, Turn
from penstock.sandbox.run import Run
from penstock.sandbox.script import Piece, Thought
from penstock.sandbox.server import Stream, reply

if TYPE_CHECKING:
    from penstock.sandbox.allenai.server import AllenAIServer

_TITLE = "ChatRequest"
_LATER_STATUS = 422  # where v4 says 400 for a body that does not fit


class V5:
    """The calls below ``/v5``."""

    def __init__(self, server: AllenAIServer) -> None:
        self._server = server

    async def whoami(self, request: web.Request) -> web.Response:
        """Say who asks."""
        user = self._user(request)
        told: dict[str, object] = {
            "id": None if user.anonymous else user.id,
            "client": user.id,
            "hasAcceptedTermsAndConditions": False,
            "hasAcceptedDataCollection": False,
            "hasAcceptedMediaCollection": False,
            "permissions": [],
        }
        return reply(200, msgspec.json.encode(told), "application/json")

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """Answer a chat request; where the server has no chat yet, 404."""
        if not self._server.options.v5:
            raise Refused(404, "Not Found")
        user = self._user(request)
        asked = await self._asked(request)
        turn = self._begin(asked, user)
        async with self._server.stream(request, LINES) as out:
            await self._answer(out, turn, followup=asked.parent is not None)
        return out.response

    async def _asked(self, request: web.Request) -> Asked:
        body = await read_body(request, urlencoded=True)
        take = Reader(body)
        # The role tells which kind of request it is, so it cannot be left out.
        take.text("role", required=True)
        if self._server.options.captcha:
            take.text("captcha_token", required=True)
        if take.complaints:
            raise invalid(_TITLE, "2.12", take.complaints)
        return asked_2026(body, title=_TITLE)

    def _begin(self, asked: Asked, user: User) -> Turn:
        if asked.private and asked.parent is not None:
            # Stored threads are never private, whatever was sent.
            raise invalid(
                _TITLE, "2.12", [Complaint(message="Visibility differs", field="private")]
            )
        turn = self._server.threads.begin(asked, user)
        for message in turn.messages:
            message.private = False
        return turn

    async def _answer(self, out: Stream, turn: Turn, *, followup: bool) -> None:
        root = turn.head.id
        await out.write(_line("start", root))
        opening = "addMessage" if followup else "startThread"
        await out.write(_thread(opening, root, turn.messages[:-1]))
        run = self._server.run(turn.prompt)
        try:
            await self._relay(out, turn, run)
        finally:
            run.cancel()
        if run.state == "cancelled":
            out.break_off()
            return
        await self._end(out, turn, run)

    async def _relay(self, out: Stream, turn: Turn, run: Run) -> None:
        first = True
        async for piece in run.follow():
            if piece is None:
                continue
            if first:
                first = False
                await out.write(_thread("addMessage", turn.head.id, [_begun(turn.reply, piece)]))
            elif isinstance(piece, Thought):
                await out.write(_line("thinking", turn.reply.id, content=piece.text, id=None))
            else:
                await out.write(_line("modelResponse", turn.reply.id, content=piece))

    async def _end(self, out: Stream, turn: Turn, run: Run) -> None:
        root = turn.head.id
        if run.failure is not None or not storable(run.text):
            words = failed(run.failure, turn.reply.model.id) if run.failure else None
            about_tool = run.failure is not None and run.failure.kind.startswith("tool-")
            await out.write(
                _line(
                    "error",
                    turn.reply.id,
                    errorCode="toolCallError" if about_tool else "otherError",
                    errorDescription=words.error if words else "Server error",
                    errorSeverity="error",
                )
            )
        else:
            settle(self._server, turn, run)
        await out.write(_thread("finalThread", root, turn.messages))
        await out.write(_line("end", root))

    def _user(self, request: web.Request) -> User:
        try:
            return self._server.user(request)
        except Refused as refused:
            # Bad credentials beside an anonymous id are passed over here, unlike in v4.
            anonymous = request.headers.get("x-anonymous-user-id")
            if anonymous is None:
                raise Refused(401, "Authentication required") from refused
            return User(anonymous)


def refusal(refused: Refused) -> web.Response:
    """Answer with a refusal of this application."""
    if refused.complaints:
        refused.status = _LATER_STATUS
    return problem(refused)


def _begun(message: Message, piece: Piece) -> Message:
    if isinstance(piece, Thought):
        return msgspec.structs.replace(message, thinking=piece.text)
    return msgspec.structs.replace(message, content=piece)


def _line(kind: str, message: str, **fields: object) -> bytes:
    return _written({"type": kind, "message": message, **fields})


def _thread(kind: str, root: str, messages: tuple[Message, ...] | list[Message]) -> bytes:
    return _written({"type": kind, "message": root, **shapes.thread_2026(messages)})


def _written(value: object) -> bytes:
    # Compact and in raw UTF-8, unlike the lines of v4.
    return msgspec.json.encode(value) + b"\n"
