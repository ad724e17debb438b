"""The ``replicate`` package of the 1.x line, used as its own pages show."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from typing import Any

import replicate
from replicate.client import Client
from replicate.exceptions import ModelError, ReplicateError
from replicate.pagination import async_paginate, paginate

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


def of(url: str, servers: Servers, **more: Any) -> Client:
    client = Client(api_token=servers.token, base_url=url, **more)
    client.poll_interval = 0.02
    return client


def refused(call: Callable[[], object]) -> object:
    try:
        return {"not refused": repr(call())}
    except ReplicateError as error:
        return {"status": error.status, "title": error.title, "detail": error.detail}


def create(servers: Servers) -> object:
    client = of(servers.plain, servers)
    prediction = client.models.predictions.create(CHAT, input=ASKED)
    first = {"status": prediction.status, "urls": sorted(prediction.urls)}
    prediction.wait()
    again = client.predictions.get(prediction.id)
    return {**first, "ended": again.status, "output": "".join(again.output), "input": again.input}


def by_version(servers: Servers) -> object:
    client = of(servers.plain, servers)
    version = client.models.get(VERSIONED).latest_version
    prediction = client.predictions.create(version=version, input=ASKED)
    prediction.wait()
    return {"right": prediction.version == version.id, "output": "".join(prediction.output)}


def environment(servers: Servers) -> object:
    """The module's own client, as ``REPLICATE_BASE_URL`` and ``REPLICATE_API_TOKEN`` set it up."""
    return replicate.run(TEXT + ":" + _version(servers, TEXT), input={"text": QUESTION})


def pages(servers: Servers) -> object:
    client = of(servers.paged, servers)
    made = [client.models.predictions.create(CHAT, input=ASKED).id for _ in range(5)]
    listed = list(paginate(client.predictions.list))
    second = client.predictions.list(listed[0].next)
    back = client.predictions.list(second.previous)

    async def count() -> int:
        return len([page async for page in async_paginate(client.predictions.async_list)])

    return {
        "sizes": [len(page) for page in listed],
        "newest first": [one.id for page in listed for one in page] == made[::-1],
        "back": [one.id for one in back] == [one.id for one in listed[0]],
        "async pages": asyncio.run(count()),
    }


def _events(events: list[Any]) -> object:
    return {
        "kinds": sorted({event.event.value for event in events}),
        "text": "".join(map(str, events)),
        "end": events[-1].data,
    }


def stream(servers: Servers) -> object:
    return _events(list(of(servers.plain, servers).stream(CHAT, input=ASKED)))


def stream_later(servers: Servers) -> object:
    client = of(servers.plain, servers)
    return _events(list(client.models.predictions.create(CHAT, input=ASKED).stream()))


def stream_async(servers: Servers) -> object:
    async def ask() -> list[Any]:
        client = of(servers.plain, servers)
        return [event async for event in await client.async_stream(CHAT, input=ASKED)]

    return _events(asyncio.run(ask()))


def cancel(servers: Servers) -> object:
    client = of(servers.slow, servers)
    prediction = client.models.predictions.create(CHAT, input={"prompt": LONG})
    prediction.cancel()
    return {"status": client.predictions.get(prediction.id).status}


def cancel_streamed(servers: Servers) -> object:
    client = of(servers.slow, servers)
    prediction = client.models.predictions.create(CHAT, input={"prompt": LONG}, stream=True)
    events = prediction.stream()
    first = next(events)
    prediction.cancel()
    last = list(events)[-1]
    return {"first": first.event.value, "end": [last.event.value, last.data]}


def wait(servers: Servers) -> object:
    client = of(servers.plain, servers)
    done = client.models.predictions.create(CHAT, input=ASKED, wait=True)
    slow = of(servers.slow, servers)
    still = slow.models.predictions.create(CHAT, input={"prompt": LONG}, wait=1)
    slow.predictions.cancel(still.id)
    return {"output": "".join(done.output), "status": done.status, "slow": still.status}


def run_chat(servers: Servers) -> object:
    output = of(servers.plain, servers).run(CHAT, input=ASKED)
    return {"output": "".join(output)}


def run_version(servers: Servers) -> object:
    output = of(servers.plain, servers).run(
        f"{VERSIONED}:{_version(servers, VERSIONED)}", input=ASKED
    )
    return {"iterator": not isinstance(output, list), "output": "".join(output)}


def run_polled(servers: Servers) -> object:
    output = of(servers.plain, servers).run(CHAT, input=ASKED, wait=False)
    return {"output": "".join(output)}


def run_async(servers: Servers) -> object:
    async def ask() -> str:
        return "".join(await of(servers.plain, servers).async_run(CHAT, input=ASKED))

    return {"output": asyncio.run(ask())}


def run_files(servers: Servers) -> object:
    """Addresses, as this client makes files only of those that begin with https."""
    client = of(servers.plain, servers)
    ref = f"{FILES}:{_version(servers, FILES)}"
    (file,) = client.run(ref, input={"prompt": "a bird"})
    return {"begins": client._client.get(file).content[:4].hex()}


def run_failing(servers: Servers) -> object:
    client = of(servers.plain, servers, headers={"X-Sandbox-Fault": "model-fails=1"})
    try:
        return {"not failed": client.run(CHAT, input=ASKED)}
    except ModelError as error:
        return {"status": error.prediction.status, "said": bool(error.prediction.error)}


def files(servers: Servers) -> object:
    client = of(servers.plain, servers)
    file = {"image": io.BytesIO(b"picture")}
    return {
        "create": refused(lambda: client.files.create(io.BytesIO(b"text")))
        == refused(lambda: client.models.predictions.create(CHAT, input=file)),
        "said": refused(lambda: client.files.create(io.BytesIO(b"text"))),
        "get": refused(lambda: client.files.get("abc")),
        "list": refused(client.files.list),
    }


def deployments(servers: Servers) -> object:
    client = of(servers.plain, servers)
    one = client.deployments.get(DEPLOYMENT)
    prediction = one.predictions.create(ASKED)
    prediction.wait()
    other = client.deployments.predictions.create(DEPLOYMENT, ASKED)
    other.wait()
    return {
        "listed": [f"{d.owner}/{d.name}" for d in client.deployments.list()],
        "model": one.current_release.model,
        "output": ["".join(prediction.output), "".join(other.output)],
        "unknown": refused(lambda: client.deployments.get("sandbox/none")),
    }


def models(servers: Servers) -> object:
    client = of(servers.paged, servers)
    listed = [model for page in paginate(client.models.list) for model in page]
    found = of(servers.plain, servers).models.search("llama-2")
    model = client.models.get(VERSIONED)
    versions = model.versions.list()
    return {
        "some": sorted({CHAT, VERSIONED, TEXT} & {f"{m.owner}/{m.name}" for m in listed}),
        "no twin": len(listed) == len({f"{m.owner}/{m.name}" for m in listed}),
        "found": [f"{m.owner}/{m.name}" for m in found],
        "inputs": "prompt"
        in versions[0].openapi_schema["components"]["schemas"]["Input"]["properties"],
        "version": model.versions.get(versions[0].id).id == model.latest_version.id,
        "unknown": refused(lambda: client.models.get("sandbox/none")),
        "official": refused(client.models.get(CHAT).versions.list),
    }


def account(servers: Servers) -> object:
    return {"type": of(servers.plain, servers).accounts.current().type}


def errors(servers: Servers) -> object:
    client = of(servers.plain, servers)
    create = client.models.predictions.create
    wrong = Client(api_token="r8_wrong", base_url=servers.plain)
    return {
        "wrong key": refused(wrong.predictions.list),
        "no key": refused(
            of(servers.plain, servers, headers={"Authorization": ""}).accounts.current
        ),
        "no credit": refused(
            lambda: of(servers.poor, servers).models.predictions.create(CHAT, input=ASKED)
        ),
        "no such prediction": refused(lambda: client.predictions.get("none")),
        "no such model": refused(lambda: create("sandbox/none", input=ASKED)),
        "no version": refused(lambda: create(VERSIONED, input=ASKED)),
        "wrong input": refused(lambda: create(CHAT, input={"prompt": 7, "top_p": 9})),
        "wrong version": refused(lambda: client.predictions.create(NO_VERSION, ASKED)),
        "cursor": refused(lambda: client.predictions.list("/v1/predictions?cursor=x")),
    }


def busy(servers: Servers) -> object:
    """A create is refused; a GET is asked again by the client itself."""
    client = of(servers.busy, servers)
    create = client.models.predictions.create
    said = [refused(lambda: create(CHAT, input=ASKED)) for _ in range(2)]
    done = create(CHAT, input=ASKED, wait=True)
    return {"said": said, "then": client.predictions.get(done.id).status}


def _version(servers: Servers, model: str) -> str:
    ident: str = of(servers.plain, servers).models.get(model).latest_version.id
    return ident


if __name__ == "__main__":
    run(
        create,
        by_version,
        environment,
        pages,
        stream,
        stream_later,
        stream_async,
        cancel,
        cancel_streamed,
        wait,
        run_chat,
        run_version,
        run_polled,
        run_async,
        run_files,
        run_failing,
        files,
        deployments,
        models,
        account,
        errors,
        busy,
    )
