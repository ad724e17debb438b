"""A client of the Ai2 Playground sandbox, and scripts, for its tests."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import aiohttp

from penstock.sandbox import Sandbox
from penstock.sandbox.allenai import AllenAIServer
from penstock.sandbox.script import ModelFailure, Prompt, Said, Script

Line = dict[str, object]
PNG = b"\x89PNG\r\n\x1a\nrest"
GIF = b"GIF89a rest"
ANN = {"x-anonymous-user-id": "ann"}
BEN = {"x-anonymous-user-id": "ben"}
OLD: Mapping[str, object] = {"model": "tulu3-405b", "host": "inferd", "content": "Hi"}
MODAL: Mapping[str, object] = {"model": "tulu-3-1-8b", "host": "modal", "content": "Hi"}
NEW: Mapping[str, object] = {"model": "Olmo-3-7B-Instruct", "content": "Hi"}
OLD_PATH, NEW_PATH = "/v4/message/stream", "/v4/threads/"
DIALECTS = (("message-stream", OLD_PATH, OLD), ("threads", NEW_PATH, NEW))


class Heard:
    """Answers like a script, and remembers what it was asked."""

    def __init__(self, script: Script) -> None:
        self.prompts: list[Prompt] = []
        self._script = script

    async def pieces(self, prompt: Prompt) -> AsyncGenerator[Said, None]:
        self.prompts.append(prompt)
        async for piece in self._script.pieces(prompt):
            yield piece


class Breaking:
    """Says a piece and fails, as long as it is told to."""

    def __init__(self) -> None:
        self.fails = True

    async def pieces(self, prompt: Prompt) -> AsyncGenerator[Said, None]:
        yield "partial"
        if self.fails:
            raise ModelFailure("gone")


class Slow:
    """Says its first pieces, then waits until it may go on."""

    def __init__(self, *first: Said) -> None:
        self.may_go_on = asyncio.Event()
        self._first = first

    async def pieces(self, prompt: Prompt) -> AsyncGenerator[Said, None]:
        for piece in self._first:
            yield piece
        await self.may_go_on.wait()
        yield "rest"


class Answer:
    """A whole answer."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes, cut: bool) -> None:
        self.status = status
        self.kind = headers.get("Content-Type", "")
        self.place = headers.get("Location", "")
        self.body = body
        self.cut = cut

    @property
    def lines(self) -> list[Line]:
        """The lines of a stream."""
        return [json.loads(one) for one in self.body.split(b"\n") if one]

    @property
    def json(self) -> Line:
        """The body as one object."""
        value: Line = json.loads(self.body)
        return value

    @property
    def message(self) -> str:
        """The message of an error."""
        error = self.json["error"]
        assert isinstance(error, dict)
        return str(error["message"])

    @property
    def said(self) -> str:
        """The pieces joined."""
        return "".join(
            str(one["content"])
            for one in self.lines
            if "id" not in one and one.get("type", "modelResponse") == "modelResponse"
            if "content" in one
        )

    @property
    def reply(self) -> Line:
        """The last state of the assistant's message."""
        last = next(one for one in reversed(self.lines) if "id" in one and "type" not in one)
        if "messages" in last:
            return messages(last)[-1]
        while isinstance(below := last["children"], list):
            last = below[-1]
        return last


def messages(thread: Line) -> list[Line]:
    """The messages of a thread object."""
    found = thread["messages"]
    assert isinstance(found, list)
    return found


class Client:
    """Sends requests to one server."""

    def __init__(self, server: AllenAIServer, session: aiohttp.ClientSession) -> None:
        self.server = server
        self._session = session

    def open(
        self, path: str, fields: Mapping[str, object], headers: Mapping[str, str] = ANN
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """Post a JSON body and leave the answer open."""
        return self._session.post(self.server.urls[""] + path, json=fields, headers=headers)

    async def post(
        self, path: str, fields: Mapping[str, object], headers: Mapping[str, str] = ANN
    ) -> Answer:
        """Post a JSON body."""
        return await self.ask("POST", path, headers, json=fields)

    async def form(
        self,
        path: str,
        fields: Mapping[str, object],
        files: Sequence[tuple[str, str, bytes]] = (),
        headers: Mapping[str, str] = ANN,
    ) -> Answer:
        """Post a multipart form with files of (name, type, bytes)."""
        with aiohttp.MultipartWriter("form-data") as writer:
            for name, value in fields.items():
                part = writer.append(str(value))
                part.set_content_disposition("form-data", name=name)
            for name, kind, data in files:
                part = writer.append(data, {"Content-Type": kind})
                part.set_content_disposition("form-data", name="files", filename=name)
        return await self.ask("POST", path, headers, data=writer)

    async def get(self, path: str, headers: Mapping[str, str] = ANN) -> Answer:
        """Get a path."""
        return await self.ask("GET", path, headers)

    async def ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        *,
        json: object = None,
        data: object = None,
    ) -> Answer:
        """Send a request and read its answer, cut or not."""
        url = self.server.urls[""] + path
        async with self._session.request(
            method, url, headers=headers, json=json, data=data, allow_redirects=False
        ) as response:
            body, cut = b"", False
            try:
                async for read in response.content.iter_any():
                    body += read
            except aiohttp.ClientPayloadError:
                cut = True
            return Answer(response.status, response.headers, body, cut)


@asynccontextmanager
async def client(script: str | Script = "echo", **options: object) -> AsyncIterator[Client]:
    """A server, and a client of it."""
    async with (
        Sandbox(("allenai",), script=script, options={"allenai": options}) as sandbox,
        aiohttp.ClientSession() as session,
    ):
        server = sandbox.servers["allenai"]
        assert isinstance(server, AllenAIServer)
        yield Client(server, session)


async def turns(ask: Client, path: str, fields: Mapping[str, object], *texts: str) -> list[Answer]:
    """Ask in one thread, each turn below the one before it."""
    answers: list[Answer] = []
    for text in texts:
        below = {"parent": answers[-1].reply["id"]} if answers else {}
        answers.append(await ask.post(path, {**fields, "content": text, **below}))
    return answers
