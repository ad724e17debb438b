"""Sessions, posts and lists of Open-Assistant (wire/openassistant.md sections 2 to 5, 10)."""

import base64
import io
import json
import re
from collections.abc import Mapping

import pytest

from penstock.sandbox.openassistant import TOKEN
from penstock.sandbox.openassistant.models import config
from penstock.sandbox.openassistant.posts import servable
from penstock.sandbox.openassistant.records import made_id
from tests.sandbox.assistant_site import MODEL, Answer, Fields, Person, site

COOKIE = "next-auth.session-token"
BEARER = {"Authorization": "Bearer ann-token"}
NOBODY: Mapping[str, str] = {}


def refused(answer: Answer) -> tuple[int, object]:
    """Status and message of a refusal."""
    return answer.status, answer.json["message"]


# Sessions (section 2)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Cookie": f"{COOKIE}=ann-token"}, 200),
        ({"Cookie": f"other=1; {COOKIE}=ann-token; more=2"}, 200),
        ({"Cookie": f"{COOKIE}.0=ann-; {COOKIE}.1=token"}, 200),
        ({"Cookie": f"{COOKIE}.1=token; {COOKIE}.0=ann-"}, 403),
        ({"Cookie": f"__Secure-{COOKIE}=ann-token"}, 403),
        ({"Cookie": f"{COOKIE}=nonsense"}, 403),
        ({"Cookie": "session=ann-token"}, 403),
        (BEARER, 200),
        ({"Authorization": "Bearer nonsense"}, 403),
        ({"Authorization": "Basic ann-token"}, 403),
        (NOBODY, 403),
    ],
)
async def test_a_session_comes_in_its_cookie_or_as_bearer(
    headers: Mapping[str, str], status: int
) -> None:
    async with site() as at:
        answer = await at.ann.ask("GET", "/api/chat", headers=headers)
    assert answer.status == status
    if status == 403:
        assert (answer.body, answer.kind) == (b"", None)


async def test_the_tokens_of_the_sandbox_work_on_both_fronts() -> None:
    async with site() as at:
        assert at.server.token == TOKEN
        assert (await at.sandbox.answer())[-1]["event_type"] == "message"
        native = {"Authorization": f"Bearer {TOKEN}"}
        assert (await at.ann.ask("GET", "/chats", headers=native)).status == 200


async def test_a_banned_user_is_nobody_and_that_is_known_before_all_else() -> None:
    async with site(banned=("ann-token",), enabled=False) as at:
        for method, path in (
            ("POST", "/api/chat"),
            ("PATCH", "/api/chat"),
            ("GET", "/api/chat/events"),
            ("POST", "/api/chat/assistant_message"),
        ):
            assert (await at.ann.ask(method, path)).status == 403
            assert (await at.ben.ask(method, path)).status == 404


async def test_a_login_needs_the_csrf_token_and_bans_who_is_banned() -> None:
    async with site() as at:
        ask = at.ann.ask

        async def login(role: str, cookie: str) -> tuple[str, str]:
            """Give where the site sends one to, and the session."""
            body = f"csrfToken={cookie}&username=dora&role={role}&json=true"
            headers = {
                "Content-Type": "application/x-www-form-urlencoded",
                "Cookie": f"next-auth.csrf-token={cookie}%7Chash",
            }
            async with at.ann._session.post(
                at.server.urls[""] + "/api/auth/callback/credentials", data=body, headers=headers
            ) as response:
                token = response.cookies.get(COOKIE)
                return str((await response.json())["url"]), token.value if token else ""

        csrf = str((await ask("GET", "/api/auth/csrf", headers=NOBODY)).json["csrfToken"])
        place, token = await login("general", "0" * 64)
        assert ("signin" in place, token) == (True, "")
        (_, banned), (_, good) = await login("banned", csrf), await login("general", csrf)
        session = {"Cookie": f"{COOKIE}={good}"}
        assert (await ask("GET", "/api/chat", headers=session)).status == 200
        told = await ask("GET", "/api/auth/session", headers=session)
        assert "'isAuthenticated': False" in str(told.json)
        await ask("POST", "/api/chat", headers=session)
        told = await ask("GET", "/api/auth/session", headers=session)
        assert "'isAuthenticated': True" in str(told.json)
        outcast = {"Cookie": f"{COOKIE}={banned}"}
        assert (await ask("GET", "/api/chat", headers=outcast)).status == 403
        assert (await ask("GET", "/api/auth/session", headers=NOBODY)).json == {}
    async with site(debug_login=False) as at:
        assert (await at.ann.ask("GET", "/api/auth/csrf")).status == 404


# Posts (section 5)


async def test_a_user_exists_from_the_first_chat_on() -> None:
    async with site() as at:
        chat = await at.ann.chat()
        assert refused(await at.ben.prompt(chat, "Hi")) == (500, "Something went wrong")


async def test_a_chat_is_named_by_its_first_question() -> None:
    async with site() as at:
        chat = await at.ann.chat()
        assert (await at.ann.ask("GET", "/api/chat", chat_id=chat)).json["title"] is None
        await at.ann.prompt(chat, "A long first question")
        read = (await at.ann.ask("GET", "/api/chat", chat_id=chat)).json
    assert read["title"] == "A long first question"
    assert str(read["modified_at"]) > str(read["created_at"])


@pytest.mark.parametrize(
    ("content", "status"),
    [("", 200), (5, 200), ("a\x00b", 500), ("half \ud83d", 500), (None, 422), (["x"], 422)],
)
async def test_contents_of_prompter_messages(content: object, status: int) -> None:
    async with site() as at:
        chat = await at.ann.chat()
        assert (await at.ann.prompt(chat, content)).status == status


async def test_missing_and_wrong_fields_are_listed() -> None:
    async with site() as at:
        chat = await at.ann.chat()
        prompt = (await at.ann.prompt(chat, "Hi")).id
        missing = await at.ann.ask("POST", "/api/chat/prompter_message", {"chat_id": chat})
        wrong = await at.ann.assist(prompt, sampling_parameters=5, plugins="none")
        nothing = await at.ann.ask("POST", "/api/chat/assistant_message", {})
        nulls = await at.ann.assist(prompt, model_config_name=None)
    assert refused(missing) == (
        422,
        [{"loc": ["body", "content"], "msg": "field required", "type": "value_error.missing"}],
    )
    for answer, places in (
        (wrong, [["body", "sampling_parameters"], ["body", "plugins"]]),
        (nothing, [["body", "parent_id"], ["body", "model_config_name"]]),
        (nulls, [["body", "model_config_name"]]),
    ):
        status, told = refused(answer)
        assert isinstance(told, list)
        assert (status, [one["loc"] for one in told]) == (422, places)


async def test_values_are_coerced_and_their_ranges_not_checked() -> None:
    given: Fields = {"top_k": 50.7, "max_new_tokens": "12", "temperature": -5, "max_tokens": 5}
    async with site() as at:
        chat = await at.ann.chat()
        prompt = (await at.ann.prompt(chat, "Hi")).id
        made = (await at.ann.assist(prompt, sampling_parameters=given)).json["work_parameters"]
        bad = await at.ann.assist(prompt, sampling_parameters={"top_k": "50.7", "top_p": []})
    assert isinstance(made, dict)
    assert made["sampling_parameters"] == {
        "top_k": 50,
        "top_p": None,
        "typical_p": None,
        "temperature": -5.0,
        "repetition_penalty": None,
        "max_new_tokens": 12,
    }
    status, told = refused(bad)
    assert isinstance(told, list)
    assert [one["type"] for one in told] == ["type_error.integer", "type_error.float"]
    assert status == 422


@pytest.mark.parametrize(
    ("values", "fine"),
    [
        ({}, True),
        ({"temperature": 0.01, "top_k": 1, "max_new_tokens": 1, "top_p": 0.99}, True),
        ({"temperature": 0}, False),
        ({"top_p": 1}, False),
        ({"typical_p": 1}, False),
        ({"top_k": 0}, False),
        ({"repetition_penalty": -1}, False),
        ({"max_new_tokens": 0}, False),
    ],
)
def test_the_model_server_checks_ranges(values: dict[str, float | None], fine: bool) -> None:
    assert servable(values) is fine


async def test_limits_of_the_site() -> None:
    async with site(chat_messages=2, allowed=(MODEL, "_lorem")) as at:
        chat = await at.ann.chat()
        prompt = (await at.ann.prompt(chat, "Hi")).id
        other = await at.ann.assist(prompt, model_config_name="distilgpt2")
        assert refused(other) == (422, f"Model distilgpt2 not in allowed models: {MODEL},_lorem")
        reply = (await at.ann.assist(prompt)).id
        full = (413, "Maximum number of messages reached for this chat")
        assert refused(await at.ann.assist(prompt)) == full
        assert refused(await at.ann.prompt(chat, "more", reply)) == full
        listed = json.loads((await at.ann.ask("GET", "/api/chat/models")).body)
    assert [one["name"] for one in listed] == ["_lorem", MODEL]
    assert len(listed[0]["parameter_configs"]) == 8


async def test_unknown_parents_of_assistant_messages_break_the_server() -> None:
    async with site() as at:
        await at.ann.chat()
        assert refused(await at.ann.assist(made_id())) == (500, "Something went wrong")


async def test_bodies_that_the_site_itself_refuses_come_before_the_session() -> None:
    async with site() as at:
        url = at.server.urls[""] + "/api/chat/prompter_message"
        for data, status, words in (
            (b"{", 400, b"Invalid JSON"),
            (b'"' + b"x" * (1024 * 1024) + b'"', 413, b"Body exceeded 1mb limit"),
        ):
            async with at.ann._session.post(url, data=io.BytesIO(data)) as response:
                assert (response.status, await response.read()) == (status, words)


# Chats (section 3)


async def test_what_is_not_there_or_not_yours() -> None:
    async with site() as at:
        chat, ident = await at.ann.question()
        prompt = str((await at.ann.message(chat, ident))["parent_id"])
        broken = b"Internal Server Error"
        both = f"chat_id={chat}&message_id={prompt}"
        asked: list[tuple[Person, str, str, int, bytes]] = [
            (at.ben, "GET", f"/api/chat?chat_id={chat}", 404, b""),
            (at.ben, "DELETE", f"/api/chat?chat_id={chat}", 500, broken),
            (at.ann, "DELETE", "/api/chat", 500, broken),
            (at.ann, "PATCH", "/api/chat", 404, b""),
            (at.ann, "GET", f"/api/chat/message?chat_id={chat}", 500, broken),
            (at.ann, "GET", f"/api/chat/events?message_id={ident}", 500, broken),
            (at.ann, "GET", f"/api/chat/events?{both}", 500, broken),
        ]
        for person, method, path, status, body in asked:
            answer = await person.ask(method, path)
            assert (answer.status, answer.body, answer.kind) == (status, body, None)


async def test_a_chat_may_be_hidden_and_renamed() -> None:
    async with site() as at:
        chat = await at.ann.chat()
        change: Fields = {"chat_id": chat, "title": "New", "hidden": True}
        answer = await at.ann.ask("PUT", "/api/chat", change)
        assert (answer.status, answer.body) == (200, b"")
        assert (await at.ann.ask("GET", "/api/chat")).json["chats"] == []
        shown = (await at.ann.ask("GET", "/api/chat", include_hidden="true")).json["chats"]
        assert isinstance(shown, list)
        assert (shown[0]["title"], shown[0]["hidden"]) == ("New", True)
        long: Fields = {"chat_id": chat, "title": "x" * 101}
        assert (await at.ann.ask("PUT", "/api/chat", long)).status == 500
        assert (await at.ann.ask("PUT", "/api/chat", {"chat_id": made_id()})).status == 500


async def test_lists_come_in_pages_of_twenty() -> None:
    async with site() as at:
        idents = [await at.ann.chat() for _ in range(25)][::-1]
        first = (await at.ann.ask("GET", "/api/chat")).json
        second = (await at.ann.ask("GET", "/api/chat", after=str(first["next"]))).json
        back = (await at.ann.ask("GET", "/api/chat", before=str(second["prev"]))).json
    pages = []
    for page in (first, second, back):
        assert isinstance(page["chats"], list)
        pages.append([one["id"] for one in page["chats"]])
    assert pages == [idents[:20], idents[20:], idents[:20]]
    assert (first["prev"], second["next"]) == (None, None)


async def test_the_state_shows_what_was_made_and_deleted() -> None:
    async with site() as at:
        chats = [await at.ann.chat() for _ in range(2)]
        await at.ann.ask("DELETE", "/api/chat", chat_id=chats[0])
        state = at.server.state()
    assert state["conversations"] == {"created": chats, "deleted": chats[:1], "left": chats[1:]}


def test_ids_are_version_7_and_grow() -> None:
    idents = [made_id() for _ in range(3)]
    assert all(re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-8[0-9a-f-]{16}", one)
               for one in idents)  # fmt: skip
    assert [one[:13] for one in idents] == sorted(one[:13] for one in idents)


def test_configurations_are_those_recorded() -> None:
    assert config(MODEL)["model_id"] == "OpenAssistant/oasst-sft-6-llama-30b"
    assert config("OA_SFT_Llama_30Bq_7")["quantized"] is True
    assert config("_lorem")["max_total_length"] == 256
    assert config("OA_SFT_Pythia_12B")["model_id"] == "OpenAssistant/sft-pythia-12b"


# The inference server (section 10)


def trusted(**fields: str) -> dict[str, str]:
    """The header of a trusted client."""
    names = ("api_key", "client", "user_id", "provider_account_id", "username")
    told = dict.fromkeys(names, "x") | {"api_key": "6969"} | fields
    return {"TrustedClient": base64.b64encode(json.dumps(told).encode()).decode()}


async def test_trusted_clients_name_their_users() -> None:
    async with site() as at:
        ask = at.ann.ask
        assert (await ask("POST", "/auth/trusted", headers=trusted(api_key="no"))).status == 401
        assert (await ask("POST", "/chats", {}, trusted(user_id="eve"))).status == 404
        made = await ask("POST", "/auth/trusted", headers=trusted(user_id="eve"))
        assert made.json["id"] == "eve"
        assert (await ask("POST", "/chats", {}, trusted(user_id="eve"))).status == 200
        part = base64.b64encode(b'{"api_key": "6969"}').decode()
        assert (await ask("POST", "/chats", {}, {"TrustedClient": part})).status == 500


async def test_access_tokens_are_renewed_by_refresh_tokens() -> None:
    async with site() as at:
        login = await at.ann.ask("GET", "/auth/callback/debug", headers=NOBODY, code="eve")
        refresh = login.json["refresh_token"]
        assert isinstance(refresh, dict)
        renewed = await at.ann.ask(
            "GET", "/auth/refresh", headers={"Refresh": str(refresh["access_token"])}
        )
        bad = await at.ann.ask("GET", "/auth/refresh", headers={"Refresh": "no"})
        bearer = {"Authorization": f"Bearer {renewed.json['access_token']}"}
        assert (await at.ann.ask("POST", "/chats", {}, bearer)).status == 200
    assert bad.status == 401


async def test_refusals_of_the_inference_server() -> None:
    async with site() as at:
        ask = at.ann.ask
        chat = (await ask("POST", "/chats", {}, BEARER)).id
        post: Fields = {"parent_id": None, "content": "Hi"}
        prompt = (await ask("POST", f"/chats/{chat}/prompter_message", post, BEARER)).id
        answers = {
            "both cursors": await ask("GET", "/chats?after=a&before=b", headers=BEARER),
            "large page": await ask("GET", "/chats?limit=101", headers=BEARER),
            "again": await ask("POST", f"/chats/{chat}/prompter_message", post, BEARER),
            "no json": await at.ann.ask("POST", "/chats", headers=BEARER),
            "list": await ask("POST", f"/chats/{chat}/prompter_message", [], BEARER),
            "stream": await ask("GET", f"/chats/{chat}/messages/{prompt}/events", headers=BEARER),
        }
        lost = await ask("POST", f"/chats/{made_id()}/prompter_message", post, BEARER)
        message = await ask("GET", f"/chats/{chat}/messages/{made_id()}", headers=BEARER)
        change = await ask("PUT", f"/chats/{chat}", {"hidden": True}, BEARER)
        read = await ask("GET", f"/chats/{chat}", headers=BEARER)
        listed = await ask("GET", "/chats?limit=1&include_hidden=true", headers=BEARER)
    statuses = {name: answer.status for name, answer in answers.items()}
    assert statuses == {
        "both cursors": 400,
        "large page": 422,
        "again": 400,
        "no json": 422,
        "list": 422,
        "stream": 400,
    }
    assert answers["stream"].json["detail"] == "Only assistant messages can be streamed."
    assert all("detail" in answer.json for answer in answers.values())
    assert (lost.status, lost.body, lost.kind) == (500, b"", None)
    assert (message.status, message.kind) == (500, "text/plain; charset=utf-8")
    assert (change.status, read.json["hidden"]) == (200, True)
    assert str(listed.json["chats"]).count(chat) == 1
