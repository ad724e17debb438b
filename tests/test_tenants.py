"""Two tenants at once, told apart by everything that goes over the wire; threats.md rows 1, 15, 16.

Each has a key or cookie, a header, conversations and questions of their own, and where they reach
the server by names, a name. Their turns are interleaved, piece by piece. What the server received
is then judged: a request holds what belongs to one of them and nothing of the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec
import pytest

from penstock import Client, ProviderConfig
from penstock.provider import SessionConfig
from penstock.sandbox import Sandbox
from penstock.sandbox.received import Received
from penstock.transport import Session
from penstock.types import Conversation
from tests.places import MODELS
from tests.relay import relay

TURNS = 3
ANN, BOB = "ann", "bob"
KEYS = {name: f"key-of-{name}-0123456789" for name in (ANN, BOB)}
OPTIONS: Mapping[str, Mapping[str, object]] = {
    "replicate": {"tokens": list(KEYS.values())},
    "openassistant": {
        "sessions": {KEYS[ANN]: ANN, KEYS[BOB]: BOB},
        "patience": 0.02,
        "tick": 0.01,
        "slots": 2,
    },
}
COOKIES = {"openassistant": "next-auth.session-token", "h2o": "hf-chat", "chatui": "hf-chat"}
"""The cookie that is somebody's account; the others have a key."""

KEYLESS = ("allenai", "cog")


class Tenant:
    """Somebody with a client.

    Attributes:
        marks: texts that are this tenant's alone.
    """

    def __init__(self, name: str, host: str | None = None) -> None:
        self.name = name
        self.marks = {KEYS[name], f"gate-of-{name}", f"I am {name}"}
        if host is not None:
            self.marks.add(host)

    def config(self, server: str, url: str) -> dict[str, Any]:
        """The tenant's own credentials for a server."""
        config: dict[str, Any] = {"base_url": url, "headers": {"X-Gate": f"gate-of-{self.name}"}}
        if server in COOKIES:
            return {**config, "cookies": {COOKIES[server]: KEYS[self.name]}}
        return config if server in KEYLESS else {**config, "api_key": KEYS[self.name]}

    async def talk(self, client: Client, model: str) -> None:
        """Questions in a conversation, where there are some, and one without."""
        provider = client.provider(client.resolve(model)[0])
        conversation: Conversation | None = None
        if provider.capabilities.conversations:
            conversation = client.conversation(model)
        for turn in range(TURNS):
            asked = f"I am {self.name} and this is turn {turn}"
            async with client.stream(model, asked, conversation=conversation) as answer:
                async for _ in answer:
                    await asyncio.sleep(0)
            assert answer.partial.strip() == asked
            if conversation is not None:
                self.note(conversation, model)
        reply = await client.complete(model, f"I am {self.name}")
        assert reply.text.strip() == f"I am {self.name}"
        if conversation is not None:
            await client.delete(model, conversation)

    def note(self, conversation: Conversation, model: str) -> None:
        """What is of the conversation is its owner's, the model's name apart."""
        values = [value for value in leaves(conversation.to_dict()) if len(value) > 12]
        self.marks |= {v for v in values if v not in model and "/" not in v}


def leaves(value: object) -> Iterator[str]:
    """All texts in a value."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for one in value:
            yield from leaves(one)
    elif isinstance(value, str):
        yield value


class Wire:
    """What the server received, and whose it is."""

    def __init__(self) -> None:
        self.received: list[Received] = []

    def judge(self, server: str, *tenants: Tenant) -> None:
        """Fail where a request holds something of two tenants, or one misses its credential."""
        seen = dict.fromkeys((tenant.name for tenant in tenants), 0)
        for request in self.received:
            text = f"{request.path}\n{dict(request.headers)}\n{request.body.decode()}"
            whose = {t.name: sorted(m for m in t.marks if m in text) for t in tenants}
            owners = [name for name, marks in whose.items() if marks]
            assert len(owners) <= 1, f"{request.method} {request.path}: {whose}"
            gate = request.headers.get("X-Gate")
            if not gate:  # a stream's own address, whose path is the secret
                assert "Authorization" not in request.headers
                assert "Cookie" not in request.headers
                continue
            (name,) = owners
            seen[name] += 1
            assert gate == f"gate-of-{name}"
            if server not in (*COOKIES, *KEYLESS):
                assert request.headers["Authorization"] == f"Bearer {KEYS[name]}"
            assert COOKIES.get(server) is None or KEYS[name] in request.headers["Cookie"]
        assert all(count > TURNS for count in seen.values()), seen


@asynccontextmanager
async def sandboxed(server: str) -> AsyncIterator[tuple[str, str, Wire]]:
    """A server: the provider's name, its address, and what it receives."""
    wire = Wire()
    options = {server: OPTIONS[server]} if server in OPTIONS else {}
    async with Sandbox([server], options=options, on_request=wire.received.append) as sandbox:
        (provider,) = sandbox.providers
        yield provider, sandbox.urls[server], wire


async def both(asks: Mapping[Tenant, Client], model: str) -> None:
    """All tenants talk at the same time, each twice; cog has room for one at a time."""
    if model == MODELS["cog"]:
        for tenant, client in [*asks.items()] * 2:
            await tenant.talk(client, model)
        return
    async with asyncio.TaskGroup() as group:
        for tenant, client in asks.items():
            for _ in range(2):
                group.create_task(tenant.talk(client, model))


@pytest.mark.parametrize("shared", [False, True], ids=["own connections", "shared connections"])
@pytest.mark.parametrize("server", MODELS)
async def test_one_host_and_two_keys(server: str, shared: bool) -> None:
    ann, bob = Tenant(ANN), Tenant(BOB)
    async with sandboxed(server) as (provider, url, wire), AsyncExitStack() as stack:
        named = url.replace("127.0.0.1", "localhost")  # a jar for cookies would leave an IP alone
        session = await stack.enter_async_context(Session()) if shared else None
        clients = {
            tenant: await stack.enter_async_context(
                Client(providers={provider: tenant.config(server, named)}, session=session)
            )
            for tenant in (ann, bob)
        }
        await both(clients, MODELS[server])
        wire.judge(server, ann, bob)


@pytest.mark.parametrize("server", MODELS)
async def test_two_names_of_one_server(server: str) -> None:
    ann, bob = Tenant(ANN, "localhost:"), Tenant(BOB, "127.0.0.1:")
    async with sandboxed(server) as (provider, url, wire), Session() as session:
        named = url.replace("127.0.0.1", "localhost")
        async with (
            Client(providers={provider: ann.config(server, named)}, session=session) as one,
            Client(providers={provider: bob.config(server, url)}, session=session) as other,
        ):
            await both({ann: one, bob: other}, MODELS[server])
        wire.judge(server, ann, bob)


@pytest.mark.parametrize("server", [name for name in MODELS if name != "replicate"])
async def test_two_names_behind_one_proxy(server: str) -> None:
    """Not for Replicate, whose streams have a port that this proxy of one server does not reach."""
    ann, bob = Tenant(ANN, "ann.invalid"), Tenant(BOB, "bob.invalid")
    async with sandboxed(server) as (provider, url, wire), relay(url) as proxy:
        async with Session(SessionConfig(proxy=proxy.url)) as session, AsyncExitStack() as stack:
            clients = {
                tenant: await stack.enter_async_context(
                    Client(
                        providers={
                            provider: tenant.config(server, f"http://{tenant.name}.invalid")
                        },
                        session=session,
                    )
                )
                for tenant in (ann, bob)
            }
            await both(clients, MODELS[server])
        wire.judge(server, ann, bob)


@pytest.mark.parametrize("server", ["h2o", "chatui", "allenai"])
async def test_two_conversations_of_one_client(server: str) -> None:
    """What the server set for one conversation never goes with another."""
    async with sandboxed(server) as (provider, url, wire):
        named = url.replace("127.0.0.1", "localhost")
        async with Client(providers={provider: {"base_url": named}}) as client:
            model = MODELS[server]
            conversations = {name: client.conversation(model) for name in (ANN, BOB)}

            async def talk(name: str) -> None:
                for _ in range(TURNS):
                    await client.complete(model, f"I am {name}", conversation=conversations[name])

            async with asyncio.TaskGroup() as group:
                for name in conversations:
                    group.create_task(talk(name))
            tenants = [Tenant(name) for name in conversations]
            for tenant in tenants:
                tenant.note(conversations[tenant.name], model)
                assert len(tenant.marks) > 3, "a conversation has something of its own"
        for request in wire.received:
            text = f"{request.path}\n{dict(request.headers)}\n{request.body.decode()}"
            assert sum(any(mark in text for mark in tenant.marks) for tenant in tenants) <= 1


async def test_vendors_of_one_client_get_their_own_key_only() -> None:
    seen: list[Received] = []
    async with Sandbox(["openai", "openai:second"], on_request=seen.append) as sandbox:
        port = {name: url.rpartition(":")[2] for name, url in sandbox.urls.items()}
        providers = {
            "groq": ProviderConfig(
                name="groq",
                base_url=f"http://localhost:{port['openai']}/v1",
                api_key=KEYS[ANN],
            ),
            "together": ProviderConfig(
                name="together",
                base_url=f"http://127.0.0.1:{port['openai:second']}/v1",
                api_key=KEYS[BOB],
            ),
        }
        async with Client(providers=providers) as client, asyncio.TaskGroup() as group:
            for _ in range(10):
                for name in providers:
                    group.create_task(client.complete(f"{name}/sandbox-model", "hi"))
    assert len(seen) == 20
    for request in seen:
        wanted = KEYS[ANN] if request.server == "openai" else KEYS[BOB]
        assert request.headers["Authorization"] == f"Bearer {wanted}"


def test_the_judge_can_fail() -> None:
    ann, bob = Tenant(ANN), Tenant(BOB)
    wire = Wire()
    request = Received(
        server="openai",
        method="POST",
        path="/v1/chat/completions",
        headers={"X-Gate": "gate-of-ann", "Authorization": f"Bearer {KEYS[BOB]}"},
        body=b"I am ann",
    )
    wire.received.append(request)
    with pytest.raises(AssertionError, match="key-of-bob"):
        wire.judge("openai", ann, bob)
    wire.received = [msgspec.structs.replace(request, headers={"X-Gate": "gate-of-ann"})]
    with pytest.raises(KeyError):
        wire.judge("openai", ann, bob)
