"""Dialect ``threads`` of 2026: ``/v4/threads/`` (wire/allenai.md section 4)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from penstock.sandbox.allenai import shapes, uploads
from penstock.sandbox.allenai.fields import Body, Reader, read_body
from penstock.sandbox.allenai.models import LIMITS, MODELS_2026
from penstock.sandbox.allenai.refusals import Refused, invalid
from penstock.sandbox.allenai.store import Message, Opts, User, finish
from penstock.sandbox.allenai.turns import (
    Asked,
    Turn,
    Wording,
    begin,
    checked_parent,
    prompt_tokens,
)
from penstock.sandbox.run import Run
from penstock.sandbox.script import ModelFailure, Thought
from penstock.sandbox.server import Stream, reply

if TYPE_CHECKING:
    from penstock.sandbox.allenai.server import AllenAIServer

LINES = {"Content-Type": "application/jsonl"}
MODELS = {one.id: one for one in MODELS_2026}
_WORDING = Wording("2.12", "'agent_id': None, 'max_steps': None}")
_TITLE = "CreateMessageRequest"
_PAGE = 10


class Failed(msgspec.Struct, frozen=True):
    """The error line that breaks a stream."""

    error: str
    reason: str = "Unknown error"


# Reasons of section 4.4 by name. The words that no recording has are ours; a crash says none.
_NAMED: Mapping[str, Failed | None] = {
    "crash": None,
    "length": Failed("This model's maximum context length is exceeded.", "length"),
    "value": Failed("max_tokens is too large for this model", "value error"),
    "tool-arguments": Failed("Unknown Error Expecting value: line 1 column 1 (char 0)"),
    "tool-limit": Failed("The limit of tool calls is reached", "tool error"),
}
# Of allenai-2026-unknown-tool-error-chunk.
_NO_TOOL = (
    "Could not find tool 'launch_rocket'. The model tried to call a tool that is not defined."
)


def failed(failure: ModelFailure, model: str) -> Failed | None:
    """Put a failure of the model in the words of this version (section 4.4), if it has any."""
    if failure.kind in _NAMED:
        return _NAMED[failure.kind]
    if failure.status is None:
        return Failed(f"Unknown Error {failure.message}")
    body = {"detail": failure.message}
    return Failed(
        f"http error: status_code: {failure.status}, model_name: {model}, body: {body}",
        "Model http error",
    )


def storable(text: str) -> bool:
    """Say whether the database takes a text: no U+0000, no half of a character."""
    return "\x00" not in text and not any("\ud800" <= one <= "\udfff" for one in text)


class _Tool(msgspec.Struct, frozen=True):
    """A tool as a thread shows it."""

    name: str
    description: str
    parameters: dict[str, object]
    toolSource: str = "user_defined"


# The server's own tools; no script calls one.
_TOOLS: Mapping[str, object] = {
    "create_random_number": msgspec.to_builtins(
        _Tool(
            "create_random_number",
            "Generates a random number between 1 and 10",
            {"additionalProperties": False, "properties": {}, "type": "object"},
            "internal",
        )
    )
}


class Threads:
    """The calls of the newer version."""

    def __init__(self, server: AllenAIServer) -> None:
        self._server = server

    async def post(self, request: web.Request) -> web.StreamResponse:
        """Answer a chat request; the credentials are judged before the body."""
        user = self._server.user(request)
        asked = asked_2026(await read_body(request))
        turn = self.begin(asked, user)
        async with self._server.stream(request, LINES) as out:
            await out.write(_typed("start", turn.head.id))
            await out.write(shapes.sorted_line(shapes.thread_2026(turn.messages)))
            await self._answer(out, turn)
        return out.response

    def begin(self, asked: Asked, user: User) -> Turn:
        """Make the messages of a turn, or refuse it."""
        server = self._server
        if asked.role in ("assistant", "system", "tool_call_result"):
            # No script calls a tool, so each result is one of an unknown call.
            raise Refused(500)
        parent = checked_parent(asked, server.store, user, _WORDING)
        model = MODELS.get(asked.model)
        if model is None:
            raise Refused(400, f"Invalid model {asked.model}")
        opts = _opts(asked, parent)
        uploads.check_2026(asked.files, model, followup=parent is not None)
        self._moderate(asked, user)
        if asked.template is not None or "\x00" in asked.content:
            raise Refused(500)
        if parent is not None:
            server.store.detach_followups(parent)
        turn = begin(asked, server.store, user, model=model, opts=opts, parent=parent)
        for message in turn.messages:
            if parent is None:  # a thread has its tools from its first message on, or never
                message.tools = asked.tools
            if message.role == "user" and message.file_urls is None:
                message.file_urls = []
        server.note_thread(turn.reply.root)
        return turn

    async def _answer(self, out: Stream, turn: Turn) -> None:
        failure = self._refused_by_host(turn)
        if failure is None:
            run = self._server.run(turn.prompt)
            try:
                await self._relay(out, turn, run)
            finally:
                run.cancel()
            if run.failure is not None and run.failure.kind == "tool-unknown":
                await self._unknown_tool(out, turn)
                return
            if run.failure is not None:
                failure = failed(run.failure, turn.reply.model.id)
            elif run.state == "finished" and storable(run.text):
                await self._end(out, turn, run)
                return
        if failure is not None:
            line = {"message": turn.reply.id, "error": failure.error, "reason": failure.reason}
            await out.write(shapes.sorted_line(line))
        if failure is _NAMED["tool-limit"]:
            await out.write(_typed("end", turn.head.id))
            return
        out.break_off()

    async def _unknown_tool(self, out: Stream, turn: Turn) -> None:
        """End in order; the text so far is lost (allenai-2026-unknown-tool-error-chunk)."""
        told = {
            "errorCode": "toolCallError",
            "errorDescription": _NO_TOOL,
            "errorSeverity": "error",
        }
        line = {"type": "error", "message": turn.reply.id, **told}
        await out.write(shapes.sorted_line(line))
        for message in turn.messages[:-1]:
            message.final = True
        shape = shapes.thread_2026(turn.messages)
        shown = shape["messages"]
        assert isinstance(shown, list)
        shown[-1].update(told)
        await out.write(shapes.sorted_line(shape))
        await out.write(_typed("end", turn.head.id))

    def _refused_by_host(self, turn: Turn) -> Failed | None:
        """Say why the model's host answers nothing at all."""
        host = turn.reply.model.host
        if host in self._server.options.dead_hosts:
            return Failed(f"Unknown Error Unsupported model host: {host}")
        wanted = turn.reply.opts.max_tokens
        if not self._server.overflows(turn.prompt, wanted):
            return None
        room, size = self._server.options.context, prompt_tokens(turn.prompt)
        return Failed(
            f"This model's maximum context length is {room} tokens. However, you requested "
            f"{size + wanted} tokens ({size} in the messages, {wanted} in the completion).",
            "length",
        )

    async def _relay(self, out: Stream, turn: Turn, run: Run) -> None:
        number = 0
        async for piece in run.follow(beat=self._server.options.read_timeout or None):
            if piece is None:
                run.cancel()
                continue
            if number == 0 and isinstance(piece, str) and piece:
                # The model's first event names its role and has an empty text.
                await out.write(_said(turn, ""))
            number += 1
            if isinstance(piece, Thought):
                line = {"type": "thinking", "content": piece.text, "id": None}
                await out.write(shapes.sorted_line({**line, "message": turn.reply.id}))
            else:
                await out.write(_said(turn, piece))

    async def _end(self, out: Stream, turn: Turn, run: Run) -> None:
        if self._server.store.find(turn.reply.id) is None:
            out.break_off()
            return
        settle(self._server, turn, run)
        await out.write(shapes.sorted_line(shapes.thread_2026(turn.messages)))
        await out.write(_typed("end", turn.head.id))

    async def read(self, request: web.Request) -> web.Response:
        """Give what is below a message, to anybody who knows its id."""
        self._server.user(request)
        message = self._server.store.find(request.match_info["id"])
        if message is None:
            raise Refused(404)
        return _sorted(shapes.thread_2026(self._server.store.below(message)))

    async def listed(self, request: web.Request) -> web.Response:
        """Give the user's threads, newest first."""
        user = self._server.user(request)
        limit, offset = page(request)
        roots = self._server.store.roots(user.id)
        shown = [self._server.store.below(one) for one in roots[offset : offset + limit]]
        meta = {"limit": limit, "offset": offset, "sort": None, "total": len(roots)}
        return _sorted({"meta": meta, "threads": [shapes.thread_2026(one) for one in shown]})

    def _moderate(self, asked: Asked, user: User) -> None:
        options, moderation = self._server.options, self._server.moderation
        if options.captcha and user.anonymous and asked.captcha in _JUDGED:
            raise Refused(400, _JUDGED[asked.captcha])
        if moderation.text(asked.content):
            raise Refused(400, "inappropriate_prompt_text")
        if moderation.upload(asked.files):
            raise Refused(400, "inappropriate_prompt_file")


# Tokens that stand for the judgements of the assessment service; every other one passes,
# and so does a missing one (section 4.5).
_JUDGED: dict[str | None, str] = {
    "invalid": "invalid_captcha",
    "bot": "failed_captcha_assessment",
}


def settle(server: AllenAIServer, turn: Turn, run: Run) -> None:
    """Store the answer of a run that ended well."""
    finish(turn.messages)
    turn.reply.content = run.text
    thought = "".join(one.text for one in run.pieces if isinstance(one, Thought))
    turn.reply.thinking = thought or None
    server.sign(turn.reply)


def page(request: web.Request) -> tuple[int, int]:
    """Give limit and offset of a list call."""
    take = Reader(Body(fields=dict(request.query)))
    limit, offset = take.whole("limit", least=0), take.whole("offset", least=0)
    if take.complaints:
        raise Refused(400)
    return (_PAGE if limit is None else limit), offset or 0


def _sorted(value: object) -> web.Response:
    return reply(200, json.dumps(value, sort_keys=True), "application/json")


def _typed(kind: str, message: str) -> bytes:
    return shapes.sorted_line({"message": message, "type": kind})


def _said(turn: Turn, text: str) -> bytes:
    line = {"type": "modelResponse", "content": text, "message": turn.reply.id}
    return shapes.sorted_line(line)


def asked_2026(body: Body, *, title: str = _TITLE) -> Asked:
    """Take the fields of a request.

    Raises:
        Refused: They do not fit.
    """
    take = Reader(body)
    model = take.text("model", required=True)
    content = take.text("content", least=1)
    role = take.word("role", ("user", "assistant", "system", "tool_call_result")) or "user"
    asked = Asked(
        model=model or "",
        content=(content or "").replace("\r\n", "\n"),
        parent=take.text("parent"),
        role=role,
        private=take.flag("private"),
        original=take.text("original"),
        template=take.text("template"),
        max_tokens=take.whole("max_tokens"),
        temperature=take.real("temperature"),
        top_p=take.real("top_p"),
        n=take.whole("n", least=1, most=1),
        logprobs=take.whole("logprobs", least=0, most=10),
        stop=take.texts("stop"),
        captcha=take.text("captcha_token", nullable=False),
        files=body.files,
        tools=_tools(take) if take.flag("enable_tool_calling") else (),
    )
    if content is None and take.texts("input_parts") is None and not take.complaints:
        take.complain("One of content or inputParts is required")
    if role == "tool_call_result" and take.text("tool_call_id") is None:
        take.complain("toolCallId is required for a tool result")
    if take.complaints:
        raise invalid(title, "2.12", take.complaints)
    return asked


def _tools(take: Reader) -> tuple[object, ...]:
    """Give the definitions of the tools that were selected or brought along."""
    selected = take.texts("selected_tools") or ()
    known = tuple(_TOOLS[name] for name in selected if name in _TOOLS)
    try:
        brought = msgspec.json.decode(take.text("tool_definitions") or "[]", type=list[_Tool])
    except msgspec.MsgspecError:
        take.complain("toolDefinitions is no list of tools")
        return known
    return (*known, *(msgspec.to_builtins(one) for one in brought))


def _opts(asked: Asked, parent: Message | None) -> Opts:
    """Fill up what was left out from the parent message, then check the model's limits."""
    given = {
        "temperature": asked.temperature,
        "top_p": asked.top_p,
        "max_tokens": asked.max_tokens,
    }
    for name, value in given.items():
        if value is None:
            continue
        if value > LIMITS[name].upper:
            raise _outside(name, "less", "upper", LIMITS[name].upper)
        if value < LIMITS[name].lower:
            raise _outside(name, "greater", "lower", LIMITS[name].lower)
    inherited = parent.opts if parent else Opts()
    return Opts(
        max_tokens=inherited.max_tokens if asked.max_tokens is None else asked.max_tokens,
        temperature=inherited.temperature if asked.temperature is None else asked.temperature,
        top_p=inherited.top_p if asked.top_p is None else asked.top_p,
        logprobs=asked.logprobs,
        stop=inherited.stop if asked.stop is None else asked.stop,
    )


def _outside(name: str, than: str, which: str, limit: float) -> Refused:
    return Refused(
        400,
        f"Default {name} must be {than} than or equal to the configured {which} limit of {limit}",
    )
