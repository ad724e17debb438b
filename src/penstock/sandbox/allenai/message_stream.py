"""Dialect ``message-stream`` of 2025: ``POST /v4/message/stream`` (wire/allenai.md section 3)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from penstock.sandbox.allenai import shapes, uploads
from penstock.sandbox.allenai.fields import Body, Reader, read_body
from penstock.sandbox.allenai.models import MODELS_2025, Model
from penstock.sandbox.allenai.refusals import Refused, invalid
from penstock.sandbox.allenai.store import Message, Opts, User, finish
from penstock.sandbox.allenai.turns import (
    Asked,
    Turn,
    Wording,
    begin,
    checked_parent,
    store_only,
)
from penstock.sandbox.run import Run
from penstock.sandbox.script import Piece
from penstock.sandbox.server import Stream, reply

if TYPE_CHECKING:
    from penstock.sandbox.allenai.server import AllenAIServer

LINES = {"Content-Type": "application/jsonl"}
_WORDING = Wording("2.10", "'files': None, 'captchaToken': None}")
_TITLE = "CreateMessageRequestV4"
_MODELS = {(one.id, one.host): one for one in MODELS_2025}
# The finish values that the server knows as failures, with the words of the recorded
# lines; `model overloaded` was not recorded, its words are ours.
_TROUBLE = {
    "length": (
        "the conversation is too large for the model to process, please shorten the "
        "conversation and try again"
    ),
    "unclosed stream": (
        "inference failed for an unknown reason: sometimes this happens when the prompt is too long"
    ),
    "aborted": "inference aborted for an unknown reason",
    "model overloaded": "no answer began in time: the model has too much to do",
}


class Outcome(msgspec.Struct, frozen=True):
    """How an answer ends on the wire (wire/allenai.md section 3.4).

    Attributes:
        finish: Finish reason of the final object.
        error: Text and reason of the error line before it, where there is one.
        broken: The body breaks off; no error line, no final object.
        mark: Whether an empty piece marks the end of the text.
    """

    finish: str | None = None
    error: tuple[str, str] | None = None
    broken: bool = False
    mark: bool = False


def outcome(run: Run, host: str) -> Outcome:
    """Decide how an ended run ends on the wire of a model on that host."""
    if run.state == "cancelled" or "\x00" in run.text:
        return Outcome(broken=True)
    if run.failure is not None and run.failure.kind in _NAMED:
        return _NAMED[run.failure.kind]
    if host != "inferd":
        # Only the gRPC host tells how an answer ended (allenai-2025-finish-null-modal).
        return Outcome(broken=run.state == "failed" or not run.pieces)
    if run.failure is not None:
        return Outcome(error=(f"inference failed: {run.failure.message}", "grpc inference failed"))
    return ended(run.finish or "stop", mark=True)


def ended(finish_reason: str, *, mark: bool) -> Outcome:
    """Decide how an answer with that finish reason ends."""
    words = _TROUBLE.get(finish_reason)
    error = (words, finish_reason) if words else None
    return Outcome(finish=finish_reason, error=error, mark=mark)


# What storing says when it fails was only read in the source; its words are ours.
_NAMED = {
    "length": ended("length", mark=True),
    "unclosed-stream": ended("unclosed stream", mark=True),
    "aborted": ended("aborted", mark=True),
    "overloaded": ended("model overloaded", mark=False),
    "finalization": Outcome(
        error=("the answer could not be stored", "finalization failure"), broken=True
    ),
    "crash": Outcome(broken=True),
}


class MessageStream:
    """The chat call of the older version."""

    def __init__(self, server: AllenAIServer) -> None:
        self._server = server

    async def post(self, request: web.Request) -> web.StreamResponse:
        """Answer a chat request; the body is judged before the credentials."""
        asked = _asked(await read_body(request))
        server = self._server
        user = server.user(request)
        parent = checked_parent(asked, server.store, user, _WORDING)
        model = _MODELS.get((asked.model, asked.host or ""))
        if model is None:
            raise Refused(400, f"Invalid model/host combination {asked.model}/{asked.host}")
        uploads.check_2025(asked.files, model, followup=parent is not None)
        self._moderate(asked)
        self._database(asked)
        opts = _opts(asked)
        if asked.role == "assistant":
            stored = store_only(asked, server.store, user, model=model, opts=opts, parent=parent)
            shape = shapes.message_2025(stored, None)
            return reply(200, json.dumps(shape, sort_keys=True), "application/json")
        return await self._answer(request, asked, user, model, opts, parent)

    async def _answer(
        self,
        request: web.Request,
        asked: Asked,
        user: User,
        model: Model,
        opts: Opts,
        parent: Message | None,
    ) -> web.StreamResponse:
        server = self._server
        turn = begin(asked, server.store, user, model=model, opts=opts, parent=parent)
        for message in turn.messages[:-1]:
            message.harmful = False
        server.note_thread(turn.reply.root)
        async with server.stream(request, LINES) as out:
            await out.write(shapes.line(shapes.chain_2025(turn.messages)))
            if server.overflows(turn.prompt):
                await self._end(out, turn, "", ended("length", mark=False))
                return out.response
            run = server.run(turn.prompt)
            try:
                late = await self._relay(out, turn, run)
                how = ended("model overloaded", mark=False) if late else outcome(run, model.host)
            finally:
                run.cancel()
            await self._end(out, turn, "".join(map(_text, run.pieces)), how)
        return out.response

    async def _relay(self, out: Stream, turn: Turn, run: Run) -> bool:
        """Send the pieces of a run; say whether its first one did not come in time."""
        logged, options, silent = turn.reply.opts.logprobs, self._server.options, 0.0
        async for piece in run.follow(beat=options.first_token):
            silent = silent + options.first_token if piece is None else 0.0
            if piece is None:
                if not run.pieces:
                    return True
                if 0 < options.read_timeout <= silent:
                    run.cancel()
                continue
            text = _text(piece)
            chances = [[_chance(text, rank) for rank in range(logged)]] if logged else []
            await out.write(_chunk(turn.reply.id, text, chances))
            if chances:
                turn.reply.logprobs = [*(turn.reply.logprobs or []), *chances]
        return False

    async def _end(self, out: Stream, turn: Turn, text: str, how: Outcome) -> None:
        """Send what follows the text. A broken turn leaves no text behind."""
        if how.mark:
            await out.write(_chunk(turn.reply.id, "", []))
        if how.error is not None:
            words, reason = how.error
            await out.write(
                shapes.line({"message": turn.reply.id, "error": words, "reason": reason})
            )
        if how.broken or self._server.store.find(turn.reply.id) is None:
            out.break_off()
            return
        finish(turn.messages)
        turn.reply.content = text
        turn.reply.finish_reason = how.finish
        turn.reply.logprobs = turn.reply.logprobs or []
        self._server.sign(turn.reply)
        await out.write(shapes.line(shapes.chain_2025(turn.messages)))

    def _moderate(self, asked: Asked) -> None:
        moderation = self._server.moderation
        if asked.role == "user" and (
            moderation.text(asked.content) or moderation.upload(asked.files)
        ):
            raise Refused(400, "inappropriate_prompt")

    def _database(self, asked: Asked) -> None:
        if asked.template is not None:
            raise Refused(400, f'template "{asked.template}" not found')
        if asked.original is not None and self._server.store.find(asked.original) is None:
            raise Refused(400, f'original "{asked.original}" not found')
        if "\x00" in asked.content:
            raise Refused(500)


def _text(piece: Piece) -> str:
    # This version knows no reasoning: what a model thinks aloud is text like any other.
    return piece if isinstance(piece, str) else piece.text


def _chance(text: str, rank: int) -> dict[str, object]:
    return {
        "token_id": 100 * rank + len(text),
        "text": text if rank == 0 else text[:1],
        "logprob": -0.1 - 2.4 * rank,
    }


def _chunk(ident: str, text: str, chances: list[list[dict[str, object]]]) -> bytes:
    return shapes.line({"message": ident, "content": text, "logprobs": chances})


def _asked(body: Body) -> Asked:
    take = Reader(body)
    model = take.text("model", required=True)
    host = take.text("host", required=True)
    content = take.text("content", required=True, least=1)
    asked = Asked(
        model=model or "",
        host=host,
        content=content or "",
        parent=take.text("parent"),
        role=take.word("role", ("user", "assistant", "system")) or "user",
        private=take.flag("private"),
        original=take.text("original"),
        template=take.text("template"),
        max_tokens=take.whole("max_tokens", least=1, most=2048),
        temperature=take.real("temperature", least=0, most=1, step=0.01),
        top_p=take.real("top_p", least=0.01, most=1, step=0.01),
        n=take.whole("n", least=1, most=1),
        logprobs=take.whole("logprobs", least=0, most=10),
        stop=take.texts("stop", in_json=False),
        captcha=take.text("captcha_token"),
        files=body.files,
    )
    if take.complaints:
        raise invalid(_TITLE, "2.10", take.complaints)
    return asked


def _opts(asked: Asked) -> Opts:
    plain = Opts()
    return Opts(
        max_tokens=plain.max_tokens if asked.max_tokens is None else asked.max_tokens,
        temperature=plain.temperature if asked.temperature is None else asked.temperature,
        top_p=plain.top_p if asked.top_p is None else asked.top_p,
        logprobs=asked.logprobs,
        stop=asked.stop or (),
    )
