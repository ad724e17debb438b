"""How the 2023 chat-ui answers a message (wire/h2o.md sections 3 to 6).

The prompt goes to the model's router, whose answer goes to the client unchanged. The
run is independent of its reader: its text is stored at its end, whether or not the
client is still there; only a failed turn leaves no trace, neither question nor answer.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence

from aiohttp import web

from penstock.sandbox.h2o_state import (
    MODELS,
    Conversation,
    Post,
    Stored,
    chat,
    prompt_text,
    stored_text,
    to_router,
)
from penstock.sandbox.run import Run
from penstock.sandbox.script import Prompt
from penstock.sandbox.server import Server, reply
from penstock.sandbox.tgi_frames import Call, Refusal, error_frame, parse_call
from penstock.sandbox.tgi_router import (
    CORS,
    Router,
    line_lost,
    refuse,
    refused,
    stream_headers,
    timings,
    whole_answer,
)
from penstock.sandbox.web_form import JSON_TYPE, compact

# The marker of stop-generating lives 30 s and is swept once a minute; until then a
# second stop changes nothing (wire/h2o.md section 6).
_MARKER_LIFE = 60.0

_BAD_GATEWAY = (
    "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n"
    "<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n"
    "</body>\r\n</html>\r\n"
)


class Answers:
    """The routers behind the models, and what runs on them."""

    def __init__(self, server: Server, max_concurrent: int, keep_alive: float) -> None:
        self._server = server
        self._completed: dict[str, list[float]] = {}
        self._runs: dict[str, set[Run]] = {}
        self._routers = {
            model.ident: Router(eos=model.eos, max_concurrent=max_concurrent, keep_alive=keep_alive)
            for model in MODELS
        }

    def completed(self, owner: str, window: float) -> int:
        """Count the answers a session got to their end in the last `window` seconds."""
        since = time.monotonic() - window
        return sum(one > since for one in self._completed.get(owner, ()))

    def stop(self, conversation: Conversation, now: float) -> None:
        """Cut what runs in the conversation, unless the marker of an earlier stop lives."""
        marked = conversation.stopped_at
        if marked is None or now - marked > _MARKER_LIFE:
            conversation.stopped_at = now
            for run in list(self._runs.get(conversation.ident, ())):
                run.cancel()

    async def answer(
        self,
        request: web.Request,
        conversation: Conversation,
        post: Post,
        cookie: Mapping[str, str],
    ) -> web.StreamResponse:
        """Answer a message as the model's router does."""
        before = conversation.before(post.options.id, retry=post.options.is_retry)
        question = Stored("user", post.inputs, post.options.id or str(uuid.uuid4()))
        history = [*before, question]
        sent = to_router(await request.read(), prompt_text(history, conversation.model))
        call = parse_call(sent, request.headers["content-type"])
        if isinstance(call, Refusal):
            return refuse(call)
        router = self._routers[conversation.model.ident]
        if conversation.model.root_route and not call.stream:
            return await self._whole(router, conversation, history, call, post)
        headers = {**stream_headers(call, router.version), **cookie}
        async with self._server.stream(request, headers) as out:
            failed = router.refusal(call)
            if failed is not None:
                await out.write(error_frame(failed.message, failed.error_type, router.version))
                return out.response
            run = self._start(router, conversation, history, call, post)
            await router.relay(out, run, call)
            if line_lost(run):
                out.break_off()
        return out.response

    async def _whole(
        self,
        router: Router,
        conversation: Conversation,
        history: Sequence[Stored],
        call: Call,
        post: Post,
    ) -> web.Response:
        failed = router.refusal(call)
        if failed is not None:
            status, answer = refused(failed)
        else:
            run = self._start(router, conversation, history, call, post)
            status, answer = await whole_answer(run, call)
        headers = {**CORS, **(timings(call) if status == 200 else {})}
        return reply(status, compact([answer] if status == 200 else answer), JSON_TYPE, headers)

    def _start(
        self,
        router: Router,
        conversation: Conversation,
        history: Sequence[Stored],
        call: Call,
        post: Post,
    ) -> Run:
        running = self._runs.setdefault(conversation.ident, set())

        def ended(run: Run) -> None:
            running.discard(run)
            if run.state == "failed":
                return
            if run.state == "finished":
                self._completed.setdefault(conversation.owner, []).append(time.monotonic())
            text = stored_text(run.text, call.parameters.stop)
            ident = post.options.response_id or str(uuid.uuid4())
            conversation.messages = [*history, Stored("assistant", text, ident)]

        prompt = Prompt(
            messages=chat(history),
            model=conversation.model.ident,
            max_tokens=call.parameters.max_new_tokens,
            stop=call.parameters.stop,
        )
        run = router.start(self._server, prompt, ended)
        running.add(run)
        return run


def passed_on(which: str, model: str) -> web.Response | None:
    """Give the answer of a model's host that is no router's, as the app passes it on.

    Args:
        which: Its name among the values of the fault ``upstream``; a host that refuses the
            connection gives none.
        model: The model's id.
    """
    match which:
        case "401":
            told = {"error": "Authorization header is correct, but the token seems invalid"}
            return reply(401, compact(told), JSON_TYPE)
        case "415":
            words = "Expected request with `Content-Type: application/json`"
            return reply(415, words, "text/plain; charset=utf-8", CORS)
        case "422":
            words = "Failed to deserialize the JSON body into the target type"
            return reply(422, words, "text/plain; charset=utf-8", CORS)
        case "502":
            return reply(502, _BAD_GATEWAY, "text/html")
        case "503":
            words = f"Model {model} is currently loading"
            return reply(503, compact({"error": words, "estimated_time": 20.0}), JSON_TYPE)
        case _:
            return None
