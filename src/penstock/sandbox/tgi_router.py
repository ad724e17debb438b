"""The router of text-generation-inference (wire/h2o.md sections 4 and 5).

A value of its own, because it stands behind two servers: its own routes, and each model
of the 2023 chat-ui, which passes its answers on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping

import msgspec
from aiohttp import web

from penstock.sandbox.run import Run
from penstock.sandbox.script import ModelFailure, Piece, Prompt
from penstock.sandbox.server import Server, Stream, reply
from penstock.sandbox.tgi_frames import (
    KEEP_ALIVE,
    Call,
    Details,
    Limits,
    Refusal,
    Version,
    error_frame,
    invalid,
    token,
    token_frame,
)

CORS = {
    "access-control-allow-origin": "*",
    "vary": "origin, access-control-request-method, access-control-request-headers",
}
KEEP_ALIVE_AFTER = 15.0
_BUSY = frozenset({429, 503})
# Larger than 2^53 on purpose: readers that take numbers for doubles lose its end
# (h2o-details-eos).
_SEED = 14128712871241212345
_STATUSES: Mapping[str, int] = {
    "validation": 422,
    "generation": 424,
    "overloaded": 429,
    "incomplete_generation": 500,
}


class Failed(msgspec.Struct, frozen=True):
    """A failure in the router's own words."""

    message: str
    error_type: str


# Failures by name (wire/h2o.md section 5, c and d). The words after the fixed heads are ours.
_NAMED = {
    "overloaded": Failed("Model is overloaded", "overloaded"),
    "validation": Failed("Input validation error: `inputs` is not valid", "validation"),
    "incomplete": Failed("Incomplete generation", "incomplete_generation"),
}
_LOST = frozenset({"dropped", "cut-frame"})


class Router:
    """One model behind a router.

    Attributes:
        eos: Text of the token that ends an answer, and its id.
    """

    def __init__(
        self,
        *,
        eos: tuple[str, int] = ("<|endoftext|>", 11),
        limits: Limits | None = None,
        version: Version = "0.8.2",
        max_concurrent: int = 128,
        keep_alive: float = KEEP_ALIVE_AFTER,
    ) -> None:
        self.eos = eos
        self.limits = limits or Limits()
        self.version: Version = version
        self.keep_alive = keep_alive
        self._max_concurrent = max_concurrent
        self._busy = 0

    def refusal(self, call: Call) -> Failed | None:
        """Say why the call gets no generation: no free slot, or not valid."""
        if self._busy >= self._max_concurrent:
            return Failed("Model is overloaded", "overloaded")
        problem = invalid(call, self.limits)
        return None if problem is None else Failed(problem, "validation")

    def start(
        self, server: Server, prompt: Prompt, then: Callable[[Run], None] | None = None
    ) -> Run:
        """Start a generation in one of the slots; `then` as in `Server.run`."""
        self._busy += 1

        def ended(run: Run) -> None:
            self._busy -= 1
            if then is not None:
                then(run)

        return server.run(prompt, ended)

    async def relay(self, out: Stream, run: Run, call: Call) -> None:
        """Send the frames of a run. All that goes out of a generation goes through here.

        A cancelled run leaves the line without its last frame; how the connection then
        ends is the caller's choice.
        """
        async for data in self.frames(run, call):
            await out.write(data)

    async def frames(self, run: Run, call: Call) -> AsyncIterator[bytes]:
        """Give the frames of a run and its keep-alives, to its end."""
        number = 0
        async for piece in run.follow(beat=self.keep_alive):
            if piece is None:
                yield KEEP_ALIVE
                continue
            number += 1
            ends = number == len(run.pieces) and _ends_with_token(run)
            yield self._token(number, written(piece), run, call, last=ends)
            if ends:
                return
        if run.failure is not None and run.failure.kind in _LOST:
            if run.failure.kind == "cut-frame":
                whole = token_frame(number, token(number, " lost"), self.version)
                yield whole[: len(whole) // 2]
        elif run.state == "failed" and run.failure is not None:
            told = failed(run.failure, begun=number > 0)
            yield error_frame(told.message, told.error_type, self.version)
        elif run.state == "finished":
            yield self._end(number + 1, run, call)

    def _token(self, number: int, text: str, run: Run, call: Call, *, last: bool) -> bytes:
        shown = token(number - 1, text)
        if not last:
            return token_frame(number - 1, shown, self.version)
        reason = "length" if run.finish == "length" else "stop_sequence"
        return self._last(number, shown, run, call, reason)

    def _end(self, number: int, run: Run, call: Call) -> bytes:
        if run.finish == "length":
            # A backend says so only after its last piece, which is sent by then.
            return self._last(number, token(number - 1, ""), run, call, "length")
        text, ident = self.eos
        # When the last token allowed is the end token, the limit is named
        # (wire/h2o.md section 4, "limit met by EOS").
        reason = "length" if number == call.parameters.max_new_tokens else "eos_token"
        return self._last(number, token(number - 1, text, ident=ident), run, call, reason)

    def _last(
        self, number: int, shown: Mapping[str, object], run: Run, call: Call, reason: str
    ) -> bytes:
        details = details_of(call, reason, number) if call.parameters.details else None
        return token_frame(number - 1, shown, self.version, whole_text(run, call), details)


def written(piece: Piece) -> str:
    """Give a piece as a model's token: reasoning is text like any other."""
    return piece if isinstance(piece, str) else piece.text


def whole_text(run: Run, call: Call) -> str:
    """Give ``generated_text``: all tokens, after the prompt where that was asked for."""
    head = call.inputs if call.parameters.return_full_text else ""
    return head + "".join(map(written, run.pieces))


def details_of(call: Call, reason: str, tokens: int) -> Details:
    """Give the details; a seed is named only where the model sampled."""
    asked = call.parameters
    seed = (asked.seed if asked.seed is not None else _SEED) if asked.do_sample else None
    return Details(reason, tokens, seed)


def line_lost(run: Run) -> bool:
    """Whether the line is lost without a last frame: the run was stopped, or its router died."""
    died = run.failure is not None and run.failure.kind in _LOST
    return run.state == "cancelled" or died


def failed(failure: ModelFailure, *, begun: bool) -> Failed:
    """Give a model's failure in the router's words; busy is only said before a token."""
    if failure.kind in _NAMED:
        return _NAMED[failure.kind]
    if failure.status in _BUSY and not begun:
        return Failed("Model is overloaded", "overloaded")
    return Failed(f"Request failed during generation: {failure.message}", "generation")


def _ends_with_token(run: Run) -> bool:
    return run.state == "finished" and (run.finish == "length" or run.stopped_by is not None)


async def whole_answer(run: Run, call: Call) -> tuple[int, dict[str, object]]:
    """Wait for the end of a run and give status and JSON of an answer in one piece."""
    await run.wait()
    if run.state != "finished":
        told = Failed("Incomplete generation", "incomplete_generation")
        if run.failure is not None:
            told = failed(run.failure, begun=bool(run.pieces))
        return refused(told)
    answer: dict[str, object] = {"generated_text": whole_text(run, call)}
    if call.parameters.details:
        answer["details"] = _full_details(run, call)
    return 200, answer


def refused(told: Failed) -> tuple[int, dict[str, object]]:
    """Give status and JSON of a refusal outside a stream."""
    return _STATUSES[told.error_type], {"error": told.message, "error_type": told.error_type}


def _full_details(run: Run, call: Call) -> dict[str, object]:
    reason = "length" if run.finish == "length" else "eos_token"
    if run.stopped_by is not None:
        reason = "stop_sequence"
    short = details_of(call, reason, len(run.pieces) + (reason == "eos_token"))
    tokens = [token(number, written(piece)) for number, piece in enumerate(run.pieces)]
    built: dict[str, object] = msgspec.to_builtins(short)
    return {**built, "prefill": [], "tokens": tokens}


def refuse(refusal: Refusal) -> web.Response:
    """Answer with a refusal of axum's."""
    return reply(refusal.status, refusal.text, "text/plain; charset=utf-8", CORS)


def stream_headers(call: Call, version: Version) -> dict[str, str]:
    """Give the headers of a stream (wire/h2o.md section 4)."""
    headers = {
        **CORS,
        "Content-Type": "text/event-stream",
        "cache-control": "no-cache",
        "x-compute-type": "gpu+optimized",
        "x-compute-characters": str(len(call.inputs)),
    }
    if version != "0.8.2":
        headers["x-accel-buffering"] = "no"
    return headers


def timings(call: Call) -> dict[str, str]:
    """Give the headers of an answer in one piece (h2o-non-stream-json)."""
    return {
        "x-compute-type": "gpu+optimized",
        "x-compute-time": "0.001",
        "x-compute-characters": str(len(call.inputs)),
        "x-total-time": "1",
        "x-validation-time": "0",
        "x-queue-time": "0",
        "x-inference-time": "1",
        "x-time-per-token": "1",
    }
