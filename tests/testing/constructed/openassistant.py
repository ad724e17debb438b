"""Open-Assistant: refusals, ends of a stream and texts of wire/openassistant.md."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from tests.testing.constructed.assistant_site import (
    BROKEN_500,
    OLD_PING,
    PING,
    REPLY,
    asked,
    broke,
    created,
    deleted,
    elsewhere,
    ended,
    event,
    looked,
    message,
    ordered,
    pending,
    said_so,
    shown,
    site,
    streamed,
    token,
    turn,
)
from tests.testing.constructed.build import Raw, answer, cut, failed, said
from tests.testing.constructed.build import case as case_of


def case(name: str, exchanges: Sequence[Raw], expected: Raw, notes: str) -> Raw:
    return case_of(f"made-oa-{name}", "openassistant", exchanges, expected, notes)


def whole(*pieces: str, content: str | None = None) -> Raw:
    """A good answer; ``content`` where the message says another text."""
    return said(*pieces, final_content="".join(pieces) if content is None else content)


def lost(kind: str, status: int | None, text: object, *pieces: str, finish: str = "error") -> Raw:
    """A failure."""
    return failed(kind, status, text, *pieces, final_content=None) | {"finish": finish}


def cases() -> Iterator[Raw]:
    yield from refusals()
    yield from events()
    yield from texts()
    yield from ends()
    yield from turns()
    yield from at_once()
    yield from drafts()


def refusals() -> Iterator[Raw]:
    section = "wire/openassistant.md section 5, "
    wrong = "Something went wrong"
    questions = (
        (
            "400-non-empty",
            said_so(400, "Trying to add first message to non-empty chat"),
            "bad_request",
            400,
        ),
        ("400-parent-unknown", said_so(400, "Parent message not found"), "bad_request", 400),
        (
            "400-parent-role",
            said_so(400, "Parent message is not an assistant message"),
            "bad_request",
            400,
        ),
        ("400-json", answer("Invalid JSON", status=400, content_type=None), "bad_request", 400),
        (
            "413-body",
            answer("Body exceeded 1mb limit", status=413, content_type=None),
            "too_large",
            413,
        ),
        (
            "413-count",
            said_so(413, "Maximum number of messages reached for this chat"),
            "too_large",
            413,
        ),
        ("500-question", said_so(500, wrong), "server", 500),
        ("401-question", said_so(401, "Invalid token"), "auth", 401),
    )
    for name, response, kind, status in questions:
        yield case(
            f"question-{name}",
            [created(), asked(response=response), deleted()],
            lost(kind, status, ""),
            section + "table of errors",
        )
    busy = "The server is currently busy. Please try again later."
    fields = [{"loc": ["body", "model_config_name"], "msg": "field required", "type": "x"}]
    orders = (
        (
            "413-count",
            said_so(413, "Maximum number of messages reached for this chat"),
            "too_large",
            413,
        ),
        (
            "422-not-allowed",
            said_so(422, "Model OA_SFT_Llama_30B_6 not in allowed models: a,b"),
            "unknown_model",
            422,
        ),
        ("422-list", said_so(422, fields), "bad_request", 422),
        ("500-rate-limit", said_so(500, wrong), "server", 500),
        ("503-orphan", said_so(503, busy), "overloaded", 503),
    )
    for name, response, kind, status in orders:
        yield case(
            f"order-{name}",
            turn(response=response),
            lost(kind, status, ""),
            section + "table of errors",
        )
    for name, response, kind, status in (
        ("500", BROKEN_500, "server", 500),
        ("403", answer(status=403, content_type=None), "auth", 403),
        ("404", answer(status=404, content_type=None), "not_found", 404),
    ):
        yield case(
            f"create-{name}",
            [created(response)],
            lost(kind, status, ""),
            "wire/openassistant.md sections 2 and 3",
        )
    yield case(
        "events-500",
        turn(site("GET", "/events", BROKEN_500, query=f"chat_id={chat()}&message_id={REPLY}")),
        lost("server", 500, "Internal Server Error"),
        "wire/openassistant.md section 3: any upstream error: 500 text before the stream",
    )


def chat() -> str:
    """The id of the chat, as the stream's route names it."""
    return str(message("pending", None)["chat_id"])


def events() -> Iterator[Raw]:
    section = "wire/openassistant.md section 6, "
    tokens = ("Par", "is", ".")
    good = whole(*tokens)
    yield case(
        "old-ping",
        turn(
            streamed(
                OLD_PING, token("Par"), OLD_PING, token("is"), token("."), OLD_PING, ended("Paris.")
            )
        ),
        good,
        section + "a data line that is not JSON",
    )
    yield case(
        "ping-comments",
        turn(streamed(PING, pending(1), PING, *map(token, tokens), PING, ended("Paris."))),
        good,
        section + "heartbeat every 15 s",
    )
    yield case(
        "other-event-names",
        turn(
            streamed(
                "event: notice\r\ndata: soon\r\n\r\n",
                token("Par"),
                'event: message\r\ndata: {"event_type": "token", "text": "is"}\r\n\r\n',
                token("."),
                ended("Paris."),
            )
        ),
        good,
        section + "event names other than message are to be skipped",
    )
    plugin = event(
        "plugin_intermediate",
        current_plugin_thought="think",
        current_plugin_action_taken="go",
        current_plugin_action_input="x",
        current_plugin_action_response="18",
        message=None,
    )
    safe = event("safe_prompt", safe_prompt="be kind", message=message("pending", None))
    yield case(
        "plugin-and-safe-prompt",
        turn(streamed(plugin, token(""), safe, *map(token, tokens), ended("Paris."))),
        whole("", *tokens),
        section + "plugin_intermediate, safe_prompt",
    )
    queue = [pending(max(12 - n, 0)) for n in range(20)]
    yield case(
        "requeued",
        turn(streamed(*queue, pending(3), pending(0), *map(token, tokens), ended("Paris."))),
        good,
        "wire/openassistant.md section 8: lost before tokens, another worker answers",
    )
    stream = pending(1) + "".join(map(token, tokens)) + PING + ended("Paris.")
    for name, sizes in (("ones-and-many", (1, 200, 2)), ("fives", (5,))):
        yield case(
            f"reads-{name}",
            turn(streamed(*cut(stream, *sizes))),
            good,
            section + "cutting bytes anywhere is safe",
        )
    yield case(
        "many-in-one-read", turn(streamed(stream)), good, section + "several events share a read"
    )
    long = "слово " * 3700
    yield case(
        "long-message",
        turn(streamed(token(long), *cut(ended(long), 65536))),
        whole(long),
        "wire/openassistant.md section 12, row 13: a line over 128 KiB",
    )


def texts() -> Iterator[Raw]:
    section = "wire/openassistant.md section 6, "
    run = "�" * 3
    family = "\U0001f469‍\U0001f469‍\U0001f467"
    rows: tuple[tuple[str, tuple[str, ...], str, str], ...] = (
        ("replaced-at-end", ("Hi ", "�", "�", "�", ""), "Hi \U0001f642", "runs of U+FFFD"),
        ("replaced-long-run", ("Hi ", "�" * 60, "�" * 60), f"Hi {family}", "100+ for a family"),
        (
            "replaced-in-the-middle",
            ("Hi ", run, " and bye"),
            "Hi \U0001f642 and bye",
            "else mark the answer as differing",
        ),
        ("replaced-twice", (run, "", " ok ", run), "\U0001f642 ok \U0001f643", "runs"),
        ("replaced-stays", ("a", "�"), "a�", "U+FFFD that is really there"),
        ("stripped", ("", "Hello", "\n", "\n"), "Hello", "content is stripped at both ends"),
        ("stripped-front", ("\n", "Hello"), "Hello", "content is stripped at both ends"),
    )
    for name, tokens, content, note in rows:
        yield case(
            name,
            turn(streamed(*map(token, tokens), ended(content))),
            whole(*tokens, content=content),
            section + note,
        )
    halves = ("Hi \ud83d", "\ude42", "!\ud83d", "\ude43\ud83d", "\ude44")
    yield case(
        "split-surrogates",
        turn(streamed(*map(token, halves), ended("Hi \U0001f642!\U0001f643\U0001f644"))),
        whole(*halves, content="Hi \U0001f642!\U0001f643\U0001f644"),
        section + "a token may end in a high surrogate",
    )
    yield case(
        "half-alone",
        turn(streamed(token("Hi \ud83d"), token(" you"), broke("worker"))),
        lost("model", 200, "worker", "Hi \ud83d", " you"),
        section + "a half that never gets its partner",
    )
    yield case(
        "half-at-the-end",
        turn(streamed(token("Hi "), token("\ud83d"), broke("worker"))),
        lost("model", 200, "worker", "Hi ", "\ud83d"),
        section + "a half that never gets its partner",
    )
    yield case(
        "message-only",
        turn(streamed(ended("All at once."))),
        {**whole(), "text": "All at once.", "final_content": "All at once."},
        section + "a reply may have no tokens at all and text only in `message`",
    )
    yield case("empty-reply", turn(streamed(ended(""))), whole(), section + "or be empty")
    blank = ("\n", "  ", "\t", "\r\n", "\u00a0", "\u2028")
    yield case(
        "blank-tokens",
        turn(streamed(*map(token, blank), token("x"), ended("x"))),
        whole(*blank, "x", content="x"),
        section + "only whitespace",
    )


def ends() -> Iterator[Raw]:
    section = "wire/openassistant.md section 7, "
    some = (token("The"), token(" end"))
    inner = json.dumps({"error": "Request failed during generation: x", "error_type": "generation"})
    for name, text, kind, state, before in (
        ("timeout", "Timeout", "timeout", "timeout", (pending(1), pending(0))),
        ("error-json-inside", inner, "model", "aborted_by_worker", some),
        ("error-first", "CUDA out of memory", "model", "aborted_by_worker", ()),
        ("worker-lost", "Aborted due to worker error.", "model", "aborted_by_worker", some),
    ):
        pieces = ("The", " end") if before == some else ()
        yield case(
            name,
            turn(streamed(*before, broke(text, state))),
            lost(kind, 200, text, *pieces),
            section + "error event",
        )
    complete = shown(message("complete", "The end."))
    for closed in ("clean", "reset"):
        yield case(
            f"{closed}-end-then-complete",
            turn(
                streamed(*some, closed=closed),
                looked(shown(message("in_progress", None))),
                looked(complete),
            ),
            whole("The", " end", content="The end."),
            section + "clean end, no terminal event: GET message",
        )
    yield case(
        "cut-event-then-complete",
        turn(streamed(*some, token(" lost")[:20], closed="reset"), looked(complete)),
        whole("The", " end", content="The end."),
        section + "connection reset in an event",
    )
    rest = (("aborted_by_worker", "model"), ("timeout", "timeout"), ("cancelled", "cancelled"))
    for state, kind in rest:
        yield case(
            f"empty-200-{state}",
            turn(streamed(), looked(shown(message(state, None)))),
            lost(kind, None, ""),
            section + "200, empty body at once",
        )
    yield case(
        "empty-200-complete",
        turn(streamed(), looked(complete)),
        {**whole(), "text": "The end.", "final_content": "The end."},
        section + "complete -> use content",
    )
    yield case(
        "end-then-aborted",
        turn(streamed(*some), looked(shown(message("aborted_by_worker", None)))),
        lost("model", None, "", "The", " end"),
        section + "clean end: GET message, aborted",
    )
    yield case(
        "end-and-message-gone",
        turn(streamed(*some)),
        lost("truncated", 200, "", "The", " end", finish="incomplete"),
        section + 'GET message, else error "truncated"',
    )
    yield case(
        "end-and-in-progress-for-ever",
        turn(streamed(*some), looked(shown(message("in_progress", None)))),
        lost("truncated", 200, "", "The", " end", finish="incomplete"),
        "wire/openassistant.md section 4: after a server crash in_progress for ever",
    )
    for name, beats in (("stall", ()), ("pings-only", (PING, PING))):
        yield case(
            f"{name}-in-progress",
            turn(
                streamed(*some, *beats, closed="client"),
                looked(shown(message("in_progress", None))),
            ),
            lost("timeout", None, "", "The", " end", finish="incomplete"),
            section + "silence, or pings but no data for ever",
        )
    yield case(
        "stall-but-complete",
        turn(streamed(*some, closed="client"), looked(complete)),
        whole("The", " end", content="The end."),
        section + "after a drop poll GET message and use content",
    )
    queue = [pending(0)] * 5
    yield case(
        "pending-but-cancelled",
        turn(streamed(*queue, closed="client"), looked(shown(message("cancelled", None)))),
        lost("cancelled", None, "", finish="incomplete"),
        section + "pending for ever: message cancelled earlier",
    )
    yield case(
        "pending-for-ever",
        turn(streamed(*queue, closed="client"), looked(shown(message("pending", None)))),
        lost("timeout", None, "", finish="incomplete"),
        section + "pending for ever: no worker for the model",
    )


def turns() -> Iterator[Raw]:
    second, reply = "06b00e54-1111-770c-8000-9855c278170e", "06b00e54-2222-7e34-8000-a40196f87b7b"
    first_turn, last_turn = whole("One", "."), whole("Two", ".")
    follow = [
        asked("more", parent=REPLY, identifier=second),
        ordered(question=second, identifier=reply),
        streamed(token("Two"), token("."), ended("Two.", reply), identifier=reply),
        deleted(),
    ]
    start = [created(), asked(), ordered(), streamed(token("One"), token("."), ended("One."))]
    yield case(
        "follow-up",
        [*start, *follow],
        last_turn | {"turns": [first_turn, last_turn]},
        "wire/openassistant.md section 1: next turn",
    )
    yield case(
        "again-after-worker-lost",
        [
            created(),
            asked(),
            ordered(),
            streamed(token("On"), broke("Aborted due to worker error.")),
            ordered(identifier=reply),
            streamed(token("Two"), token("."), ended("Two.", reply), identifier=reply),
            deleted(),
        ],
        last_turn
        | {"turns": [lost("model", 200, "Aborted due to worker error.", "On"), last_turn]},
        "wire/openassistant.md section 8: a retry is a new assistant_message on the same parent",
    )
    sampling = {
        "top_k": 20,
        "top_p": 0.9,
        "typical_p": 0.5,
        "temperature": 1.5,
        "repetition_penalty": 1.2,
        "max_new_tokens": 64,
    }
    good = streamed(token("One"), token("."), ended("One."))
    yield case(
        "system-prompt-and-all-parameters",
        turn(
            good,
            sampling=sampling,
            system_prompt="Be brief.",
            user_profile="A llama.",
            user_response_instructions="In verse.",
            plugins=[],
        ),
        first_turn,
        "wire/openassistant.md section 5: sampling_parameters, system_prompt",
    )
    yield case(
        "no-parameters", turn(good, sampling={}), first_turn, "wire/openassistant.md section 5"
    )
    name = "next-auth.session-token"
    for label, cookie in (
        ("split-cookie", f"{name}.0=eyJhbGci; {name}.1=OiJkaXIi"),
        ("secure-cookie", f"__Secure-{name}=eyJhbGci..x"),
        ("secure-split-cookie", f"__Secure-{name}.0=eyJh; __Secure-{name}.1=bGci"),
    ):
        headers = (("Cookie", cookie),)
        yield case(
            label,
            [
                created(headers=headers),
                asked(headers=headers),
                ordered(headers=headers),
                streamed(token("One"), token("."), ended("One."), headers=headers),
                deleted(headers=headers),
            ],
            first_turn,
            "wire/openassistant.md section 2: session",
        )
    bearer = (("Authorization", "Bearer eyJhbGci..x"),)
    yield case(
        "bearer-on-the-website",
        [
            created(headers=bearer),
            asked(headers=bearer),
            ordered(headers=bearer),
            streamed(token("One"), token("."), ended("One."), headers=bearer),
            deleted(headers=bearer),
        ],
        first_turn,
        "wire/openassistant.md section 2: without a cookie, Authorization: Bearer works",
    )
    yield case(
        "delete-500",
        [*start, deleted(BROKEN_500)],
        first_turn,
        "wire/openassistant.md section 9: DELETE 500 after a successful DELETE means gone",
    )


def at_once() -> Iterator[Raw]:
    one, two = whole("One", "."), whole("Two", ".")
    first = [created(), asked(), ordered()]
    second = [elsewhere(item) for item in (created(), asked("more"), ordered())]
    gone = [deleted(), elsewhere(deleted())]
    tokens_one = streamed(token("One"), token("."), ended("One."))
    tokens_two = elsewhere(streamed(token("Two"), token("."), ended("Two.")))
    yield case(
        "two-chats-one-among-the-other",
        [*first, *second, tokens_one, tokens_two, *gone],
        two | {"turns": [one, two]},
        "wire/openassistant.md section 5: one account, one queue slot; serialise per session",
    )
    waiting = streamed(*[pending(0)] * 3, closed="client")
    stopped = lost("cancelled", None, "", finish="incomplete")
    yield case(
        "second-chat-cancels-the-first",
        [*first, *second, waiting, tokens_two, looked(shown(message("cancelled", None))), *gone],
        two | {"turns": [stopped, two]},
        "wire/openassistant.md section 4: another assistant_message elsewhere cancels",
    )


def drafts() -> Iterator[Raw]:
    again = "06b00e54-2222-7e34-8000-a40196f87b7b"
    one, two = whole("One", "."), whole("Two", ".")
    yield case(
        "two-drafts",
        [
            created(),
            asked(),
            ordered(),
            streamed(token("One"), token("."), ended("One.")),
            ordered(identifier=again),
            streamed(token("Two"), token("."), ended("Two.", again), identifier=again),
            deleted(),
        ],
        two | {"turns": [one, two]},
        "wire/openassistant.md section 1: another try for the same question: the same parent_id",
    )
