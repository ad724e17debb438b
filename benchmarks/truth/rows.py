"""Every row of the truth table, in its order; each is one function of the gateway under test."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from typing import Any

from benchmarks.truth.asking import Answer
from benchmarks.truth.probing import Findings, Gateway, Row
from benchmarks.truth.upstream import FAILED, PIECES, REFUSED, RETRY_AFTER, SPACED

STATUSES = {
    400: (400,),
    401: (502,),
    403: (502,),
    404: (404,),
    408: (408,),
    422: (422,),
    429: (429,),
    500: (500, 502),
    503: (503,),
}
"""Status of the upstream -> what the caller may see.

Refusals of the gateway's own credential (401, 403) are no fault of the caller: they are those of a
broken upstream. A 500 may stay one.
"""

MEMBERS = {"message", "type", "param", "code"}
_COUNT = re.compile(r"attempt|retr(y|ies)")


def _is_error(found: Findings, what: str, answer: Answer) -> None:
    missing = sorted(MEMBERS - set(answer.error))
    found.expect(
        not missing, f"{what}: no error body in OpenAI's shape, without {', '.join(missing)}"
    )


# -- shape ---------------------------------------------------------------------------------------


async def request_id(gateway: Gateway, found: Findings) -> None:
    """Ids on a whole answer, on a stream, on a refusal; different ones; the caller's as well."""
    own = {"x-client-request-id": "truth-of-the-caller"}
    answers = {
        "whole": (await gateway.ask(headers=own)).answer,
        "stream": (await gateway.ask(headers=own, stream=True)).answer,
        "refusal": await gateway.send(b"{", headers=own),
        "failure": (await gateway.ask("status-500", headers=own)).answer,
    }
    ids = [answer.headers.get("x-request-id") for answer in answers.values()]
    for what, answer in answers.items():
        found.expect(answer.headers.get("x-request-id"), f"{what}: no x-request-id")
        found.expect(
            "truth-of-the-caller" in answer.headers.values(), f"{what}: the caller's id is lost"
        )
    found.expect(len(set(ids)) == len(ids), "the same id twice")
    found.saw.append(f"for instance {ids[0]}")


async def first_delta(gateway: Gateway, found: Findings) -> None:
    """The role comes first, with an empty content, and once."""
    answer = (await gateway.ask(stream=True)).answer
    deltas = [choice["delta"] for choice in answer.choices]
    found.expect(
        deltas and deltas[0].get("role") == "assistant" and deltas[0].get("content") == "",
        f"first delta {json.dumps(deltas[:1])}",
    )
    roles = sum("role" in delta for delta in deltas)
    found.expect(roles == 1, f"{roles} deltas with a role")


async def finish_reason(gateway: Gateway, found: Findings) -> None:
    """The key in every chunk, null before the last, a reason in the last."""
    choices = (await gateway.ask(stream=True)).answer.choices
    bare = sum("finish_reason" not in choice for choice in choices)
    found.expect(not bare, f"{bare} of {len(choices)} chunks without the key")
    reasons = [choice.get("finish_reason") for choice in choices]
    found.expect(
        reasons and reasons[-1] == "stop" and set(reasons[:-1]) <= {None}, f"reasons {reasons}"
    )


async def usage_unasked(gateway: Gateway, found: Findings) -> None:
    """No usage in a stream that did not ask for it."""
    answer = (await gateway.ask(stream=True)).answer
    count = sum(chunk.get("usage") is not None for chunk in answer.chunks)
    found.expect(not count, f"{count} chunks with usage")
    found.expect(answer.done, "no [DONE]")


async def include_usage(gateway: Gateway, found: Findings) -> None:
    """Usage in a last chunk without choices, null in all others."""
    answer = (await gateway.ask(stream=True, stream_options={"include_usage": True})).answer
    *others, last = answer.chunks
    usage: dict[str, Any] = last.get("usage") or {}
    found.expect(last.get("choices") == [], f"choices of the last chunk: {last.get('choices')}")
    found.expect(usage.get("total_tokens"), f"usage of the last chunk: {last.get('usage')}")
    bad = sum(chunk.get("usage", 0) is not None for chunk in others)
    found.expect(not bad, f"{bad} other chunks without usage: null")


async def leading_space(gateway: Gateway, found: Findings) -> None:
    """White space is text."""
    wanted = "".join(SPACED)
    for stream in (True, False):
        text = (await gateway.ask("space", stream=stream)).answer.text
        found.expect(text == wanted, f"{_form(stream)}: {text!r} instead of {wanted!r}")


# -- refusals ------------------------------------------------------------------------------------


async def statuses(gateway: Gateway, found: Findings) -> None:
    """Each refusal of the upstream, for a whole answer and for a stream."""
    for status, allowed in STATUSES.items():
        for stream in (False, True):
            answer = (await gateway.ask(f"status-{status}", stream=stream)).answer
            what = f"{status} {_form(stream)}"
            found.expect(answer.status in allowed, f"{what} became {answer.status}")
            _is_error(found, what, answer)
            said = str(answer.error.get("message"))
            found.expect(REFUSED.format(status) in said, f"{what}: its message is lost")


async def retry_after(gateway: Gateway, found: Findings) -> None:
    """The wait that the upstream asks for."""
    for status in (429, 503):
        for stream in (False, True):
            answer = (await gateway.ask(f"status-{status}", stream=stream)).answer
            wait = answer.headers.get("retry-after")
            found.expect(wait == str(RETRY_AFTER), f"{status} {_form(stream)}: retry-after {wait}")


async def hidden_retries(gateway: Gateway, found: Findings) -> None:
    """One request is one request, and a header tells how many were made."""
    counts: list[str] = []
    for script in ("status-500", "status-503", "status-429", "status-401", "early"):
        for stream in (False, True):
            answer, upstream = await gateway.ask(script, stream=stream)
            what = f"{script} {_form(stream)}"
            found.expect(len(upstream) == 1, f"{what}: {len(upstream)} requests upstream")
            counts = _counts(answer)
            found.expect(counts, f"{what}: no header tells the attempts")
    found.saw.append("told by " + ", ".join(counts) if counts else "told by no header")


def _counts(answer: Answer) -> list[str]:
    """The headers that count attempts or retries."""
    return [
        name
        for name, value in answer.headers.items()
        if _COUNT.search(name) and name not in {"retry-after", "x-should-retry"} and value.isdigit()
    ]


async def wrong_requests(gateway: Gateway, found: Findings) -> None:
    """Requests that are wrong, each with its status and the name of the field."""
    good, _ = gateway.question("hello")
    no_messages = {"model": good["model"]}
    wrong_type = {**good, "messages": 3}
    wrong_member = {**good, "temperature": "hot"}
    unknown = {**good, "model": "no-such-model"}
    cases: list[tuple[str, bytes, int, str | None]] = [
        ("invalid JSON", b'{"model": ', 400, None),
        ("missing field", json.dumps(no_messages).encode(), 400, "messages"),
        ("wrong type of messages", json.dumps(wrong_type).encode(), 400, "messages"),
        ("wrong type of temperature", json.dumps(wrong_member).encode(), 400, "temperature"),
        ("unknown model", json.dumps(unknown).encode(), 404, None),
    ]
    for what, body, status, param in cases:
        answer = await gateway.send(body)
        found.expect(answer.status == status, f"{what}: {answer.status}")
        _is_error(found, what, answer)
        if param is not None:
            told = answer.error.get("param")
            found.expect(told == param, f"{what}: param {told!r} instead of {param!r}")
    found.saw.append("400, 404 asked")
    await _keys(gateway, found, json.dumps(good).encode())


async def _keys(gateway: Gateway, found: Findings, body: bytes) -> None:
    if gateway.key is None:
        found.skipped = "401 not asked: the gateway wants no key"
        return
    for what, answer in (
        ("no key", await gateway.send(body, keyless=True)),
        ("wrong key", await gateway.send(body, key="truth-wrong-key")),
    ):
        found.expect(answer.status == 401, f"{what}: {answer.status}")
        _is_error(found, what, answer)
    found.saw.append("401 asked")


async def one_refusal(gateway: Gateway, found: Findings) -> None:
    """After refusals of one request, others are answered."""
    for script in ("status-401", "status-404"):
        for _ in range(6):
            await gateway.ask(script)
        answer = (await gateway.ask()).answer
        found.expect(answer.status == 200, f"{answer.status} after six times {script}")
        found.expect(answer.text == "".join(PIECES), f"{answer.text!r} after {script}")


# -- ends ----------------------------------------------------------------------------------------


async def early_end(gateway: Gateway, found: Findings) -> None:
    """A body that ends, or breaks, before the answer does."""
    for script in ("early", "cut"):
        answer = (await gateway.ask(script, stream=True)).answer
        _failed(found, script, answer)
        whole = (await gateway.ask(script)).answer
        found.expect(whole.status >= 500, f"{script} whole: {whole.status}")


async def error_inside(gateway: Gateway, found: Findings) -> None:
    """An error event of the upstream."""
    answer = (await gateway.ask("error", stream=True)).answer
    _failed(found, "error", answer)
    said = str((answer.failure or {}).get("message"))
    found.expect(FAILED in said, f"its message is lost: {said!r}")


def _failed(found: Findings, what: str, answer: Answer) -> None:
    """An error event after the text, no end mark, no finish."""
    found.expect(answer.failure, f"{what}: no error event")
    if answer.failure:
        missing = sorted(MEMBERS - set(answer.failure))
        found.expect(not missing, f"{what}: error event without {', '.join(missing)}")
    found.expect(not answer.done, f"{what}: [DONE]")
    reasons = [choice.get("finish_reason") for choice in answer.choices]
    found.expect(set(reasons) <= {None}, f"{what}: a clean end, {reasons[-1:]}")
    found.expect(answer.text == PIECES[0], f"{what}: text {answer.text!r}")


async def leaves_stream(gateway: Gateway, found: Findings) -> None:
    """Leaving a stream in the middle, and before its first byte."""
    await _leaves(gateway, found, ("stall", "silent"), stream=True)


async def leaves_plain(gateway: Gateway, found: Findings) -> None:
    """Leaving a whole answer that is not there yet."""
    await _leaves(gateway, found, ("silent",), stream=False)


async def _leaves(
    gateway: Gateway, found: Findings, scripts: Sequence[str], *, stream: bool
) -> None:
    for script in scripts:
        took = []
        for _ in range(3):
            seconds = await gateway.leave(script, stream=stream)
            if seconds is None:
                found.missed.append(f"{script}: the upstream is not told")
                break
            took.append(seconds)
        else:
            # The quickest of three: the machine may be busy, a poll once a second is no chance.
            best = min(took)
            found.expect(best <= gateway.leave_limit, f"{script}: after {best * 1e3:.1f} ms")
            found.saw.append(f"{script}: {best * 1e3:.1f} ms")


# -- callers -------------------------------------------------------------------------------------


async def apart(gateway: Gateway, found: Findings) -> None:
    """Two callers with the same system prompt: the upstream gets nothing of one from the other."""
    system = "You are a helpful assistant."
    every = await asyncio.gather(*(gateway.ask(system=system, user=name) for name in "ab"))
    every += [await gateway.ask(system=system, user=name) for name in "ab"]
    nonces = []
    for answer, upstream in every:
        found.expect(answer.status == 200, f"status {answer.status}")
        found.expect(len(upstream) == 1, f"{len(upstream)} requests upstream for one question")
        nonces.append(sorted(set(re.findall(r"truth:hello:(\w+)", upstream[0].said))))
        messages = upstream[0].body.get("messages") or ()
        found.expect(len(messages) <= 2, f"{len(messages)} messages upstream instead of 2")
    for told in nonces:
        found.expect(len(told) == 1, "a question of another caller went along")


def _form(stream: bool) -> str:
    return "stream" if stream else "whole"


ROWS = (
    Row("x-request-id on every answer", "the gateway's own; a caller's id is echoed", request_id),
    Row("first delta", 'role assistant with content "", role once', first_delta),
    Row("finish_reason before the last chunk", "null in each, key always there", finish_reason),
    Row("usage not asked for", "none sent", usage_unasked),
    Row("include_usage", "own chunk, choices [], others usage null", include_usage),
    Row("upstream 400 ... 503", "mapped, message kept", statuses),
    Row("Retry-After of the upstream", "reaches the caller", retry_after),
    Row("hidden retries", "none, and attempts counted in a header", hidden_retries),
    Row("wrong requests", "400, 400 + param, 404, 401, OpenAI's body", wrong_requests),
    Row("upstream ends early", "error event, no [DONE], no clean end", early_end),
    Row("error inside the stream", "error event with its message, no [DONE]", error_inside),
    Row("caller leaves a stream", "upstream closed within 0.2 s", leaves_stream),
    Row("caller leaves a plain request", "upstream closed within 0.2 s", leaves_plain),
    Row("leading space of the first token", "kept", leading_space),
    Row("two callers, same system prompt", "never share a conversation", apart),
    Row("one upstream 401 or 404", "hits that request alone", one_refusal),
)
