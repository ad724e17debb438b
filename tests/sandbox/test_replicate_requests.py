"""What Replicate's sandbox refuses and lists (wire/replicate.md sections 2, 3 and 6)."""

from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack

import aiohttp
import pytest

from penstock.sandbox.replicate import TOKEN, ReplicateServer
from penstock.sandbox.replicate.models import CATALOGUE, find_version
from penstock.sandbox.replicate.pages import page_of
from tests.sandbox.replicate_service import LLAMA_2, LLAMA_3, VERSION, Serve, serving

NO_RESOURCE = {"detail": "The requested resource could not be found.", "status": 404}


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start a service with a script and options."""
    async with AsyncExitStack() as stack:
        yield serving(stack)


# -- keys, errors, limits --------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/models", "/v1/nothing", f"/v1/models/{LLAMA_3}"])
@pytest.mark.parametrize(
    ("sent", "detail"),
    [
        ({}, "You did not pass an authentication token"),
        ({"Authorization": "Bearer "}, "You did not pass an authentication token"),
        ({"Authorization": "Bearer r8_wrong"}, "You did not pass a valid authentication token"),
        ({"Authorization": f"Basic {TOKEN}"}, "You did not pass a valid authentication token"),
    ],
)
async def test_no_key_is_said_before_anything_else(
    serve: Serve, path: str, sent: Mapping[str, str], detail: str
) -> None:
    service = await serve()
    async with (
        aiohttp.ClientSession() as stranger,
        stranger.get(service.api + path, headers=sent) as answer,
    ):
        assert answer.status == 401
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert await answer.json() == {"title": "Unauthenticated", "detail": detail, "status": 401}


async def test_the_key_is_published_and_further_ones_can_be_set(serve: Serve) -> None:
    service = await serve(tokens=("r8_second",))
    assert service.server.api_key == TOKEN
    for value in (f"Token {TOKEN}", "Bearer r8_second"):
        answer, account = await service.ask("GET", "/v1/account", headers={"Authorization": value})
        assert answer.status == 200
        assert list(account) == ["type", "username", "name", "github_url"]


@pytest.mark.parametrize(
    ("method", "path", "left"),
    [
        ("POST", f"/v1/models/{LLAMA_3}/predictions", "599"),
        ("GET", "/v1/predictions/none", "59999"),
        ("GET", "/v1/models", "2999"),
    ],
)
async def test_limits_are_told_with_every_answer(
    serve: Serve, method: str, path: str, left: str
) -> None:
    answer, _ = await (await serve()).ask(method, path, json={"input": {"prompt": "x"}})
    assert answer.headers["ratelimit-remaining"] == left
    assert answer.headers["ratelimit-reset"] == "1"


@pytest.mark.parametrize(
    ("method", "path", "status", "said"),
    [
        # A community model needs a version: section 6.
        ("POST", f"/v1/models/{LLAMA_2}/predictions", 404, NO_RESOURCE),
        ("POST", "/v1/models/no/body/predictions", 404, NO_RESOURCE),
        ("POST", "/v1/deployments/no/body/predictions", 404, NO_RESOURCE),
        ("GET", "/v1/nothing", 404, NO_RESOURCE),
        ("DELETE", "/v1/account", 404, NO_RESOURCE),
        ("GET", "/v1/predictions/none", 404, {"detail": "Not found."}),
        ("POST", "/v1/predictions/none/cancel", 404, {"detail": "Not found."}),
        ("GET", "/v1/models/no/body", 404, {"detail": "Not found."}),
        ("GET", "/v1/models/no/body/versions", 404, {"detail": "Not found."}),
        ("GET", f"/v1/models/{LLAMA_2}/versions/none", 404, {"detail": "Not found."}),
        ("GET", "/v1/deployments/no/body", 404, {"detail": "Not found."}),
        ("GET", "/v1/models?cursor=odd", 404, {"detail": "Invalid cursor"}),
        (
            "GET",
            f"/v1/models/{LLAMA_3}/versions",
            404,
            {
                "status": 404,
                "title": "Not found",
                "detail": "This model is an official model and does not expose a list of versions.",
            },
        ),
    ],
)
async def test_what_is_not_there(
    serve: Serve, method: str, path: str, status: int, said: Mapping[str, object]
) -> None:
    answer, body = await (await serve()).ask(method, path, json={"input": {"prompt": "x"}})
    assert (answer.status, body) == (status, said)


@pytest.mark.parametrize(
    ("given", "kind", "field", "words"),
    [
        ({}, "required", "input", "prompt is required"),
        ({"prompt": 1}, "invalid_type", "input.prompt", "Expected: string, given: integer"),
        ({"prompt": None}, "invalid_type", "input.prompt", "Expected: string, given: null"),
        ({"prompt": "x", "top_k": 1.5}, "invalid_type", "input.top_k", "integer, given: number"),
        ({"prompt": "x", "top_k": True}, "invalid_type", "input.top_k", "given: boolean"),
        ({"prompt": "x", "top_p": [1]}, "invalid_type", "input.top_p", "number, given: array"),
        ({"prompt": "x", "top_p": {}}, "invalid_type", "input.top_p", "number, given: object"),
        ({"prompt": "x", "temperature": 5.5}, "number_lte", "input.temperature", "or equal to 5"),
        ({"prompt": "x", "temperature": 0}, "number_gte", "input.temperature", "equal to 0.01"),
        ({"prompt": "x", "max_new_tokens": 0}, "number_gte", "input.max_new_tokens", "equal to 1"),
    ],
)
async def test_an_input_that_does_not_fit(
    serve: Serve, given: Mapping[str, object], kind: str, field: str, words: str
) -> None:
    body = {"version": VERSION, "input": given}
    answer, said = await (await serve()).ask("POST", "/v1/predictions", json=body)
    assert (answer.status, said["title"]) == (422, "Input validation failed")
    (fault,) = said["invalid_fields"]
    assert (fault["type"], fault["field"]) == (kind, field)
    assert fault["description"].endswith(words)
    assert said["detail"] == f"- {field}: {fault['description']}\n"


async def test_a_choice_and_several_faults(serve: Serve) -> None:
    service = await serve()
    body = {"input": {"verbosity": "loud", "max_completion_tokens": 0}}
    _, said = await service.ask("POST", "/v1/models/openai/gpt-5/predictions", json=body)
    assert [fault["type"] for fault in said["invalid_fields"]] == ["number_gte", "enum"]
    assert said["detail"].endswith(
        '- input.verbosity: input.verbosity must be one of the following: "low", "medium", "high"\n'
    )


@pytest.mark.parametrize(
    ("path", "body", "lines"),
    [
        ("/v1/predictions", {}, ["- version is required", "- input is required"]),
        (
            f"/v1/models/{LLAMA_3}/predictions",
            {"input": {"prompt": "x"}, "version": VERSION},
            ["- Additional property version is not allowed"],
        ),
        (
            "/v1/predictions",
            {"input": [], "version": 5},
            [
                "- input: Invalid type. Expected: object, given: array",
                "- version: Invalid type. Expected: string, given: integer",
            ],
        ),
    ],
)
async def test_a_body_that_does_not_fit(
    serve: Serve, path: str, body: Mapping[str, object], lines: list[str]
) -> None:
    answer, said = await (await serve()).ask("POST", path, json=body)
    assert answer.status == 422
    assert said["detail"].splitlines() == lines


async def test_a_body_that_is_no_json(serve: Serve) -> None:
    service = await serve()
    answer, said = await service.ask("POST", "/v1/predictions", data=b"{")
    assert (answer.status, said["detail"]) == (400, "Malformed JSON")


@pytest.mark.parametrize(
    "version", ["0" * 64, f"{LLAMA_2}:{'0' * 64}", f"no/body:{VERSION}", LLAMA_2, "no/body", ""]
)
async def test_a_version_that_is_none(serve: Serve, version: str) -> None:
    body = {"version": version, "input": {"prompt": "x"}}
    answer, said = await (await serve()).ask("POST", "/v1/predictions", json=body)
    assert (answer.status, said["title"]) == (422, "Invalid version or not permitted")


@pytest.mark.parametrize("version", [VERSION, f"{LLAMA_2}:{VERSION}", LLAMA_3])
def test_spellings_of_a_version(version: str) -> None:
    found = find_version(version)
    assert found is not None
    assert found.id == (LLAMA_3 if version == LLAMA_3 else LLAMA_2)


async def test_a_refused_create_leaves_nothing(serve: Serve) -> None:
    service = await serve(throttled=1, credit=False)
    path, body = f"/v1/models/{LLAMA_3}/predictions", {"input": {"prompt": "x"}}
    answer, said = await service.ask("POST", path, json=body)
    assert (answer.status, answer.headers["retry-after"]) == (429, "1")
    assert said["detail"] == "Request was throttled. Your rate limit resets in ~1s."
    answer, _ = await service.ask("POST", path, json=body)
    assert answer.status == 402
    assert service.state["creates"] == 2
    assert service.state["conversations"]["created"] == []


# -- lists -----------------------------------------------------------------------------------------


async def test_models_in_pages(serve: Serve) -> None:
    service = await serve(page=5)
    url, found, befores = "/v1/models", [], []
    while url:
        _, page = await service.ask("GET", url)
        assert list(page) == ["next", "previous", "results"]
        found += [f"{one['owner']}/{one['name']}" for one in page["results"]]
        befores.append(page["previous"])
        url = page["next"]
    assert found == [model.id for model in CATALOGUE]
    assert befores[0] is None
    _, back = await service.ask("GET", befores[-1])
    assert [one["name"] for one in back["results"]] == [one.name for one in CATALOGUE[5:10]]


async def test_all_models_fit_on_a_page_of_the_service(serve: Serve) -> None:
    _, page = await (await serve()).ask("GET", "/v1/models")
    assert (page["next"], len(page["results"])) == (None, len(CATALOGUE))


async def test_one_model_has_its_schema(serve: Serve) -> None:
    service = await serve()
    schemas = {}
    for model in (LLAMA_3, LLAMA_2, "anthropic/claude-4-sonnet"):
        _, said = await service.ask("GET", f"/v1/models/{model}")
        schemas[model] = said["latest_version"]["openapi_schema"]["components"]["schemas"]["Input"]
    assert "system_prompt" not in schemas[LLAMA_3]["properties"]
    assert schemas[LLAMA_2]["required"] == ["prompt"]
    assert schemas[LLAMA_2]["properties"]["max_new_tokens"] == {
        "type": "integer", "title": "Max New Tokens", "default": 128, "minimum": 1, "x-order": 2,
    }  # fmt: skip
    limit = schemas["anthropic/claude-4-sonnet"]["properties"]["max_tokens"]
    assert (limit["minimum"], limit["maximum"]) == (1024, 64000)


async def test_versions_of_a_community_model(serve: Serve) -> None:
    service = await serve()
    _, listed = await service.ask("GET", f"/v1/models/{LLAMA_2}/versions")
    _, one = await service.ask("GET", f"/v1/models/{LLAMA_2}/versions/{VERSION}")
    assert listed["results"] == [one]


@pytest.mark.parametrize("query", ["llama", '"llama"', "LLAMA chat"])
async def test_search(serve: Serve, query: str) -> None:
    service = await serve()
    _, page = await service.ask("QUERY", "/v1/models", data=query)
    assert {one["owner"] for one in page["results"]} == {"meta"}
    _, found = await service.ask("GET", "/v1/search", params={"query": query})
    assert [one["model"] for one in found["models"]] == page["results"]


async def test_deployments(serve: Serve) -> None:
    service = await serve()
    _, page = await service.ask("GET", "/v1/deployments")
    _, one = await service.ask("GET", "/v1/deployments/sandbox/chat")
    assert page["results"] == [one]
    assert one["current_release"]["model"] == LLAMA_2
    body = {"input": {"prompt": "Hi"}}
    path = "/v1/deployments/sandbox/chat/predictions"
    answer, made = await service.ask("POST", path, json=body)
    assert (answer.status, made["deployment"]) == (201, "sandbox/chat")
    assert (await service.over(made))["output"] == ["Hi"]


async def test_predictions_in_pages_newest_first(serve: Serve) -> None:
    service = await serve(page=2)
    made = [await service.create() for _ in range(3)]
    _, first = await service.ask("GET", "/v1/predictions")
    await service.create()  # a page goes on where it ended, whatever came since
    _, second = await service.ask("GET", first["next"])
    listed = [one["id"] for one in first["results"] + second["results"]]
    assert listed == [one["id"] for one in reversed(made)]
    assert second["next"] is None


@pytest.mark.parametrize("cursor", ["?", "cA==", b64encode(b"p=9").decode(), "\u00e9"])
def test_cursors_of_others(cursor: str) -> None:
    assert page_of({0: "a"}, cursor, 1, "http://host.invalid/") is None


def test_the_server_says_what_it_is() -> None:
    assert ReplicateServer.kind == "replicate"
    assert ReplicateServer.extra_origins == ("stream",)
