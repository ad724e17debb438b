"""The Playground of 2026: failures, tools, thinking and parents of wire/allenai.md section 4."""

from __future__ import annotations

import json
from collections.abc import Iterator

from tests.testing.constructed.build import HTML, Raw, answer, cut, failed, page, said
from tests.testing.constructed.build import case as case_of
from tests.testing.constructed.playground import (
    ANONYMOUS,
    ASKED,
    END,
    LINES,
    NEW,
    REPLY,
    START,
    SYSTEM,
    line,
    new_ask,
    new_message,
    new_piece,
    new_stream,
    new_whole,
    old_error,
    posted,
    refused,
    thought,
    thread,
    turn,
    typed,
)

RESULT, SECOND = "msg_T1O2O3L4R5", "msg_B2C3D4E5F6"


def case(name: str, exchanges: Raw | list[Raw], expected: Raw, notes: str) -> Raw:
    listed = exchanges if isinstance(exchanges, list) else [exchanges]
    return case_of(f"made-allenai-2026-{name}", "allenai", listed, expected, notes)


def no_answer(kind: str, status: int, message: str) -> Raw:
    """A refusal: no pieces at all, no parent (wire/allenai.md section 9)."""
    return failed(kind, status, message, next_parent=None, text=None, pieces=None)


def told(*pieces: str, thinking: str = "", parent: str = REPLY, **more: str) -> Raw:
    """A whole answer."""
    return said(*pieces, next_parent=parent, thinking=thinking, **more)


def lost(kind: str, message: str, *pieces: str, **more: object) -> Raw:
    """A stream that broke."""
    found = failed(kind, 200, message, *pieces, next_parent=REPLY, thinking="", truncated=True)
    return found | more


def cases() -> Iterator[Raw]:
    yield from failures()
    yield from tools()
    yield from text()
    yield from refusals()
    yield from threads()
    yield from version_five()


def failures() -> Iterator[Raw]:
    section = "wire/allenai.md section 4.4, "
    some = ("", "Once ", "upon")
    pieces = [new_piece(text) for text in some]
    rows = (
        ("value-error", "value error", "max_tokens must be less than 4096", "model"),
        ("model-http-error", "Model http error", "http error: status_code: 429", "model"),
        ("unknown-error-without-text", "Unknown error", "Unknown Error ", "model"),
        ("length", "length", "maximum context length is 4096 tokens", "context_length"),
    )
    for name, reason, text, kind in rows:
        yield case(
            name,
            new_ask(new_stream(old_error(reason, text), closed="reset")),
            lost(kind, text),
            section + f"reason {reason}",
        )
    yield case(
        "unknown-error-after-text",
        new_ask(new_stream(*pieces, old_error("Unknown error", "Unknown Error "), closed="reset")),
        lost("model", "Unknown Error ", *some),
        section + "texts start `Unknown Error ` and may stop there",
    )
    yield case(
        "unknown-error-orderly-end",
        new_ask(new_stream(*pieces, old_error("Unknown error", "Unknown Error reset"))),
        lost("model", "Unknown Error reset", *some, truncated=False),
        section + "the untyped error line does end the stream",
    )
    for name, lines, shown in (
        ("by-proxy", pieces, some),
        ("in-a-line", [*pieces, new_piece(" a time")[:40]], some),
        ("before-text", [], ()),
        ("in-thread-object", [*pieces, turn("Once upon", final=True)[:500]], some),
    ):
        yield case(
            f"broken-{name}",
            new_ask(new_stream(*lines, closed="reset")),
            lost("truncated", "", *shown),
            section + "row: proxy read timeout",
        )
    yield case(
        "broken-after-thread-object",
        new_ask(new_stream(*pieces, turn("Once upon", final=True), closed="reset")),
        lost("truncated", "", *some),
        "wire/allenai.md section 6: complete when `end`",
    )
    yield case(
        "clean-end-without-end",
        new_ask(new_stream(*pieces)),
        lost("truncated", "", *some),
        "wire/allenai.md section 7, rule 13",
    )
    halves = ("", "Hi ", "\ud83d", "\ude42", "!")
    yield case(
        "halves-then-broken",
        new_ask(new_stream(*map(new_piece, halves), closed="reset")),
        lost("truncated", "", *halves),
        section + "lone surrogates: all pieces, no error line, broken",
    )
    yield case(
        "halves-in-a-whole-answer",
        new_ask(new_stream(*map(new_piece, halves), turn("Hi \U0001f642!", final=True), END)),
        told(*halves),
        section + "join as UTF-16 before encoding",
    )


def tools() -> Iterator[Raw]:
    section = "wire/allenai.md section 4.2, "
    offered: Raw = {
        "enableToolCalling": "true",
        "toolDefinitions": json.dumps(
            [{"name": "weather", "description": "d", "parameters": {"type": "object"}}]
        ),
    }
    call = {"toolCallId": "call_1", "toolName": "weather", "toolSource": "user_defined"}
    rest = {"toolCallId": "call_1", "toolName": "", "toolSource": None}
    calls = (typed("toolCall", args='{"city', **call), typed("toolCall", args='": "Ulm"}', **rest))
    called = [{**call, "args": {"city": "Ulm"}}]
    asked_tool = new_ask(
        new_stream(
            new_piece(""),
            new_piece("Let me see."),
            *calls,
            turn("Let me see.", final=True, toolCalls=called),
            END,
        ),
        **offered,
    )
    yield case(
        "client-tool-after-text",
        asked_tool,
        said("", "Let me see.", finish="tool_calls", next_parent=REPLY, thinking=""),
        "wire/allenai.md section 4.4: client-side tool called",
    )
    described = "Could not find tool 'x'"
    typed_error = typed(
        "error", errorCode="toolCallError", errorDescription=described, errorSeverity="error"
    )
    yield case(
        "tool-not-enabled",
        new_ask(new_stream(new_piece(""), typed_error, turn("", errorCode="toolCallError"), END)),
        failed("model", 200, described, "", next_parent=REPLY, thinking=""),
        "wire/allenai.md section 4.4: tool unknown or not enabled",
    )
    yield case(
        "tool-arguments-no-json",
        new_ask(
            new_stream(calls[0], old_error("Unknown error", "Unknown Error EOF"), closed="reset"),
            **offered,
        ),
        lost("model", "Unknown Error EOF"),
        "wire/allenai.md section 4.4: tool arguments not JSON",
    )
    rounds = list(ten_rounds())
    yield case(
        "ten-tool-rounds",
        new_ask(
            new_stream(*rounds, old_error("tool error", "Tool call limit reached"), END),
            enableToolCalling="true",
            selectedTools="create_random_number",
        ),
        failed(
            "model",
            200,
            "Tool call limit reached",
            *(f"try {n} " for n in range(10)),
            thinking="",
        ),
        section + "ten rounds is the limit (error line, reason `tool error`, then `end`)",
    )


def ten_rounds() -> Iterator[str]:
    """Pieces, call, result and the next empty reply, growing each round."""
    messages = [new_message(ASKED, "user", "Hi there")]
    for number in range(10):
        reply, result = f"msg_R{number}A1B2C3D4", f"msg_S{number}A1B2C3D4"
        call = {"toolCallId": f"call_{number}", "toolName": "create_random_number"}
        text = f"try {number} "
        yield new_piece(text, reply)
        yield typed("toolCall", reply, args="{}", toolSource="internal", **call)
        called = [{**call, "args": {}, "toolSource": "internal"}]
        messages.append(new_message(reply, "assistant", text, toolCalls=called, final=True))
        messages.append(new_message(result, "tool_call_result", "7", toolCalls=called))
        yield thread(*messages)
        following = f"msg_R{number + 1}A1B2C3D4"
        yield thread(*messages, new_message(following, "assistant", ""))


def text() -> Iterator[Raw]:
    section = "wire/allenai.md section 4.2, "
    yield case(
        "thinking-only",
        new_ask(new_stream(thought("Let me"), thought(" see."), turn("", final=True), END)),
        told(thinking="Let me see."),
        section + "thinking is not part of the answer",
    )
    tags = ("<think>", "hid", "den</think>", "shown")
    yield case(
        "thinking-tags-in-text",
        new_ask(new_whole(*tags)),
        told("", *tags),
        section + "otherwise they stay in the text",
    )
    yield case(
        "content-with-newlines-in-front",
        new_ask(
            new_stream(
                new_piece(""), thought("hm"), new_piece("42"), turn("\n\n42", final=True), END
            )
        ),
        told("", "42", thinking="hm"),
        section + "the finished content is not always the join: trust the pieces",
    )
    yield case(
        "unknown-lines",
        new_ask(
            new_stream(
                new_piece(""),
                line({"notice": "x"}),
                typed("usage", tokens=3),
                typed("modelResponse", content="Hi", extra={"a": 1}),
                line({"type": "later", "message": None, "content": "not shown"}),
                turn("Hi", final=True),
                END,
            )
        ),
        told("", "Hi"),
        "wire/allenai.md section 7: ignore unknown line types and unknown fields",
    )
    whole = "Zoë \U0001f469\u200d\U0001f680 \u2028 \u0085 end"
    body = START + turn() + new_piece("") + new_piece(whole) + turn(whole, final=True) + END
    for name, sizes in (("elevens", (11,)), ("uneven", (1, 900, 2, 33))):
        yield case(
            f"reads-{name}",
            new_ask(answer(*cut(body, *sizes), content_type=LINES, pause=0.0)),
            told("", whole),
            section + "same framing as in 2025",
        )
    late = answer(
        START,
        turn(),
        new_piece("late"),
        turn("late", final=True),
        END,
        content_type=LINES,
        pause=6.5,
    )
    yield case(
        "first-text-after-6s",
        new_ask(late),
        told("late"),
        "wire/allenai.md section 4.4: no 5 s rule",
    )
    yield case("empty-answer", new_ask(new_whole()), told(""), "wire/allenai.md section 7, rule 4")


def refusals() -> Iterator[Raw]:
    section = "wire/allenai.md section 4.5, "
    forbidden = "You don't have the permission to access the requested resource."
    rows: tuple[tuple[str, Raw, str, int, str], ...] = (
        ("moderated-text", refused(400, "inappropriate_prompt_text"), "moderation", 400, "text"),
        ("moderated-file", refused(400, "inappropriate_prompt_file"), "moderation", 400, "file"),
        ("captcha-invalid", refused(400, "invalid_captcha"), "captcha", 400, "captcha"),
        ("captcha-bot", refused(400, "failed_captcha_assessment"), "captcha", 400, "captcha"),
        ("permission", refused(403, forbidden), "forbidden", 403, "permission"),
        ("template", refused(500, "Internal Server Error"), "server", 500, "unknown `template`"),
        (
            "top-p",
            refused(400, "Default top_p must be greater than or equal to 0.01"),
            "bad_request",
            400,
            "option outside the model's limits",
        ),
        ("files", refused(400, "Unsupported file types in input"), "bad_request", 400, "file"),
        ("model", refused(400, "Invalid model Olmo-3-7B-Instruct"), "unknown_model", 400, "model"),
        (
            "proxy-413",
            answer(page("413 Request Entity Too Large"), status=413, content_type=HTML),
            "too_large",
            413,
            "section 1: body limit 100 MB",
        ),
        (
            "proxy-502",
            answer(page("502 Bad Gateway"), status=502, content_type=HTML),
            "server",
            502,
            "section 7: treat 502 as HTML",
        ),
        (
            "proxy-503",
            answer(page("503 Service Unavailable"), status=503, content_type=HTML),
            "server",
            503,
            "section 7: treat 503 as HTML",
        ),
        (
            "proxy-504",
            answer(page("504 Gateway Time-out"), status=504, content_type=HTML),
            "server",
            504,
            "section 7: treat 504 as HTML",
        ),
    )
    for name, response, kind, status, note in rows:
        yield case(f"err-{name}", new_ask(response), no_answer(kind, status, ""), section + note)
    null = "1 validation error for CreateMessageRequest\ncaptchaToken\n  Input should be a string"
    yield case(
        "captcha-null",
        new_ask(refused(400, null, (["captchaToken"], "Input should be a valid string"))),
        no_answer("captcha", 400, null),
        section + "captcha token missing ... JSON null: 400",
    )
    yield case(
        "bypass-safety-403",
        new_ask(refused(403, forbidden), bypassSafetyCheck="true"),
        no_answer("forbidden", 403, forbidden),
        "wire/allenai.md section 4.1: true needs a permission, else 403",
    )
    bearer = (("Authorization", "Bearer eyJhbGciOiJSUzI1NiJ9.e30.c2ln"), *ANONYMOUS)
    yield case(
        "expired-bearer-beside-anonymous",
        new_ask(refused(401, "The server could not verify"), headers=bearer),
        no_answer("auth", 401, "The server could not verify"),
        "wire/allenai.md section 2: 401, even beside a valid anonymous id",
    )


def threads() -> Iterator[Raw]:
    first = new_whole("one")
    followed = answer(
        START,
        thread(
            new_message("msg_U9V8W7X6Y5", "user", "more", parent=REPLY, children=[SECOND]),
            new_message(SECOND, "assistant", "", parent="msg_U9V8W7X6Y5"),
        ),
        new_piece("two", SECOND),
        thread(
            new_message("msg_U9V8W7X6Y5", "user", "more", parent=REPLY, final=True),
            new_message(SECOND, "assistant", "two", parent="msg_U9V8W7X6Y5", final=True),
        ),
        END,
        content_type=LINES,
    )
    turns = [told("", "one"), told("two", parent=SECOND)]
    yield case(
        "follow-up",
        [new_ask(first), new_ask(followed, "more", parent=REPLY)],
        turns[1] | {"turns": turns},
        "wire/allenai.md section 4.3: id of the last message of the last thread object",
    )
    detached = typed("start", "msg_D1E2T3A4C5")
    lonely = answer(
        detached,
        thread(
            new_message("msg_U9V8W7X6Y5", "user", "more", parent=REPLY),
            new_message(SECOND, "assistant", ""),
        ),
        new_piece("who?", SECOND),
        thread(
            new_message("msg_U9V8W7X6Y5", "user", "more", parent=REPLY, final=True),
            new_message(SECOND, "assistant", "who?", final=True),
        ),
        typed("end", "msg_D1E2T3A4C5"),
        content_type=LINES,
    )
    lonely_turn = told("who?", parent=SECOND)
    yield case(
        "detached-branch",
        [new_ask(first), new_ask(lonely, "more", parent=REPLY)],
        lonely_turn | {"turns": [turns[0], lonely_turn]},
        "wire/allenai.md section 4.3: works without error, start.message differs",
    )
    system = answer(
        typed("start", SYSTEM),
        thread(
            new_message(SYSTEM, "system", "Be brief", children=[ASKED]),
            new_message(ASKED, "user", "Hi there", parent=SYSTEM, children=[REPLY]),
            new_message(REPLY, "assistant", "", parent=ASKED),
        ),
        new_piece("ok"),
        thread(
            new_message(SYSTEM, "system", "Be brief", final=True),
            new_message(ASKED, "user", "Hi there", final=True),
            new_message(REPLY, "assistant", "ok", final=True),
        ),
        typed("end", SYSTEM),
        content_type=LINES,
    )
    yield case(
        "system-prompt",
        new_ask(system),
        told("ok"),
        "wire/allenai.md section 4.2: first turn [system,] user, assistant",
    )
    gone = answer(
        status=308,
        headers=[("Location", "http://olmo-api.allen.ai/v4/threads/")],
        content_type=HTML,
    )
    yield case(
        "redirect-http-location",
        [
            posted(NEW.rstrip("/"), {"model": "Olmo-3-7B-Instruct", "content": "x"}, gone),
            posted(NEW, {"model": "Olmo-3-7B-Instruct", "content": "x"}, first),
        ],
        turns[0],
        "wire/allenai.md section 4.1: behind no TLS proxy the Location says `http`",
    )
    options = [
        ("temperature", "0"),
        ("topP", "0.333"),
        ("maxTokens", "9"),
        ("stop", "a"),
        ("stop", "b"),
        ("n", "1"),
    ]
    yield case(
        "options",
        posted(NEW, [("model", "Olmo-3-7B-Instruct"), ("content", "x"), *options], first),
        turns[0],
        "wire/allenai.md section 4.1: limits per model, no step check",
    )
    point = json.dumps({"type": "point", "x": 1, "y": 2, "time": 0.5, "label": "a"})
    yield case(
        "input-parts",
        new_ask(first, "Where?", inputParts=point),
        turns[0],
        "wire/allenai.md section 4.1, inputParts",
    )
    yield case(
        "extra-parameters",
        new_ask(first, "x", extraParameters=json.dumps({"seed": 7}), host="anything"),
        turns[0],
        "wire/allenai.md section 4.1, extraParameters; host is ignored",
    )


def version_five() -> Iterator[Raw]:
    section = "wire/allenai.md section 5, "
    fields = {"model": "Olmo-3-7B-Instruct", "role": "user", "content": "Grüße?"}

    def raw(kind: str, **more: object) -> str:
        return json.dumps({"type": kind, **more}, ensure_ascii=False, separators=(",", ":")) + "\n"

    user = {"id": ASKED, "role": "user", "content": "Grüße?"}
    stream = (
        raw("start", message=ASKED),
        raw("startThread", message=ASKED, id=ASKED, messages=[user]),
        raw(
            "addMessage",
            message=REPLY,
            id=ASKED,
            messages=[{"id": REPLY, "role": "assistant", "content": "Grü", "parent": ASKED}],
        ),
        raw("modelResponse", message=REPLY, content="ße\u2028 \U0001f642"),
        raw(
            "finalThread",
            message=ASKED,
            id=ASKED,
            messages=[
                user,
                {"id": REPLY, "role": "assistant", "content": "Grüße\u2028 \U0001f642"},
            ],
        ),
        raw("end", message=ASKED),
    )
    yield case(
        "v5-first-piece-in-message",
        posted("/v5/threads/chat", fields, answer(*stream, content_type=LINES)),
        said("Grü", "ße\u2028 \U0001f642", next_parent=REPLY),
        section + "addMessage whose message already contains the first piece",
    )
    problem = {
        "type": "about:blank",
        "title": "Validation Error",
        "status": 422,
        "detail": "Request validation failed",
        "errors": [{"type": "missing", "loc": ["body", "model"], "msg": "Field required"}],
    }
    for status, kind in ((422, "bad_request"), (403, "forbidden"), (401, "auth")):
        yield case(
            f"v5-problem-{status}",
            posted(
                "/v5/threads/chat",
                fields,
                answer(
                    json.dumps(problem | {"status": status}),
                    status=status,
                    content_type="application/problem+json",
                ),
            ),
            no_answer(kind, status, "Request validation failed"),
            section + "errors before the stream",
        )
