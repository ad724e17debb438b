"""Identity, bodies, refusals and files of Ai2 Playground (wire/allenai.md sections 2 to 4)."""

import re
from collections.abc import Mapping

import pytest

from penstock.sandbox.allenai import TOKEN, AllenAIServer
from penstock.sandbox.allenai.refusals import prefers_html, shortened
from penstock.sandbox.script import Fixed
from tests.sandbox.playground import (
    ANN,
    BEN,
    DIALECTS,
    GIF,
    NEW,
    NEW_PATH,
    OLD,
    OLD_PATH,
    PNG,
    client,
    messages,
)

# Identity (section 2)


@pytest.mark.parametrize("path", ["/v4/threads/", "/v3/message/msg_A1A1A1A1A1"])
async def test_a_bad_authorization_spoils_a_good_anonymous_id(path: str) -> None:
    async with client() as ask:
        for value in ("Bearer nonsense", "Basic abc", f"Token {TOKEN}"):
            answer = await ask.get(path, {**ANN, "Authorization": value})
            assert answer.status == 401


async def test_an_empty_anonymous_id_is_a_user() -> None:
    async with client() as ask:
        answer = await ask.post(NEW_PATH, NEW, {"x-anonymous-user-id": ""})
    assert answer.reply["creator"] == ""


async def test_the_newest_application_falls_back_to_the_anonymous_id() -> None:
    async with client() as ask:
        answer = await ask.get("/v5/user/whoami", {**ANN, "Authorization": "Bearer nonsense"})
        known = await ask.get("/v5/user/whoami", {"Authorization": f"Bearer {TOKEN}"})
    assert (answer.json["client"], answer.json["id"]) == ("ann", None)
    assert known.json["id"] == "auth0|sandbox"


async def test_signed_in_threads_are_open_and_do_not_expire() -> None:
    async with client() as ask:
        answer = await ask.post(NEW_PATH, NEW, {"Authorization": f"Bearer {TOKEN}", **ANN})
        other = await ask.get(f"/v3/message/{answer.lines[0]['message']}", BEN)
    reply = answer.reply
    assert (reply["private"], reply["expirationTime"]) == (False, None)
    assert re.fullmatch(r"cpl_([A-Z][0-9]){5}", str(reply["completion"]))
    assert other.status == 200


async def test_visibility_must_stay_that_of_the_thread() -> None:
    signed = {"Authorization": f"Bearer {TOKEN}"}
    async with client() as ask:
        first = await ask.post(NEW_PATH, {**NEW, "private": True}, signed)
        parent = first.reply["id"]
        refused = await ask.post(NEW_PATH, {**NEW, "parent": parent}, signed)
        again = await ask.post(NEW_PATH, {**NEW, "parent": parent, "private": True}, signed)
    assert first.reply["private"] is True
    assert (refused.status, again.status) == (400, 200)
    assert "Visibility" in refused.message


@pytest.mark.parametrize(("dialect", "path", "fields"), DIALECTS)
async def test_anonymous_threads_are_private_and_expire(
    dialect: str, path: str, fields: Mapping[str, object]
) -> None:
    async with client(dialect=dialect, lifetime=0.0) as ask:
        answer = await ask.post(path, {**fields, "private": False})
        reply = next(one for one in answer.lines if "id" in one)
        if dialect == "threads":
            reply = messages(reply)[-1]
        assert reply["private"] is True
        read = await ask.get(f"/v3/message/{reply['root']}")
        follow = await ask.post(path, {**fields, "parent": reply["id"]})
    assert read.status == 404
    assert (follow.status, "not found" in follow.message) == (400, True)


async def test_body_is_judged_before_credentials_only_in_the_older_version() -> None:
    async with client(dialect="message-stream") as ask:
        assert (await ask.post(OLD_PATH, {}, {})).status == 400
    async with client() as ask:
        assert (await ask.post(NEW_PATH, {}, {})).status == 401


# Bodies (sections 3.1, 4.1)


async def test_fields_come_by_json_form_or_query_in_both_spellings() -> None:
    async with client(dialect="message-stream") as ask:
        spelled = [{"max_tokens": "7"}, {"maxTokens": "7"}]
        answers = [await ask.post(OLD_PATH, {**OLD, **one}) for one in spelled]
        answers += [await ask.form(OLD_PATH, {**OLD, **one}) for one in spelled]
        query = "?model=tulu3-405b&host=inferd&content=Hi&maxTokens=7"
        answers.append(await ask.ask("POST", OLD_PATH + query, ANN))
        urlencoded = await ask.ask("POST", OLD_PATH, ANN, data=dict(OLD))
    for answer in answers:
        opts = answer.reply["opts"]
        assert isinstance(opts, dict)
        assert opts["max_tokens"] == 7
    assert urlencoded.status == 400
    assert urlencoded.message.startswith("3 validation errors for CreateMessageRequestV4\nmodel\n")


async def test_stop_of_the_older_version_works_in_forms_only() -> None:
    async with client("lorem", dialect="message-stream") as ask:
        form = await ask.form(OLD_PATH, {**OLD, "stop": "dolor"})
        as_json = await ask.post(OLD_PATH, {**OLD, "stop": ["dolor"]})
    assert form.said.endswith("dolor")
    assert len(as_json.said) > len(form.said)


async def test_line_ends_are_kept_in_the_older_version_only() -> None:
    async with client(dialect="message-stream") as ask:
        assert (await ask.form(OLD_PATH, {**OLD, "content": "a\r\nb"})).said == "a\r\nb"
    async with client() as ask:
        assert (await ask.form(NEW_PATH, {**NEW, "content": "a\r\nb"})).said == "a\nb"


async def test_a_large_form_field_is_refused_and_a_large_json_value_is_not() -> None:
    large = "x " * 250_001
    async with client(Fixed(["ok"])) as ask:
        assert (await ask.form(NEW_PATH, {**NEW, "content": large})).status == 413
        assert (await ask.post(NEW_PATH, {**NEW, "content": large})).status == 200


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("temperature", "1.5", "Input should be less than or equal to 1"),
        ("temperature", 0.333, "Input should be a multiple of 0.01"),
        (
            "temperature",
            "warm",
            "Input should be a valid number, unable to parse string as a number",
        ),
        (
            "temperature",
            "nan",
            "Input should be a valid number, unable to parse string as a number",
        ),
        ("top_p", 0, "Input should be greater than or equal to 0.01"),
        ("max_tokens", 0, "Input should be greater than or equal to 1"),
        ("max_tokens", 2049, "Input should be less than or equal to 2048"),
        (
            "max_tokens",
            "many",
            "Input should be a valid integer, unable to parse string as an integer",
        ),
        ("n", 2, "Input should be less than or equal to 1"),
        ("logprobs", 11, "Input should be less than or equal to 10"),
        ("content", "", "String should have at least 1 character"),
        ("content", 5, "Input should be a valid string"),
        ("role", "king", "Input should be 'user', 'assistant' or 'system'"),
        ("private", "maybe", "Input should be a valid boolean, unable to interpret input"),
    ],
)
async def test_options_of_the_older_version_have_fixed_limits(
    field: str, value: object, told: str
) -> None:
    async with client(dialect="message-stream") as ask:
        answer = await ask.post(OLD_PATH, {**OLD, field: value})
    error = answer.json["error"]
    assert isinstance(error, dict)
    complaint = error["validation_errors"][0]
    assert (answer.status, complaint["loc"], complaint["msg"]) == (400, [field], told)
    assert complaint["url"].startswith("https://errors.pydantic.dev/2.10/v/")


@pytest.mark.parametrize("value", [0, 0.29, 0.57, 0.7, 1])
async def test_every_value_with_two_decimals_is_on_the_grid(value: float) -> None:
    async with client(dialect="message-stream") as ask:
        assert (await ask.post(OLD_PATH, {**OLD, "temperature": value})).status == 200


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("topP", 1.2, "Default top_p must be less than or equal to the configured upper limit"),
        (
            "maxTokens",
            0,
            "Default max_tokens must be greater than or equal to the configured lower",
        ),
    ],
)
async def test_options_of_the_newer_version_are_refused_in_plain_words(
    field: str, value: object, told: str
) -> None:
    async with client() as ask:
        answer = await ask.post(NEW_PATH, {**NEW, field: value})
    assert (answer.status, answer.message[: len(told)]) == (400, told)
    assert "validation_errors" not in str(answer.json)


async def test_only_the_newer_version_inherits_options() -> None:
    async with client(dialect="message-stream") as ask:
        first = await ask.post(OLD_PATH, {**OLD, "temperature": 0.2})
        second = await ask.post(OLD_PATH, {**OLD, "parent": first.reply["id"]})
        assert "'temperature': 0.7" in str(second.reply["opts"])
    async with client() as ask:
        first = await ask.post(NEW_PATH, {**NEW, "temperature": 0.2, "stop": ["zz"]})
        second = await ask.post(NEW_PATH, {**NEW, "parent": first.reply["id"]})
        assert "'temperature': 0.2" in str(second.reply["opts"])
        assert "['zz']" in str(second.reply["opts"])


@pytest.mark.parametrize("body", [b"{", b"[1]", b'"text"'])
async def test_bad_json_is_refused(body: bytes) -> None:
    async with client() as ask:
        headers = {**ANN, "Content-Type": "application/json"}
        answer = await ask.ask("POST", NEW_PATH, headers, data=body)
    assert (answer.status, answer.kind) == (400, "application/json")


async def test_a_broken_form_is_refused() -> None:
    async with client() as ask:
        headers = {**ANN, "Content-Type": "multipart/form-data; boundary=x"}
        answer = await ask.ask("POST", NEW_PATH, headers, data=b"--y\r\nno form")
    assert answer.status == 400


async def test_text_with_a_null_character_is_a_server_error() -> None:
    for dialect, path, fields in DIALECTS:
        async with client(dialect=dialect) as ask:
            assert (await ask.post(path, {**fields, "content": "a\x00b"})).status == 500


# Errors (sections 2, 3.7)


@pytest.mark.parametrize(
    ("accept", "html"),
    [
        ("*/*", False),
        ("application/json", False),
        ("text/html", True),
        ("text/html,application/xhtml+xml,*/*;q=0.8", True),
        ("application/json, text/html;q=0.5", False),
        ("text/*;q=0.9, */*;q=0.1", True),
        ("text/html;q=x", False),
        ("", False),
    ],
)
async def test_errors_are_pages_for_clients_that_prefer_them(accept: str, html: bool) -> None:
    assert prefers_html(accept) is html
    async with client() as ask:
        answer = await ask.get("/v4/threads/", {"Accept": accept})
    assert answer.status == 401
    assert answer.kind == ("text/html; charset=utf-8" if html else "application/json")
    assert answer.body.startswith(b"<!doctype html>" if html else b'{"error": {"code": 401')


def test_messages_repeat_the_input_cut_in_its_middle() -> None:
    assert shortened("x" * 50) == "x" * 50
    assert shortened("a" * 30 + "b" * 30) == "a" * 25 + "..." + "b" * 24


async def test_unknown_paths_and_methods_have_standard_words() -> None:
    async with client(dialect="message-stream") as ask:
        for method, path, status in (
            ("POST", "/v4/message/stream/", 404),
            ("POST", "/v4/threads/", 404),
            ("GET", "/v4/message/stream", 405),
        ):
            answer = await ask.ask(method, path, ANN)
            assert (answer.status, answer.kind) == (status, "application/json")
    async with client() as ask:
        assert (await ask.ask("DELETE", "/v4/threads/msg_A1A1A1A1A1", ANN)).status == 405
        lost = await ask.get("/v5/nothing")
        assert (lost.status, lost.kind) == (404, "application/problem+json")


async def test_a_missing_slash_is_answered_by_a_redirect_to_this_very_server() -> None:
    async with client() as ask:
        answer = await ask.get("/v4/threads?limit=1")
        assert answer.status == 308
        assert answer.place == ask.server.urls[""] + "/v4/threads/?limit=1"


async def test_a_body_over_the_proxy_limit_is_answered_by_the_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(AllenAIServer, "body_limit", 1000)
    async with client() as ask:
        answer = await ask.post(NEW_PATH, {**NEW, "content": "x" * 2000})
    assert (answer.status, answer.kind) == (413, "text/html")


# Files (sections 3.5, 4.5)

MOLMO = {"model": "mm-olmo-uber-model-v4-synthetic", "host": "modal", "content": "Look"}


@pytest.mark.parametrize(
    ("files", "status", "told"),
    [
        ([], 400, "requires a file"),
        ([("a.png", "image/png", PNG)] * 2, 400, "at most 1 files"),
        ([("a.png", "image/png", PNG + bytes(65536))], 400, "total size"),
        ([("a.png", "image/png", b"")], 400, "empty"),
        ([("a.png", "image/png", b"plain text")], 500, ""),
        ([("a.txt", "text/plain", GIF)], 200, ""),
    ],
)
async def test_file_rules_of_the_older_version_look_at_the_bytes(
    files: list[tuple[str, str, bytes]], status: int, told: str
) -> None:
    async with client(dialect="message-stream") as ask:
        answer = await ask.form(OLD_PATH, MOLMO, files)
    assert answer.status == status
    assert not told or told in answer.message
    if status == 200:
        urls = answer.lines[0]["file_urls"]
        assert isinstance(urls, list)
        assert urls[0].endswith(f"{answer.lines[0]['id']}-0.gif")


async def test_files_belong_to_the_first_message() -> None:
    file = ("a.png", "image/png", PNG)
    async with client(dialect="message-stream") as ask:
        first = await ask.form(OLD_PATH, MOLMO, [file])
        below = {**MOLMO, "parent": first.reply["id"]}
        assert (await ask.form(OLD_PATH, below, [file])).status == 400
        assert (await ask.form(OLD_PATH, below)).status == 200


async def test_the_newer_version_believes_the_declared_type() -> None:
    async with client() as ask:
        named = await ask.form(NEW_PATH, NEW, [("a", "image/png", b"plain text")])
        other = await ask.form(NEW_PATH, NEW, [("a.png", "application/pdf", PNG)])
        many = await ask.form(
            NEW_PATH, {**NEW, "model": "Molmo2-8B"}, [("a", "image/png", PNG)] * 3
        )
    assert named.status == 200
    assert other.message == "Unsupported file types in input"
    assert "at most 2" in many.message


async def test_moderation_judges_texts_and_files() -> None:
    async with client(refused_texts=("bad word",), refused_files=("EVIL",)) as ask:
        text = await ask.post(NEW_PATH, {**NEW, "content": "a bad word here"})
        file = await ask.form(NEW_PATH, NEW, [("a", "image/png", PNG + b"EVIL")])
    assert text.message == "inappropriate_prompt_text"
    assert file.message == "inappropriate_prompt_file"


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"captchaToken": "bot"}, 400),
        ({"captchaToken": "good"}, 200),
        ({"captchaToken": None}, 400),
        ({}, 200),
    ],
)
async def test_captcha_tokens_are_judged_where_that_is_switched_on(
    fields: Mapping[str, object], status: int
) -> None:
    async with client(captcha=True) as ask:
        assert (await ask.post(NEW_PATH, {**NEW, **fields})).status == status
        signed = await ask.post(
            NEW_PATH, {**NEW, "captchaToken": "bot"}, {"Authorization": f"Bearer {TOKEN}"}
        )
        assert signed.status == 200
