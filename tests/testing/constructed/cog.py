"""Cog, the model server (wire/replicate.md section 8)."""

from __future__ import annotations

from collections.abc import Iterator

from tests.testing.constructed.build import (
    TEXT,
    Raw,
    answer,
    compact,
    failed,
    said,
)
from tests.testing.constructed.predictions import (
    THREE,
    case,
    cog_asked,
    cog_ended,
    cog_event,
    cog_pieces,
    cog_stream,
    stopped,
)


def cog(name: str, exchanges: Raw | list[Raw], expected: Raw, notes: str) -> Raw:
    listed = exchanges if isinstance(exchanges, list) else [exchanges]
    return case(f"cog-{name}", listed, expected, notes, dialect="cog")


def cases() -> Iterator[Raw]:
    yield from cogs()
    yield from cog_refusals()


def cogs() -> Iterator[Raw]:
    section = "wire/replicate.md section 8: "
    pieces = cog_pieces(*THREE)
    log, metric = (
        cog_event("log", source="stdout", data="x\n"),
        cog_event("metric", name="n", value=1),
    )
    yield cog(
        "stream-all-events",
        cog_asked(cog_stream(log, *pieces, metric, log, cog_ended("succeeded", THREE))),
        said(*THREE),
        section + "events",
    )
    words = "Prediction failed: CUDA out of memory"
    yield cog(
        "stream-failed",
        cog_asked(cog_stream(*pieces[:2], cog_ended("failed", THREE[:2], error=words))),
        stopped(*THREE[:2], message=words),
        section + "completed {...prediction...}",
    )
    yield cog(
        "stream-canceled",
        cog_asked(cog_stream(*pieces[:2], cog_ended("canceled", THREE[:2]))),
        said(*THREE[:2], finish="cancelled"),
        section + "status canceled, partial output",
    )
    for closed in ("reset", "clean"):
        yield cog(
            f"stream-cut-{closed}",
            cog_asked(cog_stream(*pieces[:2], closed=closed)),
            failed("truncated", None, "", *THREE[:2]),
            section + "no completed event",
        )
    texts = ("", "a\nb", "\r\n", "\u2028", '"quoted" \\ ', "é\U0001f642")
    yield cog(
        "stream-texts",
        cog_asked(cog_stream(*cog_pieces(*texts), cog_ended("succeeded", texts))),
        said(*texts),
        section + "JSON, so line feeds are escaped",
    )
    yield cog(
        "put-with-id",
        cog_asked(
            cog_stream(*pieces, cog_ended("succeeded", THREE)),
            method="PUT",
            path="/predictions/pred_1",
        ),
        said(*THREE),
        section + "PUT /predictions/{id}: same, idempotent",
    )
    for name, told, expected in (
        ("succeeded", {"output": list(THREE), "status": "succeeded"}, said("".join(THREE))),
        ("string", {"output": "One.", "status": "succeeded"}, said("One.")),
        ("failed", {"output": None, "status": "failed", "error": words}, stopped(message=words)),
        ("canceled", {"output": ["The"], "status": "canceled"}, said("The", finish="cancelled")),
    ):
        body = {"id": "pred_1", "logs": "", "metrics": {"predict_time": 0.1}, **told}
        yield cog(
            f"plain-{name}",
            cog_asked(answer(compact(body)), stream=False),
            expected,
            section + "failed predictions too: **200**",
        )
    whole = answer(compact({"id": "p", "logs": "", "output": list(THREE), "status": "succeeded"}))
    refused = answer(compact({"error": "streaming is not supported"}), status=406)
    yield cog(
        "406-then-plain",
        [cog_asked(refused), cog_asked(whole, stream=False)],
        said("".join(THREE)),
        section + "406 if the model is not marked for streaming",
    )


def cog_refusals() -> Iterator[Raw]:
    section = "wire/replicate.md section 8: "
    busy = compact({"error": "Already running a prediction", "status": "failed"})
    setup = compact({"error": "Setup has not finished yet", "status": "failed"})
    field = {"loc": ["body", "input", "prompt"], "msg": "Field required", "type": "value_error"}
    for name, response, kind, words in (
        ("409", answer(busy, status=409), "overloaded", "Already running a prediction"),
        ("503", answer(setup, status=503), "overloaded", "Setup has not finished yet"),
        ("422", answer(compact({"detail": [field]}), status=422), "bad_request", "Field required"),
        (
            "400",
            answer("Failed to parse the request body as JSON", status=400, content_type=TEXT),
            "bad_request",
            "Failed to parse",
        ),
        ("404", answer("{}", status=404), "not_found", ""),
        ("500", answer("Internal Server Error", status=500, content_type=TEXT), "server", ""),
    ):
        for stream in (True, False):
            shape = "stream" if stream else "plain"
            yield cog(
                f"error-{name}-{shape}",
                cog_asked(response, stream=stream),
                failed(kind, response["status"], words),
                section + "table of replies",
            )
