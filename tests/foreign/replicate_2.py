"""The ``replicate`` package of the 2.x line, used as its own pages show."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import replicate
from replicate import APIStatusError, AsyncReplicate, Replicate
from replicate.exceptions import ModelError

from tests.foreign.driving import (
    ASKED,
    CHAT,
    DEPLOYMENT,
    FILES,
    LONG,
    NO_VERSION,
    QUESTION,
    TEXT,
    VERSIONED,
    Servers,
    run,
)

OWNED = dict(zip(("model_owner", "model_name"), CHAT.split("/"), strict=True))
VERSIONED_BY = dict(zip(("model_owner", "model_name"), VERSIONED.split("/"), strict=True))
DEPLOYED = dict(zip(("deployment_owner", "deployment_name"), DEPLOYMENT.split("/"), strict=True))
NONE = {"model_owner": "sandbox", "model_name": "none"}


def of(url: str, servers: Servers, **more: Any) -> Replicate:
    return Replicate(bearer_token=servers.token, base_url=f"{url}/v1", **more)


def async_of(url: str, servers: Servers) -> AsyncReplicate:
    return AsyncReplicate(bearer_token=servers.token, base_url=f"{url}/v1")


def refused(call: Callable[[], object]) -> object:
    try:
        return {"not refused": repr(call())}
    except APIStatusError as error:
        body: Any = error.body
        told = {"title": body.get("title"), "detail": body.get("detail")}
        return {"class": type(error).__name__, "status": error.status_code, **told}


def create(servers: Servers) -> object:
    client = of(servers.plain, servers)
    prediction = client.models.predictions.create(**OWNED, input=ASKED)
    urls = sorted(prediction.urls.model_dump(exclude_none=True))
    client.predictions.wait(prediction.id)
    again = client.predictions.get(prediction_id=prediction.id)
    return {
        "status": prediction.status,
        "urls": urls,
        "ended": again.status,
        "output": "".join(again.output),
        "input": again.input,
    }


def by_version(servers: Servers) -> object:
    client = of(servers.plain, servers)
    version = _version(servers, VERSIONED_BY)
    prediction = client.predictions.create(version=version, input=ASKED)
    ended = client.predictions.wait(prediction.id)
    return {"right": ended.version == version, "output": "".join(ended.output)}


def environment(servers: Servers) -> object:
    """The module's own client, as ``REPLICATE_BASE_URL`` and ``REPLICATE_API_TOKEN`` set it up."""
    owner, _, name = TEXT.partition("/")
    version = _version(servers, {"model_owner": owner, "model_name": name})
    return replicate.run(f"{TEXT}:{version}", input={"text": QUESTION})


def pages(servers: Servers) -> object:
    client = of(servers.paged, servers)
    made = [client.models.predictions.create(**OWNED, input=ASKED).id for _ in range(5)]
    listed = list(client.predictions.list().iter_pages())

    async def count() -> int:
        first = await async_of(servers.paged, servers).predictions.list()
        return len([page async for page in first.iter_pages()])

    return {
        "sizes": [len(page.results) for page in listed],
        "newest first": [one.id for one in client.predictions.list()] == made[::-1],
        "async pages": asyncio.run(count()),
    }


def stream(servers: Servers) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return {"text": "".join(replicate.stream(CHAT, input=ASKED))}


def stream_used(servers: Servers) -> object:
    chat = replicate.use(CHAT, streaming=True)
    return {"text": "".join(chat(prompt=QUESTION))}


def stream_async(servers: Servers) -> object:
    async def ask() -> list[str]:
        chat = replicate.use(CHAT, streaming=True, use_async=True)
        return [piece async for piece in await chat(prompt=QUESTION)]

    return {"text": "".join(asyncio.run(ask()))}


def stream_events(servers: Servers) -> object:
    """The event stream itself by the client's own decoder, which makes events of comments, too."""
    client = of(servers.plain, servers)
    prediction = client.models.predictions.create(**OWNED, input=ASKED)
    asked = client._client.build_request("GET", prediction.urls.stream)
    asked.headers["Accept"] = "text/event-stream"
    response = client._client.send(asked, stream=True)
    events = []
    for event in client._make_sse_decoder().iter_bytes(response.iter_bytes()):
        if event.event:
            events.append(event)
        if event.event == "done":
            break
    response.close()
    return {
        "kinds": sorted({event.event for event in events}),
        "text": "".join(event.data for event in events if event.event == "output"),
        "end": events[-1].data,
    }


def cancel(servers: Servers) -> object:
    client = of(servers.slow, servers)
    prediction = client.models.predictions.create(**OWNED, input={"prompt": LONG})
    client.predictions.cancel(prediction_id=prediction.id)
    return {"status": client.predictions.get(prediction_id=prediction.id).status}


def wait(servers: Servers) -> object:
    client = of(servers.plain, servers)
    done = client.models.predictions.create(**OWNED, input=ASKED, prefer="wait")
    slow = of(servers.slow, servers)
    still = slow.models.predictions.create(**OWNED, input={"prompt": LONG}, prefer="wait=1")
    slow.predictions.cancel(prediction_id=still.id)
    return {"output": "".join(done.output), "status": done.status, "slow": still.status}


def deadline(servers: Servers) -> object:
    """``Cancel-After`` of five short seconds."""
    client = of(servers.slow, servers)
    create_one = client.models.predictions.create
    prediction = create_one(**OWNED, input={"prompt": LONG}, cancel_after="5s")
    return {"status": client.predictions.wait(prediction.id).status}


def run_chat(servers: Servers) -> object:
    return {"output": "".join(of(servers.plain, servers).run(CHAT, input=ASKED))}


def run_version(servers: Servers) -> object:
    ref = f"{VERSIONED}:{_version(servers, VERSIONED_BY)}"
    return {"output": "".join(of(servers.plain, servers).run(ref, input=ASKED))}


def run_async(servers: Servers) -> object:
    async def ask() -> str:
        return "".join(await async_of(servers.plain, servers).run(CHAT, input=ASKED))

    return {"output": asyncio.run(ask())}


def use(servers: Servers) -> object:
    async def ask() -> object:
        return await replicate.use(VERSIONED, use_async=True)(prompt=QUESTION)

    return {"chat": replicate.use(CHAT)(prompt=QUESTION), "async": asyncio.run(ask())}


def run_files(servers: Servers) -> object:
    """A path of a file, which this client fetches when it is opened."""
    (file,) = replicate.use(FILES)(prompt="a bird")
    return {"begins": Path(file).read_bytes()[:4].hex()}


def run_failing(servers: Servers) -> object:
    client = of(servers.plain, servers, default_headers={"X-Sandbox-Fault": "model-fails=1"})
    try:
        return {"not failed": client.run(CHAT, input=ASKED)}
    except ModelError as error:
        return {"status": error.prediction.status, "said": bool(error.prediction.error)}


def files(servers: Servers) -> object:
    client = of(servers.plain, servers)
    return {
        "said": refused(lambda: client.files.create(content=b"text")),
        "get": refused(lambda: client.files.get(file_id="abc")),
        "list": refused(client.files.list),
    }


def deployments(servers: Servers) -> object:
    client = of(servers.plain, servers)
    one = client.deployments.get(**DEPLOYED)
    prediction = client.deployments.predictions.create(**DEPLOYED, input=ASKED)
    none = {"deployment_owner": "sandbox", "deployment_name": "none"}
    release = one.current_release
    return {
        "listed": [f"{d.owner}/{d.name}" for d in client.deployments.list()],
        "model": release.model if release else None,
        "output": "".join(client.predictions.wait(prediction.id).output),
        "unknown": refused(lambda: client.deployments.get(**none)),
    }


def models(servers: Servers) -> object:
    client = of(servers.paged, servers)
    listed = [f"{model.owner}/{model.name}" for model in client.models.list()]
    found = client.models.search(body="llama-2")
    both = of(servers.plain, servers).search(query="llama-2")
    model = client.models.get(**VERSIONED_BY)
    (version,) = client.models.versions.list(**VERSIONED_BY)
    got = client.models.versions.get(**VERSIONED_BY, version_id=version.id)
    latest: Any = model.latest_version
    schema: Any = version.openapi_schema
    return {
        "some": sorted({CHAT, VERSIONED, TEXT} & set(listed)),
        "no twin": len(listed) == len(set(listed)),
        "found": [f"{m.owner}/{m.name}" for m in found],
        "search": [f"{m.model.owner}/{m.model.name}" for m in both.models],
        "inputs": "prompt" in schema["components"]["schemas"]["Input"]["properties"],
        "version": got.id == latest.id,
        "unknown": refused(lambda: client.models.get(**NONE)),
        "official": refused(lambda: client.models.versions.list(**OWNED)),
    }


def account(servers: Servers) -> object:
    return {"type": of(servers.plain, servers).account.get().type}


def errors(servers: Servers) -> object:
    client = of(servers.plain, servers)
    create_one = client.models.predictions.create
    wrong = Replicate(bearer_token="r8_wrong", base_url=f"{servers.plain}/v1")
    poor = of(servers.poor, servers).models.predictions.create
    wrong_input = {"prompt": 7, "top_p": 9}
    version = client.predictions.create
    return {
        "wrong key": refused(wrong.predictions.list),
        "no key": refused(lambda: client.account.get(extra_headers={"Authorization": ""})),
        "no credit": refused(lambda: poor(**OWNED, input=ASKED)),
        "no such prediction": refused(lambda: client.predictions.get(prediction_id="none")),
        "no such model": refused(lambda: create_one(**NONE, input=ASKED)),
        "no version": refused(lambda: create_one(**VERSIONED_BY, input=ASKED)),
        "wrong input": refused(lambda: create_one(**OWNED, input=wrong_input)),
        "wrong version": refused(lambda: version(version=NO_VERSION, input=ASKED)),
        "cursor": refused(lambda: client.predictions.list(extra_query={"cursor": "x"})),
    }


def busy(servers: Servers) -> object:
    """Refused where the client may not ask again; by itself it does, and gets through."""
    patient = of(servers.busy, servers)
    hasty = of(servers.busy, servers, max_retries=0)
    said = refused(lambda: hasty.models.predictions.create(**OWNED, input=ASKED))
    done = patient.models.predictions.create(**OWNED, input=ASKED, prefer="wait")
    then = patient.predictions.get(prediction_id=done.id)
    return {"said": said, "then": then.status, "retries": patient.max_retries > 0}


def _version(servers: Servers, model: dict[str, str]) -> str:
    latest: Any = of(servers.plain, servers).models.get(**model).latest_version
    ident: str = latest.id
    return ident


if __name__ == "__main__":
    run(
        create,
        by_version,
        environment,
        pages,
        stream,
        stream_used,
        stream_async,
        stream_events,
        cancel,
        wait,
        deadline,
        run_chat,
        run_version,
        run_async,
        use,
        run_files,
        run_failing,
        files,
        deployments,
        models,
        account,
        errors,
        busy,
    )
