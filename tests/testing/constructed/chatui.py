"""Today's chat-ui: lines, surprises and refusals of wire/h2o.md section 9."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from tests.testing.constructed.build import (
    HTML,
    JSON,
    TEXT,
    Headers,
    Raw,
    answer,
    compact,
    cut,
    exchange,
    failed,
    page,
    said,
)
from tests.testing.constructed.build import case as case_of

HOST = "chat.example.org"
MODEL = "h2oai/h2ogpt-4096-llama2-13b-chat"
CHAT = "6b00e63f1e8869ece49896fb"
ROOT = "9c3aece2-ad81-4343-834f-0190fc9ff284"
ANSWERED = "3f25177a-1374-4313-b24e-6b63263bee64"
SET = [("set-cookie", "hf-chat=03f1d383; Path=/; HttpOnly; Secure; SameSite=None")]
BLANKS = " " * 4096
FEWER = " " * 64
"""Enough for most cases: each byte travels alone once."""


def case(name: str, exchanges: Sequence[Raw], expected: Raw, notes: str) -> Raw:
    return case_of(f"made-chatui-{name}", "chatui", exchanges, expected, notes)


def call(
    method: str,
    path: str,
    response: Raw,
    body: str = "",
    content_type: str | None = None,
    headers: Headers = (),
) -> Raw:
    """One call with cookie."""
    sent = [("Accept", "*/*"), ("Cookie", "hf-chat=03f1d383"), *headers]
    return exchange(
        method, path, response, host=HOST, headers=sent, body=body, content_type=content_type
    )


def opened(response: Raw | None = None, **more: str) -> Raw:
    """POST /conversation; the stored conversation comes back as a string of superjson."""
    stored = {"json": {"rootMessageId": ROOT, "id": CHAT, "messages": []}, "meta": {"v": 1}}
    told = compact({"conversationId": CHAT, "conversation": compact(stored)})
    body = compact({"model": MODEL, **more})
    return call("POST", "/conversation", response or answer(told, headers=SET), body, JSON)


def asked(
    *lines: str | bytes,
    response: Raw | None = None,
    text: str = "Hi",
    parent: str = ROOT,
    closed: str = "clean",
) -> Raw:
    """POST of a message as the multipart field ``data``."""
    given = response or answer(*lines, content_type="application/jsonl", headers=SET, closed=closed)
    data = {"inputs": text, "id": parent, "is_retry": False, "generationId": ANSWERED}
    body = (
        '--cut\r\nContent-Disposition: form-data; name="data"\r\n\r\n'
        f"{json.dumps(data, ensure_ascii=False)}\r\n--cut--\r\n"
    )
    return call(
        "POST",
        f"/conversation/{CHAT}",
        given,
        body,
        "multipart/form-data; boundary=cut",
        [("Origin", f"https://{HOST}")],
    )


def deleted(status: int = 200) -> Raw:
    """DELETE of the conversation."""
    return call("DELETE", f"/conversation/{CHAT}", answer(status=status, content_type=None))


def visit(*asks: Raw) -> list[Raw]:
    """Conversation, messages, DELETE."""
    return [opened(), *asks, deleted()]


# -- lines ---------------------------------------------------------------------------------------


def line(kind: str, **fields: Any) -> str:
    """One object and its LF."""
    return compact({"type": kind, **fields}) + "\n"


def status(value: str, **more: Any) -> str:
    """A status line."""
    return line("status", status=value, **more)


def piece(text: str) -> str:
    """A token, padded with NUL to 16 UTF-16 units."""
    units = len(text.encode("utf-16-le")) // 2
    return line("stream", token=text + "\0" * max(16 - units, 0))


def final(text: str, *, interrupted: bool = False) -> str:
    """The whole answer, and blanks in front of what follows."""
    return line("finalAnswer", text=text, interrupted=interrupted) + FEWER


STARTED, ALIVE, FINISHED = status("started"), status("keepAlive"), status("finished")
TITLE = line("title", title="Friendly greeting")


def whole(*pieces: str, text: str | None = None) -> tuple[str, ...]:
    """The lines of a good run."""
    ending = "".join(pieces).rstrip() if text is None else text
    return (STARTED, ALIVE, *map(piece, pieces), TITLE, final(ending), FINISHED)


def good(*pieces: str, text: str | None = None, finish: str | None = "stop", at: int = 1) -> Raw:
    """An answer that ended well."""
    ending = "".join(pieces).rstrip() if text is None else text
    told = said(*pieces, finish=finish, final_text=ending, exchange=at)
    return told | {"title": "Friendly greeting", "cleanup_delete": True}


def bad(kind: str, code: int, text: str, *pieces: str, at: int = 1, deletes: bool = True) -> Raw:
    """An answer that failed."""
    more = {"final_text": None, "title": None, "exchange": at, "cleanup_delete": deletes}
    return failed(kind, code, text, *pieces) | more


def cases() -> Iterator[Raw]:
    yield from lines()
    yield from surprises()
    yield from broken()
    yield from refusals()
    yield from turns()


def lines() -> Iterator[Raw]:
    section = "wire/h2o.md section 9, the answer: "
    three = ("Hello", " Zoë", "!")
    text = "".join(three)
    shown = tuple(map(piece, three))
    yield case(
        "title-after-final",
        visit(asked(STARTED, *shown, final(text), TITLE, FINISHED)),
        good(*three),
        section + "title at any place, also after finalAnswer",
    )
    routed = line("routerMetadata", route="", model="", provider="")
    yield case(
        "router-metadata-empty",
        visit(asked(STARTED, routed, *shown, final(text), routed, FINISHED)),
        good(*three),
        section + "routerMetadata may be empty strings",
    )
    yield case(
        "many-keep-alives",
        visit(asked(STARTED, *(ALIVE * 30 + item for item in shown), final(text), FINISHED)),
        good(*three),
        section + "status keepAlive every 100 ms",
    )
    yield case(
        "blanks-before-lines",
        visit(
            asked(
                STARTED,
                BLANKS + shown[0],
                BLANKS,
                *shown[1:],
                final(text),
                BLANKS + TITLE,
                BLANKS + FINISHED,
            )
        ),
        good(*three),
        section + "strip blanks before parsing",
    )
    body = "".join((STARTED, *shown, final(text), FINISHED))
    for name, sizes in (("fives", (5,)), ("uneven", (1, 60, 4096, 3))):
        yield case(
            f"reads-{name}",
            visit(asked(*cut(body, *sizes))),
            good(*three),
            section + "one JSON object per LF",
        )
    long = ("A token that is longer than sixteen units", "\U0001f642" * 8, "\U0001f642" * 7, "")
    yield case(
        "padding",
        visit(asked(*whole(*long))),
        good(*long),
        section + "padded with NUL to 16 UTF-16 units; longer ones as they are",
    )
    yield case(
        "nul-of-the-model",
        visit(asked(STARTED, piece("a\0b"), final("ab"), FINISHED)),
        good("ab"),
        section + "the web page removes all NUL",
    )
    odd = ("\u2028", "\u0085", "\r\n", "\v", '{"type":"status"}\n', "x")
    yield case("separators", visit(asked(*whole(*odd))), good(*odd), section + "JSONL")
    later = (
        line("tool", subtype="call", uuid="x"),
        line("file", name="a.png", sha="x", mime="image/png"),
        line("elicitation", id="x"),
        line("later", anything=[1]),
    )
    yield case(
        "other-types",
        visit(asked(STARTED, *later, *shown, *later, final(text), FINISHED)),
        good(*three),
        section + "reasoning, tool, file, elicitation exist",
    )


def surprises() -> Iterator[Raw]:
    section = "wire/h2o.md section 9, surprises: "
    half, rest = ("The", " half"), " rest"
    yield case(
        "final-longer",
        visit(asked(*whole(*half, text="The half and more."))),
        good(*half, text="The half and more."),
        section + "when finalAnswer starts with the streamed text, emit the rest",
    )
    yield case(
        "final-longer-after-blank",
        visit(asked(*whole(*half, " ", text="The half  ok"))),
        good(*half, " ", text="The half  ok"),
        section + "finalAnswer starts with the streamed text",
    )
    yield case(
        "final-only",
        visit(asked(STARTED, final("All at once."), FINISHED)),
        {**good(text="All at once."), "text": "", "pieces": []},
        section + "text inside the chunk that carries finish_reason is never streamed",
    )
    yield case(
        "final-differs",
        visit(asked(*whole(*half, text="Something else"))),
        good(*half, text="Something else") | {"stream_mismatch": True},
        section + "else there is a mismatch to report",
    )
    doubled = (*half, *half, rest)
    yield case(
        "silent-re-run",
        visit(asked(*whole(*doubled, text="The half rest"))),
        good(*doubled, text="The half rest") | {"stream_mismatch": True},
        section + "silent re-run: only finalAnswer is right",
    )
    yield case(
        "double-failure",
        visit(asked(STARTED, *map(piece, (*half, *half)), status("error", message="terminated"))),
        bad("model", 200, "terminated", *half, *half),
        section + "the half text stands there twice and a status/error follows",
    )
    yield case(
        "no-final-answer",
        visit(asked(STARTED, *map(piece, half), TITLE, FINISHED)),
        good(*half, finish=None) | {"final_text": None},
        section + "finish_reason other than stop/length, or none: just finished",
    )
    yield case(
        "interrupted",
        visit(asked(STARTED, *map(piece, half), final("The half", interrupted=True), FINISHED)),
        good(*half, finish="cancelled"),
        section + "stop: finalAnswer interrupted=true with the text so far",
    )
    nothing = "No output was generated. Something went wrong."
    yield case(
        "blank-answer",
        visit(
            asked(STARTED, piece("  "), piece("\n"), final(""), status("error", message=nothing))
        ),
        bad("model", 200, nothing, "  ", "\n"),
        section + "an answer of white space only: finalAnswer with empty text, then status/error",
    )
    for code, words, kind in (
        (401, "401 Incorrect API key provided", "auth"),
        (403, "403 Forbidden", "forbidden"),
        (429, "429 Rate limit reached", "rate_limited"),
        (400, "400 Invalid value for temperature", "bad_request"),
        (500, "500 Internal Server Error", "server"),
        (502, "502 Bad Gateway", "server"),
        (503, "503 Service Unavailable", "overloaded"),
        (504, "504 Gateway Timeout", "server"),
    ):
        yield case(
            f"upstream-{code}",
            visit(asked(STARTED, ALIVE, status("error", message=words, statusCode=code))),
            bad(kind, 200, words),
            "wire/h2o.md section 9, status error: statusCode is the upstream status",
        )


def broken() -> Iterator[Raw]:
    section = "wire/h2o.md section 9, status finished: last line of every good run"
    some = (STARTED, piece("The"), piece(" end"))
    for name, given, closed in (
        ("reset", some, "reset"),
        ("reset-in-a-line", (*some, piece(" x")[:20]), "reset"),
        ("orderly", some, "clean"),
    ):
        yield case(
            f"broken-{name}",
            visit(asked(*given, closed=closed)),
            bad("truncated", 200, "", "The", " end"),
            section,
        )
    yield case("broken-at-once", visit(asked(closed="reset")), bad("truncated", 200, ""), section)


def refusals() -> Iterator[Raw]:
    section = "wire/h2o.md section 9, refusals"
    oops = compact({"message": "An error occurred", "errorId": ANSWERED})
    away = [("location", "https://login.example.org/authorize?client_id=x")]
    for name, response, kind, code in (
        ("302", answer(status=302, headers=away, content_type=None), "auth", 302),
        ("401", answer("You have to be logged in.", status=401, content_type=TEXT), "auth", 401),
        (
            "429",
            answer(
                compact(
                    {
                        "message": "You have reached the maximum number of "
                        "conversations. Delete some to continue."
                    }
                ),
                status=429,
            ),
            "rate_limited",
            429,
        ),
        ("500", answer(oops, status=500), "server", 500),
        ("502", answer(page("502 Bad Gateway"), status=502, content_type=HTML), "server", 502),
    ):
        yield case(
            f"create-{name}", [opened(response)], bad(kind, code, "", at=0, deletes=False), section
        )
    for name, response, kind, code in (
        (
            "400-length",
            answer(compact({"message": "Message too long."}), status=400),
            "too_large",
            400,
        ),
        ("401", answer(compact({"error": "You have to be logged in."}), status=401), "auth", 401),
        (
            "403",
            answer("Cross-site POST form submissions are forbidden", status=403, content_type=TEXT),
            "forbidden",
            403,
        ),
        (
            "404",
            answer(compact({"message": "Conversation not found"}), status=404),
            "not_found",
            404,
        ),
        (
            "410",
            answer(compact({"message": "Model not available anymore"}), status=410),
            "unknown_model",
            410,
        ),
        (
            "413",
            answer(compact({"message": "File too large, should be <10MB"}), status=413),
            "too_large",
            413,
        ),
        (
            "429",
            answer(
                compact({"message": "You are sending too many messages. Try again later."}),
                status=429,
            ),
            "rate_limited",
            429,
        ),
        ("500", answer(oops, status=500), "server", 500),
    ):
        yield case(f"message-{name}", visit(asked(response=response)), bad(kind, code, ""), section)


def turns() -> Iterator[Raw]:
    def message(identifier: str, role: str, content: str, above: list[str]) -> Raw:
        return {"id": identifier, "from": role, "content": content, "ancestors": above}

    question = "278ade0a-1f09-4fef-9bf7-04ce9e083d57"
    tree = {
        "json": {
            "id": CHAT,
            "rootMessageId": ROOT,
            "messages": [
                message(ROOT, "system", "", []) | {"children": [question]},
                message(question, "user", "Hi", [ROOT]) | {"children": [ANSWERED]},
                message(ANSWERED, "assistant", "One.", [ROOT, question]) | {"children": []},
            ],
        },
        "meta": {"v": 1},
    }
    looked = call("GET", f"/api/v2/conversations/{CHAT}", answer(compact(tree)))
    second = asked(*whole("Two."), text="And then?", parent=ANSWERED)
    yield case(
        "two-turns",
        visit(asked(*whole("One.")), looked, second),
        good("Two.", at=3)
        | {"turns": [{"exchange": 1, "text": "One."}, {"exchange": 3, "text": "Two."}]},
        "wire/h2o.md section 9: take the id from GET /api/v2/conversations/{id}",
    )
    yield case(
        "system-prompt",
        [opened(preprompt="Be brief."), asked(*whole("One.")), deleted()],
        good("One."),
        "wire/h2o.md section 9, calls: preprompt",
    )
    oops = answer(compact({"message": "An error occurred", "errorId": ANSWERED}), status=500)
    yield case(
        "no-parent-500",
        visit(asked(response=oops, parent="")),
        bad("server", 500, ""),
        "wire/h2o.md section 9, data: without it, or with an unknown one, 500",
    )
    events = answer(
        'id: 1\nevent: end\ndata: {"status":"completed"}\n\n', content_type="text/event-stream"
    )
    attached = call("GET", f"/conversation/{CHAT}/stream", events)
    yield case(
        "reattached-later",
        visit(asked(*whole("One.")), attached),
        good("One."),
        "wire/h2o.md section 9, calls: SSE log of a run",
    )
    yield case(
        "delete-404",
        [opened(), asked(*whole("One.")), deleted(404)],
        good("One."),
        "wire/h2o.md section 9, calls: DELETE 404",
    )
    stop = call("POST", f"/conversation/{CHAT}/stop-generating", answer(content_type=None))
    yield case(
        "client-leaves",
        visit(asked(STARTED, piece("One"), piece(" two"), piece(" three"), closed="client"), stop),
        said("One", " two", finish="cancelled", exchange=1, cleanup_delete=True),
        "wire/h2o.md section 9, surprises: disconnect does not stop the run; stop-generating does",
    )
