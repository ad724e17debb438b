"""Replicate: framing, ends and resumes of its streams (wire/replicate.md section 5)."""

from __future__ import annotations

from collections.abc import Iterator

from tests.testing.constructed.build import (
    Raw,
    answer,
    compact,
    cut,
    said,
)
from tests.testing.constructed.predictions import (
    HI,
    THREE,
    case,
    created,
    done,
    event,
    got,
    outputs,
    place,
    prediction,
    stopped,
    streamed,
)


def cases() -> Iterator[Raw]:
    yield from framing()
    yield from endings()
    yield from resumes()
    yield from resumed_by_polling()


def framing() -> Iterator[Raw]:
    section = "wire/replicate.md section 5.2: "
    body = HI + "".join(outputs(*THREE)) + done()
    heartbeat = ":comment\nevent: ping\n\n"
    rows: tuple[tuple[str, str | bytes, str], ...] = (
        ("bom", "\ufeff" + body, "one leading BOM dropped"),
        ("cr", body.replace("\n", "\r"), "line ends LF, CRLF, CR"),
        ("crlf", body.replace("\n", "\r\n"), "line ends LF, CRLF, CR"),
        ("no-space-event", body.replace("event: ", "event:"), "at most one space"),
        ("no-space-id", body.replace("id: ", "id:"), "at most one space"),
        (
            "unknown-events",
            body.replace("event: output", "event: later\ndata: x\n\nevent: output"),
            "section 5.1: anything else, ignore",
        ),
        ("untyped-events", body.replace(HI, HI + "data: not shown\n\n"), "the event type resets"),
        ("ping", HI + heartbeat + body.replace(done(), heartbeat + done()), "section 5.3: ping"),
        ("logs", body.replace(done(), event("logs", "step 1\nstep 2") + done()), "logs, ignore"),
        ("comment-inside", body.replace("\ndata: ", "\n: in between\ndata: "), "comments"),
        ("unknown-fields", body.replace("data: ", "colour: red\nnothing\ndata: "), "fields"),
        (
            "no-dispatch",
            body.replace(done(), "event: output\n\n" + done()),
            "an event without any data line is not dispatched",
        ),
        ("id-without-value", body.replace(done(), "id\n\n" + done()), "a line without colon"),
        ("retry-not-a-number", HI + "retry: soon\n\n" + body, "retry"),
    )
    for name, stream, note in rows:
        yield case(f"framing-{name}", [created(), streamed(stream)], said(*THREE), section + note)
        if name in ("bom", "cr", "crlf"):
            yield case(
                f"framing-{name}-cut",
                [created(), streamed(*cut(stream, 1, 2, 30))],
                said(*THREE),
                section + "UTF-8 decoding must be incremental; a CRLF may be cut",
            )
    odd = ("\u2028a", "\u0085", "\v\f\x1c\x1d", "\ufeffx", " \u2029", "https://a.example/x.png")
    yield case(
        "framing-other-separators",
        [created(), streamed(HI, *outputs(*odd), done())],
        said(*odd),
        section + "no other character ends a line",
    )
    blanks = ("", "\n", "\n\n", " ", "  a", "a\nb", "\na", "a\n", "", "\t")
    yield case(
        "framing-blank-tokens",
        [created(), streamed(HI, *outputs(*blanks), done())],
        said(*filter(None, blanks)),
        section + "text to data lines",
    )
    crs = ("event: output\ndata: a\rb\n\n", "event: output\ndata: c\r\ndata: d\n\n")
    yield case(
        "framing-cr-in-tokens",
        [created(), streamed(HI, *crs, done())],
        said("a", "c\nd"),
        section + "CRLF inside arrives as LF; what follows a lone CR is lost",
    )
    no_value = "event: output\ndata\n\nevent: output\ndata\ndata\n\n"
    yield case(
        "framing-data-without-colon",
        [created(), streamed(HI, no_value, *outputs("x"), done())],
        said("\n", "x"),
        section + "a line without colon is a field with empty value",
    )
    long = "0123456789abcdef" * 6000
    yield case(
        "framing-long-line",
        [created(), streamed(HI, *outputs(long), done())],
        said(long),
        section + "no limit of 64 KiB per line",
    )
    same = [event("output", text, place(0)) for text in THREE]
    yield case(
        "same-id-thrice",
        [created(), streamed(HI, *same, done())],
        said(*THREE),
        section + "`id` persists over events that have none; never a reason to skip",
    )


def endings() -> Iterator[Raw]:
    section = "wire/replicate.md section 5.1: "
    some = outputs("Once", " upon")
    words = "Something went wrong: E1000"
    detail = compact({"detail": words})
    rows: tuple[tuple[str, tuple[str, ...], Raw], ...] = (
        ("done-error", (*some, done('{"reason":"error"}')), stopped("Once", " upon")),
        (
            "error-then-done",
            (*some, event("error", detail), done('{"reason":"error"}')),
            stopped("Once", " upon", message=words),
        ),
        (
            "error-without-done",
            (*some, event("error", detail)),
            stopped("Once", " upon", message=words),
        ),
        (
            "error-plain-text",
            (*some, event("error", words)),
            stopped("Once", " upon", message=words),
        ),
        (
            "error-first",
            (event("error", detail), done('{"reason":"error"}')),
            stopped(message=words),
        ),
        (
            "done-canceled",
            (*some, done('{"reason":"canceled"}')),
            said("Once", " upon", finish="cancelled"),
        ),
        ("done-canceled-first", (done('{"reason":"canceled"}'),), said(finish="cancelled")),
        ("done-only", (done(),), said()),
    )
    for name, parts, expected in rows:
        yield case(name, [created(), streamed(HI, *parts)], expected, section + "events")
    yield case(
        "error-then-orderly-close",
        [created(), streamed(HI, *some, event("error", detail), left_open=False)],
        stopped("Once", " upon", message=words),
        section + "a `done` may or may not follow",
    )
    metrics = {"input_token_count": 9, "output_token_count": 16, "predict_time": 1.0}
    for name, limit, finish in (("length", 16, "length"), ("stop", 17, "stop")):
        given = {"prompt": "Hi", "max_tokens": limit}
        yield case(
            f"metrics-{name}",
            [
                created(given=given),
                streamed(HI, *outputs(*THREE), done()),
                got(prediction("succeeded", output=list(THREE), metrics=metrics)),
            ],
            said(*THREE, finish=finish),
            "wire/replicate.md section 7: finish reason, `length` can only be guessed",
        )


def resumes() -> Iterator[Raw]:
    section = "wire/replicate.md section 5.4: "
    first = streamed(HI, *outputs(*THREE[:2]), closed="reset")
    rest = outputs(THREE[2], first=2)
    again = place(1)
    yield case(
        "resume",
        [created(), first, streamed(HI, *rest, done(), last_id=again)],
        said(*THREE),
        section + "reconnect with Last-Event-ID",
    )
    yield case(
        "resume-replays-all",
        [created(), first, streamed(HI, *outputs(*THREE), done(), last_id=again)],
        said(*THREE),
        section + "skip events whose id was already delivered",
    )
    yield case(
        "orderly-close-then-resume",
        [
            created(),
            streamed(HI, *outputs(*THREE[:2]), left_open=False),
            streamed(HI, *rest, done(), last_id=again),
        ],
        said(*THREE),
        section + "end of connection without `done` is not a success",
    )
    cut_event = "event: output\nid: 1795221016:2\ndata:  sky is lost"
    yield case(
        "resume-after-cut-event",
        [
            created(),
            streamed(HI, *outputs(*THREE[:2]), cut_event, closed="reset"),
            streamed(HI, *rest, done(), last_id=again),
        ],
        said(*THREE),
        "wire/replicate.md section 5.2: an unfinished event is dropped and its id is not used",
    )
    timeout = ":408: 408 Request Timeout\n\n"
    yield case(
        "resume-after-408",
        [
            created(),
            streamed(HI, *outputs(*THREE[:2]), timeout, left_open=False),
            streamed(HI, *rest, done(), last_id=again),
        ],
        said(*THREE),
        "wire/replicate.md section 5.3: the 408 comment and close",
    )
    yield case(
        "resume-twice",
        [
            created(),
            streamed("retry: 20\n\n", HI, *outputs(THREE[0]), closed="reset"),
            streamed(HI, *outputs(THREE[1], first=1), closed="reset", last_id=place(0)),
            streamed(HI, *rest, done(), last_id=again),
        ],
        said(*THREE),
        section + "a few times with a short delay (`retry` if given)",
    )
    yield case(
        "cut-before-anything",
        [created(), streamed(HI, closed="reset"), streamed(HI, *outputs(*THREE), done())],
        said(*THREE),
        section + "reconnect; nothing was delivered, so there is no id to send",
    )


def resumed_by_polling() -> Iterator[Raw]:
    section = "wire/replicate.md section 5.4: poll `urls.get`"
    first = streamed(HI, *outputs(*THREE[:2]), closed="reset")
    nothing = streamed(HI, left_open=False, last_id=place(1))
    whole = prediction("succeeded", output=list(THREE))
    yield case(
        "resume-without-news", [created(), first, nothing, got(whole)], said(*THREE), section
    )
    for status in (403, 404, 500):
        refused = streamed(response=answer(status=status, content_type=None), last_id=place(1))
        yield case(
            f"resume-refused-{status}",
            [created(), first, refused, got(whole)],
            said(*THREE),
            section + "; a non-200",
        )
    no_ids = [event("output", text) for text in THREE[:2]]
    yield case(
        "no-ids",
        [created(), streamed(HI, *no_ids, closed="reset"), got(whole)],
        said(*THREE),
        section + "; lost ids",
    )
    growing = prediction("processing", output=list(THREE[:2]))
    yield case(
        "still-processing",
        [created(), first, nothing, got(growing), got(whole)],
        said(*THREE),
        section + " until terminal",
    )
    words = "CUDA out of memory (E005)"
    lost = prediction("failed", output=list(THREE[:2]), error=words)
    yield case(
        "failed-meanwhile",
        [created(), first, nothing, got(lost)],
        stopped(*THREE[:2], message=words),
        section + ": finish by its status",
    )
    yield case(
        "canceled-meanwhile",
        [created(), first, nothing, got(prediction("canceled", output=list(THREE[:2])))],
        said(*THREE[:2], finish="cancelled"),
        section + ": finish by its status",
    )
    yield case(
        "stream-never-there",
        [created(), streamed(response=answer(status=404, content_type=None)), got(whole)],
        said("".join(THREE)),
        section + "; a non-200",
    )
