"""Recorded requests to calls: each protocol's derivation, and what is given up to send one."""

from __future__ import annotations

import json
from urllib.parse import quote

import msgspec
import pytest

from penstock.errors import AuthError, BadRequestError
from penstock.testing.replay.case import Case
from penstock.testing.replay.plan import (
    PLACEHOLDER,
    Access,
    Chat,
    ListModels,
    Request,
    Step,
    is_judged,
    plan,
    sampling_of,
    with_placeholder,
    without,
)
from penstock.testing.replay.protocols import protocol_of
from penstock.types import ImagePart, Message, Sampling, TextPart, Tool
from penstock.wire.multipart import FilePart, encode_multipart
from tests.testing.recorded import (
    COOKIE,
    H2O_MODEL,
    asked,
    case_of,
    cassette,
    deleted,
    exchange,
    opened,
    settings,
)

PNG = b"\x89PNG\r\n\x1a\n"


def steps_of(case: Case) -> tuple[Step, ...]:
    protocol = protocol_of(case)
    assert protocol is not None
    return plan(protocol, case)


def calls_of(case: Case) -> list[Chat]:
    return [step.call for step in steps_of(case) if isinstance(step.call, Chat)]


def only_call(case: Case) -> Chat:
    (call,) = calls_of(case)
    return call


def post(
    path: str, fields: list[tuple[str, str]], *files: FilePart, **more: object
) -> dict[str, object]:
    content_type, body = encode_multipart(fields, files)
    made = exchange("POST", path, body, sent_as=content_type, host="olmo-api.allen.ai")
    made["response"] |= more
    return made


# -- Ai2 Playground -----------------------------------------------------------------------------


def test_allenai_a_turn_with_everything() -> None:
    tool = {"name": "t", "description": "d", "parameters": {"type": "object"}}
    fields = [
        ("model", "m"),
        ("content", "Hi"),
        ("host", "modal"),
        ("private", "true"),
        ("temperature", "0.50"),
        ("topP", "1"),
        ("maxTokens", "8"),
        ("stop", "a"),
        ("stop", "b"),
        ("enableToolCalling", "true"),
        ("selectedTools", "x"),
        ("toolDefinitions", json.dumps([tool])),
        ("n", "none"),
    ]
    call = only_call(
        case_of(
            "allenai", [post("/v4/threads/", fields, FilePart("files", "p.png", PNG, "image/png"))]
        )
    )
    assert call.model == "m"
    assert call.messages[0].content == (
        TextPart("Hi"),
        ImagePart(data=PNG, media_type="image/png", name="p.png"),
    )
    assert call.sampling == Sampling(temperature=0.5, top_p=1, max_tokens=8, stop=("a", "b"))
    assert call.tools == (Tool("t", "d", {"type": "object"}),)
    assert call.extra == {
        "host": "modal",
        "enableToolCalling": True,
        "selectedTools": ["x"],
        "n": "none",
    }


@pytest.mark.parametrize("definitions", ["{", "[1]", "1"])
def test_allenai_tools_that_are_none(definitions: str) -> None:
    turn = post("/v4/threads/", [("model", "m"), ("toolDefinitions", definitions)])
    assert only_call(case_of("allenai", [turn])).tools == ()


def test_allenai_identity_and_dialect() -> None:
    (step,) = steps_of(cassette("allenai-2026-signed-in-user"))
    assert step.access.dialect == "threads"
    assert step.access.api_key is not None
    assert step.access.user is None
    (step,) = steps_of(cassette("allenai-2025-first-turn-ascii"))
    assert step.access.dialect == "message-stream"
    assert step.access.user is not None


def test_allenai_parents_decide() -> None:
    calls = calls_of(cassette("allenai-2025-branch-same-parent"))
    assert len({call.thread for call in calls}) == 1
    assert [call.pinned for call in calls] == [False, True, True, True]
    assert calls[1].parent == calls[2].parent != calls[3].parent
    unknown = only_call(cassette("allenai-2025-err-unknown-parent"))
    assert (unknown.parent, unknown.pinned) == ("msg_A1A1A1A1A1", True)


def test_allenai_a_redirect_and_its_resend_are_one_call() -> None:
    (step,) = steps_of(cassette("allenai-2026-redirect-missing-slash"))
    assert (step.start, step.answer) == (0, 1)
    first = post("/v4/threads/", [("model", "m"), ("content", "1")])
    moved = post("/v4/threads", [("model", "m"), ("content", "2")], status=308)
    last = post("/v4/threads/", [("model", "m"), ("content", "2")])
    starts = [
        (step.start, step.answer) for step in steps_of(case_of("allenai", [first, moved, last]))
    ]
    assert starts == [(0, 0), (1, 2)]


def test_allenai_tool_results_and_other_roles() -> None:
    call = calls_of(cassette("allenai-2026-user-tool-and-result"))[1]
    assert call.messages == (Message(role="tool", content="18C, sunny", tool_call_id="call_w1"),)
    assert call.extra == {}
    case = cassette("allenai-2025-role-assistant-json-reply")
    assert len(calls_of(case)) == 1
    assert not is_judged(case, steps_of(case))


def test_allenai_fields_in_a_query() -> None:
    turn = exchange("POST", "/v4/message/stream", query=f"model=m&content={quote('Grüß dich')}")
    assert only_call(case_of("allenai", [turn])).messages[0].content == "Grüß dich"


def test_allenai_a_missing_text_becomes_a_harmless_one() -> None:
    call = only_call(cassette("allenai-2025-err-missing-content"))
    assert call.messages[0].content == PLACEHOLDER


def test_allenai_lists() -> None:
    (step,) = steps_of(cassette("allenai-2026-models-list"))
    assert isinstance(step.call, ListModels)
    assert steps_of(case_of("allenai", [exchange("GET", "/health")])) == ()


# -- Open-Assistant -----------------------------------------------------------------------------


def test_openassistant_one_question() -> None:
    call = only_call(cassette("oa-single-turn-en"))
    assert call.messages[0].content == "What is the capital of France?"
    assert call.model == "OA_SFT_Llama_30B_6"
    assert call.sampling.temperature == 0.35
    assert call.sampling.top_p is None
    assert call.sampling.max_tokens == 1024
    assert (call.thread, call.pinned) == (None, False)


def test_openassistant_two_turns_share_a_chat() -> None:
    steps = steps_of(cassette("oa-followup-turn"))
    first, second = (step.call for step in steps)
    assert isinstance(first, Chat)
    assert isinstance(second, Chat)
    assert first.thread == second.thread is not None
    assert second.parent == "06b00e54-0bb2-7c65-8000-61b2f5337c5d"
    assert steps[0].stop == steps[1].start


def test_openassistant_asks_again_and_forks() -> None:
    calls = calls_of(cassette("oa-parent-not-complete-400"))
    assert [call.messages[0].content for call in calls] == ["Will fail", "And now?", "Will fail"]
    assert [call.pinned for call in calls] == [True, True, True]


def test_openassistant_credentials() -> None:
    case = cassette("oa-session-variants")
    assert steps_of(case) == ()
    (step,) = steps_of(cassette("oa-native-single-turn"))
    assert (step.access.dialect, bool(step.access.api_key)) == ("native", True)
    trusted = exchange("POST", "/chats", {}, status=404, headers=[("TrustedClient", "e30=")])
    (step,) = steps_of(case_of("openassistant", [trusted]))
    assert step.access.options == {"trusted_client": "e30="}
    (step,) = steps_of(cassette("oa-single-turn-en"))
    assert list(step.access.cookies) == ["next-auth.session-token"]


def test_openassistant_system_text_and_what_has_no_place() -> None:
    order = {
        "parent_id": "q",
        "model_config_name": "m",
        "sampling_parameters": {"temperature": "hot", "top_k": 5, "new": 1},
        "system_prompt": "Be brief.",
        "user_profile": "me",
        "plugins": [],
    }
    asked_of = exchange("POST", "/chats/c/prompter_message", {"content": "Hi"}, answer={"id": "q"})
    ordered = exchange("POST", "/chats/c/assistant_message", order)
    call = only_call(case_of("openassistant", [asked_of, ordered]))
    assert [message.role for message in call.messages] == ["system", "user"]
    assert call.sampling == Sampling(top_k=5)
    assert call.extra == {"temperature": "hot", "new": 1, "user_profile": "me"}


def test_openassistant_lists_and_nothing() -> None:
    listed = exchange("GET", "/configs/model_configs")
    (step,) = steps_of(case_of("openassistant", [listed]))
    assert isinstance(step.call, ListModels)


def test_openassistant_more_turns_than_calls_are_not_judged() -> None:
    case = cassette("oa-single-turn-en")
    turns = (case.expected, case.expected)
    expected = msgspec.structs.replace(case.expected, turns=turns)
    case = msgspec.structs.replace(case, expected=expected)
    assert not is_judged(case, steps_of(case))


def test_openassistant_a_made_up_session_shows_a_refusal() -> None:
    case = cassette("oa-not-logged-in-403")
    protocol = protocol_of(case)
    assert protocol is not None
    step = steps_of(case)[0]
    relaxed = protocol.relaxed(step, AuthError("no session"))
    assert relaxed is not None
    assert relaxed.access.cookies
    assert protocol.relaxed(relaxed, AuthError("again")) is None


# -- both chat-uis ------------------------------------------------------------------------------


def test_h2o_one_message_is_a_call_of_its_own() -> None:
    parameters = {
        "temperature": 0.4,
        "truncate": 2048,
        "max_new_tokens": 9,
        "stop": [" 7"],
        "details": True,
        "seed": None,
        "top_k": True,
    }
    message = asked("Hi", body={"parameters": parameters, "stream": False})
    call = only_call(case_of("h2o", [settings(), opened(), message, deleted()]))
    assert call.model == H2O_MODEL
    assert call.sampling == Sampling(temperature=0.4, max_tokens=9, stop=(" 7",))
    assert call.extra == {"truncate": 2048, "top_k": True}
    assert call.whole
    assert (call.thread, call.conversation_id) == (None, None)


def test_h2o_messages_of_one_conversation_share_it() -> None:
    steps = steps_of(case_of("h2o", [settings(), opened(), asked("1"), asked("2"), deleted()]))
    assert [(step.start, step.stop) for step in steps] == [(0, 3), (3, 5)]
    assert len({call.thread for step in steps if isinstance(call := step.call, Chat)}) == 1


def test_h2o_a_conversation_that_is_gone_or_not_ours_is_named() -> None:
    gone = only_call(cassette("h2o-deleted-404"))
    assert (gone.conversation_id, gone.conversation_gone) == ("6b00e66beb3580645cb56d01", True)
    foreign = only_call(cassette("h2o-foreign-session-404"))
    assert (foreign.conversation_id, foreign.conversation_gone) == (
        "6b00e640eb3580645cb56ccb",
        False,
    )
    never_opened = only_call(case_of("h2o", [settings(), asked("Hi"), deleted()]))
    assert never_opened.model == H2O_MODEL
    assert never_opened.conversation_id is not None


def test_h2o_a_refused_deletion_changes_nothing() -> None:
    case = case_of("h2o", [opened(), deleted(status=404), asked("Hi")])
    assert only_call(case).conversation_id is None


@pytest.mark.parametrize(
    ("name", "answer"),
    [("h2o-login-required-401", 0), ("h2o-modal-405", 0), ("h2o-short-model-name-500", 1)],
)
def test_h2o_a_refusal_before_any_message(name: str, answer: int) -> None:
    (step,) = steps_of(cassette(name))
    assert step.answer == answer
    assert isinstance(step.call, Chat)
    assert step.call.messages[0].content == PLACEHOLDER


def test_h2o_lists_are_no_calls() -> None:
    assert steps_of(case_of("h2o", [settings(), exchange("GET", "/__data.json")])) == ()


def test_chatui_system_text_parent_and_files() -> None:
    data = json.dumps({"inputs": "What is it?", "id": "root"})
    file = FilePart("files", "base64;p.png", b"iVBORw0KGgo=", "image/png")
    other = FilePart("files", "raw.png", PNG, "image/png")
    content_type, body = encode_multipart([("data", data)], [file, other])
    path = "/conversation/6b00e63deb3580645cb56caf"
    message = exchange("POST", path, body, sent_as=content_type, headers=[COOKIE])
    start = opened("m")
    start["request"]["body_b64"] = None
    start["request"]["body"] = json.dumps({"model": "m", "preprompt": "Be brief."})
    case = case_of("chatui", [start, message])
    system, user = only_call(case).messages
    assert system == Message(role="system", content="Be brief.")
    assert user.content == (
        TextPart("What is it?"),
        ImagePart(data=PNG, media_type="image/png", name="p.png"),
        ImagePart(data=PNG, media_type="image/png", name="raw.png"),
    )
    protocol = protocol_of(case)
    assert protocol is not None
    said = protocol.fields(Request.recorded(case.exchanges[1]))
    assert (said["text"], said["parent"]) == ("What is it?", "root")
    assert "files" in said


def test_chatui_a_refused_system_text_is_asked_with() -> None:
    start = opened("m", status=400)
    start["request"]["body_b64"] = None
    start["request"]["body"] = json.dumps({"model": "m", "preprompt": "Be brief."})
    assert [m.role for m in only_call(case_of("chatui", [start])).messages] == ["system", "user"]


def test_chatui_lists() -> None:
    (step,) = steps_of(cassette("chatui-api-lists"))
    assert isinstance(step.call, ListModels)
    assert steps_of(case_of("chatui", [exchange("GET", "/healthcheck")])) == ()


# -- Replicate and Cog --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body", "model"),
    [
        ("/v1/models/meta/llama/predictions", {}, "meta/llama"),
        ("/v1/deployments/acme/app/predictions", {}, "deployments/acme/app"),
        ("/v1/predictions", {"version": "o/n:0a"}, "o/n:0a"),
        ("/v1/predictions", {}, "meta/meta-llama-3-70b-instruct"),
    ],
)
def test_replicate_models_are_read_from_paths(path: str, body: object, model: str) -> None:
    assert only_call(case_of("replicate", [exchange("POST", path, body)])).model == model


def test_replicate_inputs() -> None:
    body = {"input": {"prompt": "Hi", "max_new_tokens": 5, "system_prompt": "s", "seed": 1}}
    made = exchange("POST", "/v1/predictions", body, headers=[("prefer", "wait=5")])
    call = only_call(case_of("replicate", [made]))
    assert call.messages[0].content == "Hi"
    assert call.sampling == Sampling(max_tokens=5, seed=1)
    assert call.extra == {"system_prompt": "s"}
    assert call.whole


def test_replicate_each_create_is_a_call() -> None:
    steps = steps_of(cassette("replicate-error-429-then-ok"))
    assert [(step.start, step.stop, step.answer) for step in steps] == [(0, 1, 0), (1, 3, 1)]
    assert [step.expected is not None for step in steps] == [False, True]


def test_replicate_pages_are_one_list() -> None:
    pages = [exchange("GET", "/v1/models"), exchange("GET", "/v1/models", query="cursor=a")]
    (step,) = steps_of(case_of("replicate", pages))
    assert (step.start, step.stop) == (0, 2)


def test_replicate_a_made_up_key_shows_a_refusal() -> None:
    case = case_of("replicate", [exchange("POST", "/v1/predictions", {"input": {}}, status=401)])
    protocol = protocol_of(case)
    assert protocol is not None
    (step,) = steps_of(case)
    relaxed = protocol.relaxed(step, AuthError("no key"))
    assert relaxed is not None
    assert relaxed.access.api_key
    assert protocol.relaxed(relaxed, AuthError("again")) is None


def test_cog_streams_where_events_are_asked_for() -> None:
    assert not only_call(cassette("replicate-cog-stream-basic")).whole
    assert only_call(cassette("replicate-cog-sync-json")).whole
    made = exchange("PUT", "/predictions/abc", {"input": {"prompt": "Hi"}})
    case = case_of("replicate", [made], dialect="cog")
    assert only_call(case).messages[0].content == "Hi"
    protocol = protocol_of(case)
    assert protocol is not None
    assert protocol.key("PUT", "/predictions/abc", "") == protocol.key("POST", "/predictions", "")
    assert protocol.key("GET", "/health-check", "") != protocol.key("GET", "/", "")


# -- leaving, expectations, giving up ------------------------------------------------------------


def test_leaving_is_read_from_the_recording() -> None:
    assert steps_of(cassette("replicate-client-abort-cancel"))[0].leave_after == 3
    assert steps_of(cassette("h2o-cancel-then-delete"))[0].leave_after == 12
    assert steps_of(cassette("oa-cancel-then-delete-later"))[0].leave_after == 4
    # The server ended these by itself.
    assert steps_of(cassette("chatui-stopped"))[0].leave_after is None
    assert steps_of(cassette("replicate-stream-done-canceled"))[0].leave_after is None


def test_a_broken_stream_was_left_only_where_it_was_stopped_by_hand() -> None:
    path = "/conversation/6b00e63deb3580645cb56caf/stop-generating"
    expected = {"text": "a", "pieces": ["a"], "finish": "cancelled", "error": None, "exchange": 1}
    broken = [opened(), asked("Hi", closed="reset")]
    stopped = [*broken, exchange("POST", path, headers=[COOKIE])]
    assert steps_of(case_of("h2o", broken, expected))[0].leave_after is None
    assert steps_of(case_of("h2o", stopped, expected))[0].leave_after == 1


def test_expectations_name_their_exchange() -> None:
    steps = steps_of(cassette("chatui-two-turns"))
    assert [step.expected.text if step.expected else None for step in steps] == [
        "Hello! I am h2oGPT. How can I help you today?",
        "Your name is Zoë.",
    ]
    elsewhere = {"text": "x", "pieces": ["x"], "finish": "stop", "error": None, "exchange": 9}
    case = case_of("h2o", [opened(), asked("Hi")], elsewhere)
    assert not is_judged(case, steps_of(case))


def test_a_parameter_is_given_up_by_either_name() -> None:
    case = cassette("h2o-type-error-422-text")
    protocol = protocol_of(case)
    assert protocol is not None
    step = steps_of(case)[0]
    for param in ("max_new_tokens", "max_tokens"):
        relaxed = protocol.relaxed(step, BadRequestError("no", param=param))
        assert relaxed is not None
        assert {"max_new_tokens", "max_tokens"} & relaxed.forgone
        assert isinstance(relaxed.call, Chat)
        assert "max_new_tokens" not in relaxed.call.extra
    assert protocol.relaxed(step, BadRequestError("no", param="unheard-of")) is None
    assert protocol.relaxed(step, BadRequestError("no")) is None


def step_with(call: Chat | ListModels) -> Step:
    return Step(start=0, answer=0, access=Access(), call=call)


def test_what_can_be_left_out() -> None:
    messages = (Message(role="user", content="Hi"),)
    sampling = Sampling(temperature=2.0, stop=("a",))
    call = Chat(model="m", messages=messages, sampling=sampling, tools=(Tool("t"),), extra={"n": 1})
    step = step_with(call)
    for param in ("temperature", "stop", "tools", "n"):
        left = without(step, param)
        assert left is not None
        assert left.forgone == {param}
        assert without(left, param) is None
    assert without(step, None) is None
    assert without(step_with(ListModels()), "n") is None


def test_a_refused_question_becomes_a_harmless_one_once() -> None:
    step = step_with(Chat(model="m", messages=(Message(role="user", content="\0"),)))
    harmless = with_placeholder(step)
    assert harmless is not None
    assert with_placeholder(harmless) is None
    assert with_placeholder(step_with(ListModels())) is None


def test_sampling_takes_numbers_only() -> None:
    names = {"t": "temperature", "s": "stop", "k": "top_k"}
    given = {"t": 1, "s": "x", "k": float("nan"), "other": None, "new": 1}
    sampling, extra = sampling_of(given, names)
    assert sampling == Sampling(temperature=1)
    assert set(extra) == {"s", "k", "new"}


def test_an_unknown_protocol_has_no_module() -> None:
    assert protocol_of(case_of("elsewhere", [exchange("GET", "/")])) is None
