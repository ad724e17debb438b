"""A wrong address is said as that, with the address, by every provider and in one sentence."""

from __future__ import annotations

import pytest
import trustme

from penstock.errors import NetworkError, PenstockError, ProtocolError
from penstock.provider import ProviderConfig
from penstock.registry import Registry
from penstock.sandbox import Sandbox
from penstock.stream import AnswerStream
from penstock.transport import Session
from penstock.types import ChatRequest, Message, Timeouts
from tests.sockets import Peer, scripted
from tests.transport.test_session import server_context

PAGE = b"<!doctype html><title>Welcome to nginx!</title>"
SOFTWARE = {
    "allenai": "the Ai2 Playground",
    "openassistant": "Open-Assistant",
    "h2o": "a chat-ui of 2023",
    "tgi": "text-generation-inference",
    "chatui": "today's chat-ui",
    "replicate": "Replicate's API",
    "cog": "a Cog server",
    "openai_compatible": "an OpenAI-compatible server",
}
ANSWERS = {
    "a site": (PAGE, 200, ("Content-Type: text/html",), "protocol", "a web page came"),
    "a site without it": (PAGE, 404, ("Content-Type: text/html",), "not_found", "nginx"),
    "another API": (b"no such page", 404, (), "not_found", "no such page"),
    "another method": (b"not with this", 405, (), "not_found", "not with this"),
    "a moved one": (b"", 301, ("Location: https://other.invalid/x",), "redirect", "other.invalid"),
}
OF_ITS_OWN = {"openai_compatible": "openai"}
"""Where the sandbox has another name for it."""


async def failure(name: str, base_url: str) -> PenstockError:
    """How a call of that provider ends at that address."""
    config = ProviderConfig(
        name=name,
        base_url=base_url,
        api_key="key-of-a-test",
        timeouts=Timeouts(connect=5.0, first_content=5.0, idle=5.0),
    )
    request = ChatRequest(model="owner/model", messages=(Message("user", "hi"),))
    async with Session() as session:
        provider = Registry().make(session, config)
        answer = AnswerStream(lambda: provider.stream(request), provider=name, model="owner/model")
        with pytest.raises(PenstockError) as caught:
            await answer.reply()
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("server", ANSWERS)
@pytest.mark.parametrize("name", SOFTWARE)
async def test_a_server_of_another_kind_is_told_with_its_address(name: str, server: str) -> None:
    body, status, headers, kind, words = ANSWERS[server]

    async def other(peer: Peer) -> None:
        while await peer.request():
            await peer.answer(body, status, *headers)

    async with scripted(other) as running:
        error = await failure(name, running.url)
    assert error.kind == kind
    assert error.message.startswith(running.url)
    assert f" does not answer as {SOFTWARE[name]} does (" in error.message
    assert words in error.message
    assert error.message.endswith("; check base_url")
    assert not error.retryable


@pytest.mark.parametrize("name", SOFTWARE)
async def test_the_servers_of_the_other_providers_are_told_from_ones_own(name: str) -> None:
    async with Sandbox([OF_ITS_OWN.get(other, other) for other in SOFTWARE]) as sandbox:
        for server, url in sandbox.urls.items():
            if server == OF_ITS_OWN.get(name, name):
                continue
            error = await failure(name, url)
            if server == "replicate":  # it wants a key before it says anything else
                assert error.kind == "auth"
                continue
            assert error.kind == "not_found", server
            assert error.message.startswith(url), server
            assert "; check base_url" in error.message, server


@pytest.mark.parametrize("name", SOFTWARE)
async def test_what_does_not_even_speak_http_is_told_with_its_address(name: str) -> None:
    async def greeting(peer: Peer) -> None:
        await peer.send(b"SSH-2.0-OpenSSH_9.2\r\n")
        await peer.gone()

    async with scripted(greeting) as running:
        error = await failure(name, running.url)
    assert isinstance(error, ProtocolError)
    place = running.url.removeprefix("http://")
    assert error.message.startswith(f"{place} sent an answer that is not proper HTTP; check that")


async def test_nothing_listens_there() -> None:
    async with scripted(Peer.gone) as running:
        address = running.url
    for name in SOFTWARE:
        error = await failure(name, address)
        assert isinstance(error, NetworkError)
        place = address.removeprefix("http://")
        assert error.message == f"could not connect to {place}: nothing listens there"


async def test_http_and_https_are_told_from_each_other() -> None:
    async def plain(peer: Peer) -> None:
        await peer.read(5)
        await peer.answer(b"Client sent an HTTP request to an HTTPS server.", 400)

    async with scripted(plain) as running:
        error = await failure("tgi", running.url.replace("http:", "https:"))
    assert "it seems to speak none: its address then begins with http://" in error.message
    authority = trustme.CA()
    async with scripted(Peer.gone, tls=server_context(authority, "127.0.0.1")) as running:
        error = await failure("tgi", running.url.replace("https:", "http:"))
        assert "if it speaks TLS, its address begins with https://" in error.message
        error = await failure("tgi", running.url)
    assert "ca_bundle" in error.message
