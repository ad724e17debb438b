"""The Playground of 2025: failures, finishes and framing of wire/allenai.md section 3."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

from tests.testing.constructed.build import (
    HTML,
    JSON,
    Raw,
    answer,
    cut,
    exchange,
    failed,
    page,
    said,
)
from tests.testing.constructed.build import case as case_of
from tests.testing.constructed.playground import (
    ANONYMOUS,
    ASKED,
    HOST,
    LINES,
    OLD,
    REPLY,
    SYSTEM,
    line,
    old_ask,
    old_error,
    old_message,
    old_object,
    old_piece,
    old_stream,
    posted,
    refused,
)


def case(name: str, exchanges: Raw | list[Raw], expected: Raw, notes: str) -> Raw:
    listed = exchanges if isinstance(exchanges, list) else [exchanges]
    return case_of(f"made-allenai-2025-{name}", "allenai", listed, expected, notes)


def no_answer(kind: str, status: int, message: str) -> Raw:
    """A refusal: no pieces at all, no parent (wire/allenai.md section 9)."""
    return failed(kind, status, message, next_parent=None, text=None, pieces=None)


def cases() -> Iterator[Raw]:
    yield from finishes()
    yield from broken()
    yield from refusals()
    yield from requests()
    yield from threads()
    yield from framing()


def finishes() -> Iterator[Raw]:
    section = "wire/allenai.md section 3.4, "
    empty_final = old_object(final=True, finish="model overloaded")
    yield case(
        "overloaded",
        old_ask(old_stream(old_error("model overloaded", "model overloaded"), empty_final)),
        failed("overloaded", 200, "model overloaded", next_parent=REPLY),
        section + "row: no first token within 5 s",
    )
    yield case(
        "context-overflow",
        old_ask(
            old_stream(
                old_error("length", "prompt is too long"), old_object(final=True, finish="length")
            )
        ),
        failed("context_length", 200, "prompt is too long", next_parent=REPLY),
        section + "reason length with no text is a context overflow",
    )
    grpc = (
        "inference failed: <_MultiThreadedRendezvous of RPC that terminated with:\n"
        '\tstatus = StatusCode.UNAVAILABLE\n\tdetails = "ipv4:10.0.0.7:50051 refused"\n>'
    )
    yield case(
        "grpc-before-text",
        old_ask(old_stream(old_error("grpc inference failed", grpc), old_object(final=True))),
        failed("model", 200, grpc, next_parent=REPLY),
        section + "row: gRPC failure before tokens",
    )
    for finish in ("content_filter", "max_turns", "tool_calls"):
        yield case(
            f"finish-passed-{finish}",
            old_ask(
                old_stream(
                    old_piece("It"), old_piece(""), old_object("It", final=True, finish=finish)
                )
            ),
            said("It", "", finish=finish, next_parent=REPLY),
            section + "row: finish value unknown to the server",
        )
    for reason in ("aborted", "unclosed stream"):
        yield case(
            f"{reason.replace(' ', '-')}-without-text",
            old_ask(
                old_stream(
                    old_error(reason, f"inference {reason}"), old_object(final=True, finish=reason)
                )
            ),
            failed("model", 200, f"inference {reason}", next_parent=REPLY),
            section + f"row: {reason}, chunk lines maybe",
        )


def broken() -> Iterator[Raw]:
    section = "wire/allenai.md section 3.4, "
    cut_short = failed("truncated", 200, "", "Par", "tial", next_parent=REPLY, truncated=True)
    pieces = (old_piece("Par"), old_piece("tial"))
    for name, lines, note in (
        ("in-a-line", (*pieces, old_piece(" rest")[:31]), "sometimes in the middle of a line"),
        ("after-null", (*pieces, old_piece(None)), "section 3.2: null once, then broken"),
        ("in-final-object", (*pieces, old_object("Partial", final=True)[:900]), "cut final object"),
        ("by-read-timeout", pieces, "row: proxy read timeout"),
    ):
        yield case(
            f"broken-{name}", old_ask(old_stream(*lines, closed="reset")), cut_short, section + note
        )
    yield case(
        "finalization-failure",
        old_ask(old_stream(*pieces, old_error("finalization failure", "x"), closed="reset")),
        failed("model", 200, "x", "Par", "tial", next_parent=REPLY, truncated=True),
        section + "row: storing the result failed",
    )
    nothing = failed("truncated", 200, "", next_parent=REPLY, truncated=True)
    yield case(
        "broken-before-text",
        old_ask(old_stream(closed="reset")),
        nothing,
        section + "row: empty back-end stream",
    )
    yield case(
        "broken-in-opening-object",
        old_ask(answer(old_object()[:400], content_type=LINES, closed="reset")),
        nothing | {"next_parent": None},
        section + "broken before the reply's id is known",
    )
    yield case(
        "broken-at-once",
        old_ask(answer(content_type=LINES, closed="reset")),
        nothing | {"next_parent": None},
        section + "an empty body without its last chunk",
    )
    yield case(
        "clean-end-without-final",
        old_ask(old_stream(*pieces)),
        cut_short,
        "wire/allenai.md section 7, rule 13: a body without final is incomplete",
    )


def refusals() -> Iterator[Raw]:
    section = "wire/allenai.md section 3.7, "
    standard = "The browser (or proxy) sent a request that this server could not understand."
    rows: tuple[tuple[str, Raw, str, int, str], ...] = (
        ("template", refused(400, 'template "tmpl_X" not found'), "bad_request", 400, "template"),
        ("original", refused(400, 'original "msg_X" not found'), "bad_request", 400, "original"),
        ("bad-json", refused(400, standard), "bad_request", 400, "bad JSON"),
        (
            "field-too-long",
            refused(413, "The data value exceeds the capacity limit."),
            "too_large",
            413,
            "form field over 500,000 bytes",
        ),
        (
            "proxy-413",
            answer(page("413 Request Entity Too Large"), status=413, content_type=HTML),
            "too_large",
            413,
            "body over proxy limit",
        ),
        (
            "proxy-502",
            answer(page("502 Bad Gateway"), status=502, content_type=HTML),
            "server",
            502,
            "application down",
        ),
        (
            "proxy-504",
            answer(page("504 Gateway Time-out"), status=504, content_type=HTML),
            "server",
            504,
            "application down",
        ),
        ("app-500", refused(500, "Internal Server Error"), "server", 500, "other faults"),
        (
            "banned-403",
            answer(page("403 Forbidden"), status=403, content_type=HTML),
            "forbidden",
            403,
            "section 1: a list of banned addresses gets the proxy's own 403",
        ),
        (
            "html-401",
            answer(page("401 Unauthorized"), status=401, content_type=HTML),
            "auth",
            401,
            "section 2: HTML errors",
        ),
        (
            "html-400",
            answer(page("400 Bad Request"), status=400, content_type=HTML),
            "bad_request",
            400,
            "section 2: HTML errors",
        ),
        (
            "not-found-404",
            refused(404, "The requested URL was not found on the server."),
            "not_found",
            404,
            "wrong path",
        ),
    )
    for name, response, kind, status, note in rows:
        yield case(f"err-{name}", old_ask(response), no_answer(kind, status, ""), section + note)
    dump = "1 validation error for CreateMessageRequestV4\ncaptchaToken\n  Field required"
    yield case(
        "captcha-required",
        old_ask(refused(400, dump, (["captchaToken"], "Field required"))),
        no_answer("captcha", 400, dump),
        "wire/allenai.md section 1: with the switch on, a request without token fails with 400",
    )
    visibility = "Value error, visibility must be identical for all messages in a thread"
    yield case(
        "visibility",
        old_ask(refused(400, visibility, ([], visibility)), parent="msg_A1A1A1A1A1"),
        no_answer("bad_request", 400, visibility),
        section + "visibility differs from the thread",
    )
    bearer = (("Authorization", "Bearer eyJhbGciOiJSUzI1NiJ9.e30.c2ln"),)
    for name, headers in (("bearer", bearer), ("bearer-beside-anonymous", (*bearer, *ANONYMOUS))):
        yield case(
            f"err-{name}-401",
            old_ask(refused(401, "The server could not verify"), headers=headers),
            no_answer("auth", 401, "The server could not verify"),
            "wire/allenai.md section 2: Authorization present but expired",
        )


def requests() -> Iterator[Raw]:
    section = "wire/allenai.md section 3.1, "
    whole = old_stream(old_piece("b"), old_piece(""), old_object("b", final=True, finish="stop"))
    expected = said("b", "", next_parent=REPLY)
    fields = {"model": "tulu3-405b", "host": "inferd", "content": "Привет", "private": True}
    for name, kind, body, query in (
        ("json-body", JSON, json.dumps({**fields, "temperature": 0.2}), ""),
        ("query-string", None, "", "model=tulu3-405b&host=inferd&content=a%20b&private=true"),
    ):
        yield case(
            name,
            exchange(
                "POST",
                OLD,
                whole,
                host=HOST,
                query=query,
                headers=ANONYMOUS,
                content_type=kind,
                body=body,
            ),
            expected,
            section + "a JSON object body works too, and (without body) the query string",
        )
    for name, content in (
        ("space", " "),
        ("crlf", "a\r\n\r\nb\n"),
        ("quotes", 'say "--cut" \\ and \u2028 \U0001f642\u200d é'),
    ):
        yield case(f"content-{name}", old_ask(whole, content), expected, section + "field content")
    options = [
        ("temperature", "0.33"),
        ("top_p", "0.95"),
        ("max_tokens", "77"),
        ("stop", "END"),
        ("stop", "\n\n"),
        ("n", "1"),
        ("logprobs", "2"),
    ]
    given = [(name, str(value)) for name, value in fields.items() if name != "private"]
    yield case(
        "all-options", posted(OLD, [*given, *options], whole), expected, section + "all options"
    )
    yield case(
        "camel-case-names",
        old_ask(whole, maxTokens="5", topP="0.5"),
        expected,
        section + "field names may be snake_case or camelCase",
    )
    yield case(
        "image-odd-file-name",
        posted(
            OLD,
            {"model": "mm-olmo-uber-model-v4-synthetic", "host": "modal", "content": "What?"},
            old_stream(old_piece("b"), old_object("b", final=True)),
            files=[("a %22b%22.png", "image/png", "PNG bytes"), ("é.png", "image/png", "more")],
        ),
        said("b", next_parent=REPLY),
        section + "files, repeated; finish_reason null on the Modal host",
    )
    yield case(
        "signed-in",
        old_ask(whole, headers=[("Authorization", "Bearer aaa.bbb.ccc")]),
        expected,
        "wire/allenai.md section 2: a bearer token, no anonymous id",
    )


def threads() -> Iterator[Raw]:
    whole = old_stream(old_piece("b"), old_piece(""), old_object("b", final=True, finish="stop"))
    second = "msg_Z1Y2X3W4V5"
    broken_second = answer(
        old_object(reply=second), old_piece("ha", second), content_type=LINES, closed="reset"
    )
    third = "msg_U1T2S3R4Q5"
    again = answer(
        old_object(reply=third),
        old_piece("half", third),
        old_object("half", final=True, finish="stop", reply=third),
        content_type=LINES,
    )
    first_turn = said("b", "", next_parent=REPLY)
    cut_turn = failed("truncated", 200, "", "ha", next_parent=second, truncated=True)
    last_turn = said("half", next_parent=third)
    yield case(
        "broken-turn-retried",
        [
            old_ask(whole),
            old_ask(broken_second, "more", parent=REPLY),
            old_ask(again, "more", parent=REPLY),
        ],
        last_turn | {"turns": [first_turn, cut_turn, last_turn]},
        "wire/allenai.md section 7: retry a broken turn with that same parent",
    )
    deep = old_message(REPLY, "assistant", "", parent=ASKED)
    middle = old_message(ASKED, "user", "Hi", parent=SYSTEM, children=[deep], root=SYSTEM)
    opening = old_message(SYSTEM, "system", "Be brief", children=[middle], root=SYSTEM)
    deep_end = deep | {"content": "b", "final": True, "finish_reason": "stop"}
    closing = opening | {"final": True, "children": [middle | {"children": [deep_end]}]}
    deeper = answer(line(opening), old_piece("b"), line(closing), content_type=LINES)
    yield case(
        "system-prompt-then-follow-up",
        [old_ask(deeper), old_ask(again, "more", parent=REPLY)],
        last_turn | {"turns": [said("b", next_parent=REPLY), last_turn]},
        "wire/allenai.md section 7, rule 5: find the reply at any depth",
    )
    yield case(
        "role-system",
        old_ask(whole, "You are a pirate.", role="system"),
        first_turn,
        "wire/allenai.md section 3.6: accepted and immediately answered by the model",
    )
    yield case(
        "model-changes",
        [
            old_ask(whole),
            old_ask(again, "more", parent=REPLY, model="olmoe-0125", host="modal"),
        ],
        last_turn | {"turns": [first_turn, last_turn]},
        "wire/allenai.md section 3.3: model and host may change between turns",
    )
    gone = f"Value error, Parent message {REPLY} not found"
    yield case(
        "parent-expired",
        [old_ask(whole), old_ask(refused(400, gone, ([], gone)), "more", parent=REPLY)],
        no_answer("bad_request", 400, gone)
        | {"turns": [first_turn, no_answer("bad_request", 400, gone)]},
        "wire/allenai.md section 2: expire after 24 h, follow-ups 400",
    )


def framing() -> Iterator[Raw]:
    section = "wire/allenai.md section 3.2, "
    whole = old_object("Grüße", final=True, finish="stop")
    yield case(
        "unknown-lines",
        old_ask(
            old_stream(
                line({"heartbeat": 1}),
                old_piece("Grü", usage={"tokens": 1}),
                line({"type": "progress", "value": None}),
                old_piece("ße"),
                whole,
            )
        ),
        said("Grü", "ße", next_parent=REPLY),
        "wire/allenai.md section 7: ignore unknown line types and unknown fields",
    )
    body = old_object() + old_piece("Grü") + old_piece("ße") + whole
    for name, sizes in (("sevens", (7,)), ("4k", (4096,)), ("uneven", (1, 600, 3, 77))):
        yield case(
            f"reads-{name}",
            old_ask(answer(*cut(body, *sizes), content_type=LINES, pause=0.0)),
            said("Grü", "ße", next_parent=REPLY),
            section + "lines are split over reads at any byte",
        )
    pieces = ["\u2028", "\u0085x", "\v\f", "\x1c\x1d\x1e", "a\r\nb\rc", "\\n", "\x00" * 0, "\ufeff"]
    odd = "".join(pieces)
    yield case(
        "separators-in-text",
        old_ask(old_stream(*map(old_piece, pieces), old_object(odd, final=True, finish="stop"))),
        said(*pieces, next_parent=REPLY),
        "wire/allenai.md section 7: split on byte LF only",
    )
    long = "0123456789" * 7_000
    yield case(
        "70k-answer",
        old_ask(old_stream(old_piece(long), old_object(long, final=True, finish="stop"))),
        {
            "text": None,
            "pieces": None,
            "finish": "stop",
            "error": None,
            "text_sha256": hashlib.sha256(long.encode()).hexdigest(),
            "text_chars": len(long),
            "pieces_chars": [len(long)],
            "next_parent": REPLY,
        },
        "wire/allenai.md section 7, rule 8: no line limit",
    )
    tokens = ["Hi", " you"]
    odds = [[{"token_id": 1, "text": "Hi", "logprob": -0.5}]]
    yield case(
        "logprobs-nested",
        old_ask(
            old_stream(
                *(line({"message": REPLY, "content": t, "logprobs": odds}) for t in tokens),
                old_object("Hi you", final=True, finish="stop"),
            ),
            logprobs="1",
        ),
        said(*tokens, next_parent=REPLY),
        section + "chunk lines with nested lists",
    )
