"""Replicate: polls, creates, hosts and refusals (wire/replicate.md sections 2 to 7)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.testing.constructed.build import (
    HTML,
    TEXT,
    Raw,
    answer,
    compact,
    exchange,
    failed,
    page,
    said,
)
from tests.testing.constructed.predictions import (
    API,
    HI,
    KEY,
    LLAMA,
    STREAM_PATH,
    THREE,
    cancelled,
    case,
    created,
    done,
    got,
    outputs,
    prediction,
    refusal,
    stopped,
    streamed,
)

VERSION = "02e509c789964a7ea8736978a43525956ef40397be9033abf9fd2badfe68c9e3"


def cases() -> Iterator[Raw]:
    yield from polls()
    yield from creates()
    yield from hosts()
    yield from refusals()
    yield from lists()
    yield from leaving()


def polls() -> Iterator[Raw]:
    section = "wire/replicate.md section 4: "
    no_stream = created(answer(compact(prediction(stream=None)), status=201))

    def now(status: str, **more: Any) -> Raw:
        return got(prediction(status, stream=None, **more))

    yield case(
        "poll-list",
        [
            no_stream,
            now("starting"),
            now("processing", output=None),
            now("processing", output=["The"]),
            now("processing", output=["The", " sky"]),
            now("succeeded", output=list(THREE)),
        ],
        said(*THREE),
        section + "list grows while processing; output absent, null",
    )
    yield case(
        "poll-string",
        [no_stream, now("succeeded", output="One\nstring.")],
        said("One\nstring."),
        section + "output: string",
    )
    yield case(
        "poll-growing-string",
        [no_stream, now("processing", output="One"), now("succeeded", output="One two.")],
        said("One", " two."),
        section + "output: string",
    )
    for name, output in (("empty-list", {"output": []}), ("empty-string", {"output": ""})):
        yield case(
            f"poll-{name}",
            [no_stream, now("succeeded", error="", **output)],
            said(),
            section + 'error: both null and "" on success',
        )
    words = "Director: unexpected error handling prediction (E9825)"
    for name, polled in (
        ("no-output", [now("failed", output=None, error=words)]),
        ("output-absent", [now("failed", error=words)]),
    ):
        yield case(
            f"poll-failed-{name}",
            [no_stream, *polled],
            stopped(message=words),
            "wire/replicate.md section 6: status `failed` + `error` string",
        )
    yield case(
        "poll-failed-after-output",
        [
            no_stream,
            now("processing", output=["The"]),
            now("failed", output=["The", " sky"], error=words),
        ],
        stopped("The", " sky", message=words),
        "wire/replicate.md section 6: prediction failures",
    )
    yield case(
        "poll-canceled",
        [no_stream, now("processing", output=["The"]), now("canceled", output=["The"])],
        said("The", finish="cancelled"),
        section + "terminal: the last four",
    )
    yield case(
        "poll-aborted",
        [no_stream, now("aborted", output=None)],
        failed("timeout", None, ""),
        section + "aborted = deadline passed before it ran",
    )
    yield case(
        "poll-502-between",
        [
            no_stream,
            now("processing", output=["The"]),
            got(response=answer(page("502 Bad Gateway"), status=502, content_type=HTML)),
            now("succeeded", output=list(THREE)),
        ],
        said("The", " sky is blue."),
        "wire/replicate.md section 6: 5xx, retry: GET yes",
    )
    for status, more, expected in (
        ("succeeded", {"output": list(THREE)}, said("".join(THREE))),
        ("failed", {"output": None, "error": words}, stopped(message=words)),
        ("canceled", {"output": None}, said(finish="cancelled")),
    ):
        over = answer(compact(prediction(status, stream=None, **more)), status=201)
        yield case(
            f"create-{status}",
            [created(over)],
            expected,
            "wire/replicate.md section 9, row 8: status in the create reply",
        )


def creates() -> Iterator[Raw]:
    section = "wire/replicate.md section 3: "
    stream = streamed(HI, *outputs(*THREE), done())
    yield case(
        "create-202",
        [created(answer(compact(prediction()), status=202)), stream],
        said(*THREE),
        section + "success 201 / 202",
    )
    yield case(
        "create-charset",
        [
            created(
                answer(
                    compact(prediction()) + "\n",
                    status=201,
                    content_type="application/json; charset=UTF-8",
                )
            ),
            stream,
        ],
        said(*THREE),
        "wire/replicate.md section 4: sometimes a final LF",
    )
    yield case(
        "deployment",
        [created(path="/v1/deployments/acme/chat/predictions"), stream],
        said(*THREE),
        section + "deployment",
        model="deployments/acme/chat",
    )
    for name, model, version in (
        ("version-hash", VERSION, VERSION),
        ("version-full-name", f"meta/llama-2-70b-chat:{VERSION}", VERSION),
    ):
        yield case(
            name,
            [created(path="/v1/predictions", version=version), stream],
            said(*THREE),
            section + "community model",
            model=model,
        )
    for model, given in (
        ("anthropic/claude-4-sonnet", {"prompt": "Hi", "max_tokens": 2048, "system_prompt": "x"}),
        ("openai/gpt-5", {"prompt": "Hi", "max_completion_tokens": 99, "verbosity": "low"}),
        ("google/gemini-2.5-flash", {"prompt": "Hi", "max_output_tokens": 99, "top_p": 0.5}),
        (
            "meta/llama-2-70b-chat",
            {
                "prompt": "Hi",
                "max_new_tokens": 99,
                "temperature": 0.5,
                "stop_sequences": "a,b",
                "seed": 7,
            },
        ),
        ("deepseek-ai/deepseek-67b-base", {"prompt": "Hi", "max_new_tokens": 9, "top_k": 5}),
    ):
        yield case(
            f"inputs-of-{model.rpartition('/')[2]}",
            [created(path=f"/v1/models/{model}/predictions", given=given), stream],
            said(*THREE),
            "wire/replicate.md section 7: always let the caller pass raw `input` keys",
        )
    schema: Raw = {"Input": {"properties": {"prompt": {}, "max_tokens": {}}}}
    known = {"openapi_schema": {"components": {"schemas": schema}}}
    one = exchange(
        "GET",
        f"/v1/models/{LLAMA}",
        answer(compact({"owner": "meta", "name": "x", "latest_version": known})),
        host=API,
        headers=[KEY],
    )
    yield case(
        "schema-looked-at-first",
        [one, created(given={"prompt": "Hi", "max_tokens": 5}), stream],
        said(*THREE),
        section + "one model",
    )
    yield case(
        "older-token-scheme",
        [created(headers=[("authorization", "Token r8_test_token")]), stream],
        said(*THREE),
        "wire/replicate.md section 2: scheme `Token` is older",
    )
    waits = [KEY, ("prefer", "wait=5")]
    late = answer(
        compact(prediction("starting", output=None)),
        status=201,
        headers=[("preference-applied", "wait")],
    )
    yield case(
        "wait-ran-out",
        [
            created(late, headers=waits),
            got(prediction("processing", output=["The"])),
            got(prediction("succeeded", output=list(THREE))),
        ],
        said("The", " sky is blue."),
        "wire/replicate.md section 4: if time ran out: status `starting`",
        options={"prefer_wait": True},
    )
    ended = answer(compact(prediction("succeeded", output=list(THREE), error="")), status=201)
    yield case(
        "wait-succeeded",
        [created(ended, headers=waits)],
        said("".join(THREE)),
        "wire/replicate.md section 4: Prefer: wait",
        options={"prefer_wait": True},
    )
    for name, response, status in (
        ("html-200", answer(page("Maintenance"), content_type=HTML), 200),
        ("html-201", answer(page("Hello"), status=201, content_type=HTML), 201),
        ("list-201", answer("[]", status=201), 201),
        ("empty-201", answer(status=201), 201),
        ("null-id", answer(compact(prediction(id=None)), status=201), 201),
    ):
        yield case(
            f"create-{name}",
            [created(response)],
            failed("protocol", status, ""),
            "wire/replicate.md section 9, row 16: 200 with HTML",
        )


def hosts() -> Iterator[Raw]:
    section = "wire/replicate.md section 2, "
    files = f"https://stream.replicate.com/v1/files/bcwr-{STREAM_PATH[-52:]}"
    yield case(
        "files-stream-url",
        [
            created(answer(compact(prediction(stream=files)), status=201)),
            got(prediction("processing", output=["The"], stream=files)),
            got(prediction("succeeded", output=list(THREE), stream=files)),
        ],
        said("The", " sky is blue."),
        section + "a `/v1/files/` stream carries file URLs, not text",
    )
    stream = (HI, *outputs(*THREE), done())
    own = prediction(stream=f"https://{API}{STREAM_PATH}")
    yield case(
        "stream-on-the-api-host",
        [created(answer(compact(own), status=201)), streamed(*stream, host=API)],
        said(*THREE),
        section + "treat the URL as opaque, the host changes",
    )
    for status in (401, 403):
        refused = answer(status=status, content_type=None)
        yield case(
            f"stream-{status}-then-token-own-origin",
            [
                created(answer(compact(own), status=201)),
                streamed(response=refused, host=API),
                streamed(*stream, host=API, headers=[KEY]),
            ],
            said(*THREE),
            section + "the API's own origin: try once with it",
        )
        yield case(
            f"stream-{status}-then-token",
            [created(), streamed(response=refused), streamed(*stream, headers=[KEY])],
            said(*THREE),
            section + "or under replicate.com: try once with it",
        )


def refusals() -> Iterator[Raw]:
    section = "wire/replicate.md section 6"
    throttled = "Request was throttled. Your rate limit resets in ~30s."
    credit = "You have insufficient credit"
    field = {"type": "enum", "field": "input.size", "description": "size must be one of a, b"}
    extra = {
        "type": "additional_property_not_allowed",
        "field": "x",
        "description": "Additional property x is not allowed",
    }
    missing = {"type": "required", "field": "input", "description": "prompt is required"}
    rows: tuple[tuple[str, Raw, str, str], ...] = (
        (
            "401-none",
            refusal(
                401,
                title="Unauthenticated",
                status=401,
                detail="You did not pass an authentication token",
            ),
            "auth",
            "You did not pass an authentication token",
        ),
        (
            "401-newer",
            refusal(401, detail="Invalid or expired API token."),
            "auth",
            "Invalid or expired API token.",
        ),
        (
            "402",
            refusal(402, title="Insufficient credit", detail=credit, status=402),
            "payment",
            credit,
        ),
        (
            "403",
            refusal(403, detail="You do not have access"),
            "forbidden",
            "You do not have access",
        ),
        (
            "404-edge",
            refusal(404, detail="The requested resource could not be found.", status=404),
            "unknown_model",
            "The requested resource could not be found",
        ),
        ("404-web", refusal(404, detail="Not found."), "unknown_model", "Not found"),
        (
            "422-enum",
            refusal(
                422,
                title="Input validation failed",
                status=422,
                detail="- input.size: size must be one of a, b\n",
                invalid_fields=[field],
            ),
            "bad_request",
            "size must be one of a, b",
        ),
        (
            "422-extra",
            refusal(
                422,
                title="Input validation failed",
                invalid_fields=[extra],
                detail="- Additional property x is not allowed\n",
            ),
            "bad_request",
            "Additional property x is not allowed",
        ),
        (
            "422-many",
            refusal(
                422,
                title="Input validation failed",
                invalid_fields=[missing, field],
                detail="- input: prompt is required\n- input.size: x\n",
            ),
            "bad_request",
            "prompt is required",
        ),
        (
            "422-detail-only",
            refusal(422, detail="- input.prompt: prompt is required\n"),
            "bad_request",
            "input.prompt: prompt is required",
        ),
        ("413", refusal(413, detail="Request body too large"), "too_large", ""),
        (
            "500-text",
            answer("Internal Server Error", status=500, content_type=TEXT),
            "server",
            "500",
        ),
        (
            "503-html",
            answer(page("503 Service Temporarily Unavailable"), status=503, content_type=HTML),
            "server",
            "503",
        ),
        (
            "504-html",
            answer(page("504 Gateway Time-out"), status=504, content_type=HTML),
            "server",
            "504",
        ),
        ("524-empty", answer(status=524, content_type=None), "server", ""),
        ("520-json", refusal(520, title="Web server is returning an unknown error"), "server", ""),
    )
    for name, response, kind, words in rows:
        yield case(
            f"error-{name}",
            [created(response)],
            failed(kind, response["status"], words),
            section,
        )
    yield case(
        "error-422-version",
        [
            created(
                refusal(
                    422,
                    title="Invalid version or not permitted",
                    status=422,
                    detail="The specified version does not exist",
                ),
                path="/v1/predictions",
                version=VERSION,
            )
        ],
        failed("unknown_model", 422, "The specified version does not exist"),
        section + ": a version that is none is an unknown model",
        model=f"acme/chat:{VERSION}",
    )
    for name, response, wait in (
        ("text", refusal(429, detail=throttled, status=429), 30.0),
        ("body", refusal(429, detail="Request was throttled.", retry_after=7), 7.0),
        ("header", refusal(429, [("retry-after", "11")], detail=throttled, retry_after=7), 11.0),
    ):
        expected = failed("rate_limited", 429, "Request was throttled.")
        expected["error"]["retry_after"] = wait
        yield case(f"error-429-{name}", [created(response)], expected, section + ": the wait")
    yield case(
        "error-401-no-key",
        [created(refusal(401, detail="You did not pass an authentication token"), headers=())],
        failed("auth", 401, "You did not pass an authentication token"),
        section,
    )


def lists() -> Iterator[Raw]:
    def listed(following: str | None, owner: str, query: str = "") -> Raw:
        found = {"owner": owner, "name": "chat", "visibility": "public"}
        told = answer(compact({"next": following, "previous": None, "results": [found]}))
        return exchange("GET", "/v1/models", told, host=API, query=query, headers=[KEY])

    following = f"https://{API}/v1/models?cursor=abc"
    nothing: Raw = {"text": "", "pieces": [], "finish": None, "error": None}
    yield case(
        "models-in-two-pages",
        [listed(following, "one"), listed(None, "two", "cursor=abc")],
        nothing,
        "wire/replicate.md section 3: list models; `next` is an absolute URL or null",
    )


def leaving() -> Iterator[Raw]:
    section = "wire/replicate.md section 1: if the caller goes away: POST urls.cancel"
    long = outputs("one ", "two ", "three ", "four ")
    for pieces in (1, 2):
        shown = ("one ", "two ")[:pieces]
        yield case(
            f"leave-after-{pieces}",
            [created(), streamed(HI, *long), cancelled()],
            said(*shown, finish="cancelled"),
            section,
            client={"abort_after_pieces": pieces},
        )
    yield case(
        "leave-polling",
        [
            created(answer(compact(prediction(stream=None)), status=201)),
            got(prediction("processing", output=["one "], stream=None)),
            cancelled(),
        ],
        said("one ", finish="cancelled"),
        section,
        client={"abort_after_pieces": 1},
    )
