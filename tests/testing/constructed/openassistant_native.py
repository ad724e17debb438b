"""Open-Assistant's inference server, asked directly (wire/openassistant.md sections 7 and 10)."""

from __future__ import annotations

from collections.abc import Iterator

from tests.testing.constructed.assistant_site import (
    detail,
    ended,
    message,
    native,
    native_events,
    native_looked,
    native_turn,
    token,
)
from tests.testing.constructed.build import Raw, answer, compact
from tests.testing.constructed.openassistant import case, lost, whole


def cases() -> Iterator[Raw]:
    section = "wire/openassistant.md section 10, "
    good = native_events(token("One"), token("."), ended("One."))
    yield case("native", native_turn(good), whole("One", "."), section + "the whole sequence")
    complete = answer(compact(message("complete", "One.")))
    yield case(
        "native-204",
        native_turn(native_events(status=204), *native_looked([complete])),
        {**whole(), "text": "One.", "final_content": "One."},
        section + "finished **204**",
    )
    yield case(
        "native-reset-then-complete",
        native_turn(
            native_events(token("One"), closed="reset"),
            *native_looked([answer(compact(message("in_progress", None))), complete]),
        ),
        whole("One", content="One."),
        "wire/openassistant.md section 7: connection reset (native)",
    )
    yield case(
        "native-reset-then-aborted",
        native_turn(
            native_events(token("One"), closed="reset"),
            *native_looked([answer(compact(message("aborted_by_worker", None)))]),
        ),
        lost("model", None, "", "One"),
        "wire/openassistant.md section 7: connection reset (native)",
    )
    for name, response, kind, status in (
        ("422-model", detail(422, "Model X not found"), "unknown_model", 422),
        (
            "422-list",
            detail(422, [{"loc": ["body"], "msg": "field required", "type": "x"}]),
            "bad_request",
            422,
        ),
        (
            "503",
            detail(503, "The server is currently busy. Please try again later."),
            "overloaded",
            503,
        ),
        ("500-empty", answer(status=500, content_type=None), "server", 500),
        (
            "429-as-500",
            answer("Internal Server Error", status=500, content_type=None),
            "server",
            500,
        ),
        ("413", detail(413, "Maximum number of messages reached for this chat"), "too_large", 413),
    ):
        yield case(
            f"native-order-{name}",
            native_turn(order=response),
            lost(kind, status, ""),
            section + "errors are {detail: text | list}",
        )
    trusted = (("TrustedClient", "eyJhcGlfa2V5IjoieCJ9"),)
    for name, headers, response, kind, status in (
        (
            "401-expired",
            (("Authorization", "Bearer old"),),
            detail(401, "Token expired"),
            "auth",
            401,
        ),
        ("401-trusted", trusted, detail(401, "Unauthorized client"), "auth", 401),
        ("404-user", trusted, detail(404, "User not found"), "not_found", 404),
        ("403-none", (), detail(403, "Not authenticated"), "auth", 403),
    ):
        yield case(
            f"native-create-{name}",
            [native("POST", "/chats", response, {}, headers=headers)],
            lost(kind, status, ""),
            section + "table of failures",
        )
    yield case(
        "native-400-prompter",
        native_turn(
            native_events(
                compact({"detail": "Only assistant messages can be streamed."}), status=400
            )
        ),
        lost("bad_request", 400, ""),
        section + "prompter message 400",
    )
