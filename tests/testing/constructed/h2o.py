"""chat-ui of mid-2023: frames, last frames, errors of three levels (wire/h2o.md 2 to 6)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tests.testing.constructed.build import (
    HTML,
    JSON,
    TEXT,
    Raw,
    answer,
    compact,
    cut,
    failed,
    page,
    said,
)
from tests.testing.constructed.build import case as case_of
from tests.testing.constructed.tgi import (
    CHAT,
    EOS,
    HOST,
    LLAMA,
    PARAMETERS,
    SET,
    asked,
    call,
    data,
    deleted,
    frame,
    last,
    opened,
    settings,
    stopped,
    trouble,
    visit,
)


def case(name: str, exchanges: Sequence[Raw], expected: Raw, notes: str) -> Raw:
    return case_of(f"made-h2o-{name}", "h2o", exchanges, expected, notes)


def good(*pieces: str, final: str | None = None, finish: str | None = "stop", at: int = 2) -> Raw:
    """An answer that ended well."""
    whole = "".join(pieces) if final is None else final
    told = said(*pieces, finish=finish, final_text=whole)
    return told | {"exchange": at, "cleanup_delete": True}


def bad(kind: str, status: int, text: str, *pieces: str, at: int = 2, deletes: bool = True) -> Raw:
    """An answer that failed."""
    more = {"final_text": None, "exchange": at, "cleanup_delete": deletes}
    return failed(kind, status, text, *pieces) | more


def cases() -> Iterator[Raw]:
    yield from framing()
    yield from endings()
    yield from told_in_the_stream()
    yield from refused_early()
    yield from passed_through()
    yield from turns()
    yield from beside_the_chat()


def framing() -> Iterator[Raw]:
    section = "wire/h2o.md section 4, row "
    three = (" Hello", " Zoë", "!")
    whole = "".join(three)
    objects = [*(data(text) for text in three), data(EOS, whole, special=True)]
    rows = (
        ("space", "data: {}\n\n", "framing: axum 0.7 writes `data: `"),
        ("crlf", "data:{}\r\n\r\n", "framing: accept CR LF"),
        ("space-crlf", "data: {}\r\n\r\n", "framing: accept both, and CR LF"),
        ("keep-alive", ":\n\ndata:{}\n\n", "keep-alive: a comment of a lone colon"),
        ("keep-alive-after", "data:{}\n\n:\n\n", "keep-alive"),
    )
    for name, form, note in rows:
        body = "".join(form.replace("{}", item) for item in objects)
        yield case(f"framing-{name}", visit(asked(body)), good(*three), section + note)
    mixed = "".join(rows[0][1].replace("{}", item) for item in objects)
    yield case(
        "framing-cut",
        visit(asked(*cut(mixed, 1, 90, 2, 17))),
        good(*three),
        section + "network chunks have no relation to frames",
    )
    body = "".join(f"data:{item}\n\n" for item in objects)
    for name, ended in (("no-blank-line", body[:-1]), ("no-line-end", body[:-2])):
        yield case(
            f"last-frame-{name}",
            visit(asked(ended)),
            good(*three),
            "wire/h2o.md section 10, row 6: last frame without LF",
        )
    indexed = [frame(text, index=n) for n, text in enumerate(three)]
    yield case(
        "index-member",
        visit(asked(*indexed, last(whole, index=3, extra={"a": [1]}))),
        good(*three),
        section + "index: ignore unknown members",
    )
    odd = (" a\u2028b", "\u2029", "\u0085", "\v\f\x1c", "data:x", "\r\n", "\\u00e9", "\ufeff")
    yield case(
        "raw-separators",
        visit(asked(*map(frame, odd), last("".join(odd)))),
        good(*odd),
        section + "JSON text: only LF ends a line; section 10 row 8: text with `data:`",
    )
    bits = ("", "", " \U0001f469\u200d\U0001f680", "", " 日")
    yield case(
        "empty-tokens",
        visit(asked(*map(frame, bits), last("".join(bits)))),
        good(*filter(None, bits), final="".join(bits)),
        section + "empty token text: drop, do not yield",
    )


def endings() -> Iterator[Raw]:
    section = "wire/h2o.md section 4, row "
    detailed = {**PARAMETERS, "details": True}
    one = frame(" one")
    yield case(
        "generated-text-empty",
        visit(asked(last(""))),
        good(final=""),
        section + 'generated_text may be "": test for null, not for truth',
    )
    full = {**PARAMETERS, "return_full_text": True}
    yield case(
        "return-full-text",
        visit(asked(one, last("<|prompt|>Hi<|endoftext|><|answer|> one"), parameters=full)),
        good(" one", final="<|prompt|>Hi<|endoftext|><|answer|> one"),
        section + "with return_full_text=true it starts with the whole prompt; tokens do not",
    )
    for name, frames, finish in (
        ("normal-token", (one, frame(" two", " one two")), "length"),
        ("special-token", (one, last(" one")), "stop"),
    ):
        pieces = (" one", " two") if finish == "length" else (" one",)
        yield case(
            f"no-details-{name}",
            visit(asked(*frames)),
            good(*pieces, finish=finish),
            section + "without details",
        )
    stops = {**PARAMETERS, "stop": [" two", "END"]}
    yield case(
        "no-details-stop-text",
        visit(asked(one, frame(" two", " one two"), parameters=stops)),
        good(" one", " two"),
        section + "without details: unless the text ends with one of the sent `stop` strings",
    )
    yield case(
        "no-details-stop-text-elsewhere",
        visit(asked(frame(" two"), frame(" one", " two one"), parameters=stops)),
        good(" two", " one", finish="length"),
        section + "without details",
    )
    for reason, finish in (("length", "length"), ("stop_sequence", "stop")):
        yield case(
            f"details-{reason}",
            visit(asked(one, frame(" x", " one x", details=stopped(reason)), parameters=detailed)),
            good(" one", " x", finish=finish),
            section + "details",
        )
    yield case(
        "details-limit-met-by-eos",
        visit(asked(one, last(" one", details=stopped("length", seed=None)), parameters=detailed)),
        good(" one", finish="length"),
        section + "limit met by EOS: `length` although the token is special",
    )
    for name, details in (("", None), ("-details", stopped("eos_token"))):
        whole = f" one{EOS}"
        yield case(
            f"eos-not-flagged{name}",
            visit(
                asked(
                    one,
                    frame(EOS, whole, details=details),
                    parameters=detailed if details else None,
                )
            ),
            good(" one", final=whole, finish="stop" if details else None),
            section + "EOS not flagged: drop a last-frame token equal to it",
        )
    yield case(
        "eos-text-in-the-middle",
        visit(asked(one, frame(EOS), frame("</s>"), last(f" one{EOS}</s>"))),
        good(" one", EOS, "</s>"),
        section + "special tokens in the middle: the same spelling with special:false is text",
    )
    yield case(
        "special-in-the-middle",
        visit(asked(one, frame("<unk>", special=True), frame(" two"), last(" one two"))),
        good(" one", " two"),
        section + "flagged special:true, to be dropped",
    )
    yield case(
        "llama",
        visit(asked(one, frame("</s>", " one", special=True)), model=LLAMA),
        good(" one"),
        section + "`</s>` id 2 for llama",
    )
    yield case(
        "stream-false",
        visit(
            asked(response=answer(compact([{"generated_text": " one"}]), headers=SET), stream=False)
        ),
        {**good(" one", finish=None)},
        section + "stream=false: 200 JSON array",
    )


def told_in_the_stream() -> Iterator[Raw]:
    section = "wire/h2o.md section 5c"
    some = (frame(" one"), frame(" two"))
    texts = (
        ("overloaded", "Model is overloaded", "overloaded"),
        ("validation", "Input validation error: `top_p` must be > 0.0 and < 1.0", "bad_request"),
        (
            "validation",
            "Input validation error: `stop` supports up to 4 stop sequences",
            "bad_request",
        ),
        ("generation", "Request failed during generation: CUDA out of memory", "model"),
        ("incomplete_generation", "Incomplete generation", "truncated"),
    )
    for number, (kind, text, ours) in enumerate(texts):
        yield case(
            f"frame-{kind}-{number}",
            visit(asked(trouble(text, kind))),
            bad(ours, 200, text),
            section,
        )
    for kind, text, ours in texts[-2:]:
        yield case(
            f"frame-{kind}-after-text",
            visit(asked(*some, trouble(text, kind))),
            bad(ours, 200, text, " one", " two"),
            section + ": any number of tokens before it",
        )
    lost = "wire/h2o.md section 5d: line lost"
    for name, frames, closed in (
        ("reset", some, "reset"),
        ("reset-in-a-frame", (*some, frame(" three")[:25]), "reset"),
        ("reset-in-the-last-frame", (*some, last(" one two")[:40]), "reset"),
        ("orderly-without-last-frame", some, "clean"),
        ("orderly-in-a-frame", (*some, frame(" three")[:25]), "clean"),
    ):
        yield case(
            f"lost-{name}",
            visit(asked(*frames, closed=closed)),
            bad("truncated", 200, "", " one", " two"),
            lost,
        )
    for closed in ("reset", "clean"):
        yield case(
            f"lost-at-once-{closed}", visit(asked(closed=closed)), bad("truncated", 200, ""), lost
        )


def refused_early() -> Iterator[Raw]:
    section = "wire/h2o.md section 5a"
    login = "You have to be logged in."
    modal = "You need to accept the welcome modal first"
    for name, response, kind, status in (
        ("401-text", answer(login, status=401, content_type=TEXT), "auth", 401),
        ("401-json", answer(compact({"error": login}), status=401), "auth", 401),
        (
            "403-json",
            answer(compact({"error": "Non-JSON form requests need to have a referer"}), status=403),
            "forbidden",
            403,
        ),
        (
            "500-page",
            answer(page("500"), status=500, content_type=HTML, headers=SET),
            "server",
            500,
        ),
        (
            "500",
            answer(
                compact({"type": "error", "error": {"message": "Internal Error"}}),
                status=500,
                headers=SET,
            ),
            "server",
            500,
        ),
    ):
        yield case(
            f"settings-{name}",
            [settings(response)],
            bad(kind, status, "", at=0, deletes=False),
            section,
        )
    for name, response, kind, status in (
        ("405-text", answer(modal, status=405, content_type=TEXT), "forbidden", 405),
        ("405-json", answer(compact({"error": modal}), status=405), "forbidden", 405),
        ("401", answer(compact({"error": login}), status=401), "auth", 401),
        (
            "429",
            answer(
                compact({"message": "You are sending too many messages."}), status=429, headers=SET
            ),
            "rate_limited",
            429,
        ),
        (
            "500",
            answer(compact({"message": "Internal Error"}), status=500, headers=SET),
            "server",
            500,
        ),
    ):
        yield case(
            f"conversation-{name}",
            [settings(), opened(response)],
            bad(kind, status, "", at=1, deletes=False),
            section,
        )
    for name, response, kind, status in (
        (
            "404",
            answer(compact({"message": "Conversation not found"}), status=404, headers=SET),
            "not_found",
            404,
        ),
        (
            "404-page",
            answer(page("404"), status=404, content_type=HTML, headers=SET),
            "not_found",
            404,
        ),
        (
            "410",
            answer(compact({"message": "Model not available anymore"}), status=410, headers=SET),
            "unknown_model",
            410,
        ),
        ("413", answer("Invalid request body", status=413, content_type=TEXT), "too_large", 413),
        (
            "429",
            answer(
                compact({"message": "You are sending too many messages. Try again later."}),
                status=429,
                headers=SET,
            ),
            "rate_limited",
            429,
        ),
        (
            "429-login",
            answer(
                compact({"message": "Exceeded number of messages before login"}),
                status=429,
                headers=SET,
            ),
            "rate_limited",
            429,
        ),
        (
            "500",
            answer(compact({"message": "Internal Error"}), status=500, headers=SET),
            "server",
            500,
        ),
    ):
        yield case(
            f"message-{name}", visit(asked(response=response)), bad(kind, status, ""), section
        )


def passed_through() -> Iterator[Raw]:
    section = "wire/h2o.md section 5b, upstream status passed through"

    def tgi(text: str, kind: str, status: int) -> Raw:
        body = compact({"error": text, "error_type": kind})
        return answer(body, status=status, headers=SET)

    for name, response, kind, status in (
        (
            "401",
            answer(compact({"error": "Authorization header is invalid"}), status=401, headers=SET),
            "auth",
            401,
        ),
        (
            "415",
            answer(
                "Expected request with `Content-Type: application/json`",
                status=415,
                content_type=TEXT,
                headers=SET,
            ),
            "bad_request",
            415,
        ),
        (
            "422-text",
            answer(
                "Failed to deserialize the JSON body: missing field `inputs`",
                status=422,
                content_type=TEXT,
                headers=SET,
            ),
            "bad_request",
            422,
        ),
        ("422-json", tgi("Input validation error: x", "validation", 422), "bad_request", 422),
        ("424", tgi("Request failed during generation: x", "generation", 424), "model", 424),
        ("429-overloaded", tgi("Model is overloaded", "overloaded", 429), "overloaded", 429),
        (
            "500-incomplete",
            tgi("Incomplete generation", "incomplete_generation", 500),
            "truncated",
            500,
        ),
        (
            "502",
            answer(page("502 Bad Gateway"), status=502, content_type=HTML, headers=SET),
            "server",
            502,
        ),
        (
            "504",
            answer(page("504 Gateway Time-out"), status=504, content_type=HTML, headers=SET),
            "server",
            504,
        ),
        (
            "503-loading",
            answer(
                compact({"error": "Model x is currently loading", "estimated_time": 20.0}),
                status=503,
                headers=SET,
            ),
            "overloaded",
            503,
        ),
    ):
        yield case(
            f"upstream-{name}", visit(asked(response=response)), bad(kind, status, ""), section
        )


def turns() -> Iterator[Raw]:
    first = asked(frame(" one"), last(" one"))
    second = asked(frame(" two"), last(" two"), text="And then?")
    two_turns = [{"exchange": 2, "text": " one"}, {"exchange": 3, "text": " two"}]
    yield case(
        "two-turns",
        visit(first, second),
        good(" two", at=3) | {"turns": two_turns},
        "wire/h2o.md section 1: the client then sends only the new text",
    )
    yield case(
        "failed-turn-asked-again",
        visit(asked(trouble("Model is overloaded", "overloaded")), first),
        good(" one", at=3),
        "wire/h2o.md section 5: after any failure a retry in the same conversation is clean",
    )
    yield case(
        "settings-303",
        [
            settings(
                answer(
                    status=303, headers=[("location", f"https://{HOST}/"), *SET], content_type=None
                )
            ),
            opened(),
            first,
            deleted(),
        ],
        good(" one"),
        "wire/h2o.md section 2: redirects of the 303 need not be followed",
    )
    yield case(
        "delete-404",
        [settings(), opened(), first, deleted(404)],
        good(" one"),
        "wire/h2o.md section 6: DELETE is idempotent for a client that takes 404 as done",
    )
    stop = call("POST", f"/conversation/{CHAT}/stop-generating", answer(content_type=None))
    yield case(
        "client-leaves",
        visit(asked(frame(" one"), frame(" two"), frame(" three"), closed="client"), stop),
        said(" one", " two", finish="cancelled", exchange=2, cleanup_delete=True),
        "wire/h2o.md section 6: close, stop-generating, DELETE",
    )
    yield case(
        "parameters-left-out",
        visit(asked(frame(" 1"), frame(" 2", " 1 2"), parameters={})),
        good(" 1", " 2", finish="length"),
        "wire/h2o.md section 3: TGI defaults",
    )
    quoted = asked(frame(" one"), last(" one"), text='  „Grüße“ \\n "x"\n\ty \U0001f642 ')
    yield case(
        "inputs-trimmed", visit(quoted), good(" one"), "wire/h2o.md section 3: inputs, trimmed"
    )


def beside_the_chat() -> Iterator[Raw]:
    section = "wire/h2o.md section 3: "
    oops = answer(compact({"message": "Internal Error"}), status=500, headers=SET)
    good_turn = asked(frame(" one"), last(" one"))
    share = call("POST", f"/conversation/{CHAT}/share", answer(compact({"url": "x"})))
    rename = call("PATCH", f"/conversation/{CHAT}", answer(content_type=None), "{}", JSON)
    look = call("GET", f"/conversation/{CHAT}/__data.json", answer('{"type":"data"}'))
    yield case(
        "share-rename-look", visit(good_turn, share, rename, look), good(" one"), section + "others"
    )
    yield case(
        "no-settings-call",
        [opened(), good_turn, deleted()],
        good(" one", at=1),
        "wire/h2o.md section 1: needed once per cookie when the welcome modal is on",
    )
    for name, text in (("blank", "   "), ("empty", "")):
        yield case(
            f"{name}-inputs-500",
            visit(asked(response=oops, text=text)),
            bad("server", 500, "Internal Error"),
            section + "inputs: empty or blanks only: 500",
        )
    message = '{"inputs":"x","options":{}}'
    unknown = call("POST", "/conversation/not-an-id", oops, message, JSON)
    yield case(
        "malformed-id-500",
        [settings(), unknown],
        bad("server", 500, "Internal Error", at=1, deletes=False),
        "wire/h2o.md section 5a: bad id",
    )
    no_model = call("POST", "/conversation", oops, "{}", JSON)
    yield case(
        "no-model-500",
        [settings(), no_model],
        bad("server", 500, "Internal Error", at=1, deletes=False),
        section + "missing model",
    )
    body = call("POST", "/settings", oops, '{"ethicsModalAccepted":true}', JSON)
    yield case(
        "settings-as-json-500",
        [body],
        bad("server", 500, "Internal Error", at=0, deletes=False),
        section + "a JSON body: 500",
    )
    extra = {**PARAMETERS, "watermark": False, "typical_p": 0.9, "seed": 1}
    yield case(
        "all-parameters",
        visit(asked(frame(" one"), last(" one"), parameters=extra)),
        good(" one"),
        section + "parameters: passed to TGI as sent",
    )
