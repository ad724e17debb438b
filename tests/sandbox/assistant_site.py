"""A client of the Open-Assistant sandbox, and scripts, for its tests."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import aiohttp

from penstock.sandbox import Sandbox
from penstock.sandbox.openassistant import TOKEN, OpenAssistantServer
from penstock.sandbox.script import Fixed, Message, Prompt, Said, Script

Fields = dict[str, object]
MODEL = "OA_SFT_Llama_30B_6"
USERS = {"ann-token": "ann", "ben-token": "ben", "cat-token": "cat"}


class Heard:
    """Says "ok", and remembers what it was asked."""

    def __init__(self, script: Script | None = None) -> None:
        self.prompts: list[Prompt] = []
        self._script = script or Fixed(["ok"])

    @property
    def last(self) -> list[Message]:
        """The messages of the last question."""
        return list(self.prompts[-1].messages)

    async def pieces(self, prompt: Prompt) -> AsyncGenerator[Said, None]:
        self.prompts.append(prompt)
        async for piece in self._script.pieces(prompt):
            yield piece


class Answer:
    """A whole answer."""

    def __init__(self, status: int, kind: str | None, body: bytes) -> None:
        self.status = status
        self.kind = kind
        self.body = body

    @property
    def json(self) -> Fields:
        """The body as an object."""
        value: Fields = json.loads(self.body)
        return value

    @property
    def id(self) -> str:
        """The id of what was made."""
        return str(self.json["id"])


class Events:
    """The events of an open stream, read one by one."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def next(self) -> Fields | None:
        """Give the next event; None at the end. A ping is an event of type ``ping``."""
        async with asyncio.timeout(5):
            lines: list[bytes] = []
            while (line := await self._response.content.readline()) not in (b"\r\n", b""):
                assert line.endswith(b"\r\n")
                lines.append(line.rstrip())
            if not lines:
                return None
            if lines[0].startswith((b": ping", b"event: ping")):
                return {"event_type": "ping", "lines": lines}
            assert len(lines) == 1
            event: Fields = json.loads(lines[0].removeprefix(b"data: "))
            return event

    async def find(self, kind: str) -> Fields:
        """Give the next event of a type."""
        while (event := await self.next()) is not None:
            if event["event_type"] == kind:
                return event
        raise AssertionError(f"no {kind} event")

    async def rest(self) -> list[Fields]:
        """Give all events to the end."""
        found: list[Fields] = []
        while (event := await self.next()) is not None:
            found.append(event)
        return found


class Person:
    """Somebody with a session on the site."""

    def __init__(
        self, server: OpenAssistantServer, session: aiohttp.ClientSession, token: str
    ) -> None:
        self.server = server
        self._session = session
        self._headers = {"Cookie": f"next-auth.session-token={token}"}

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        **query: str,
    ) -> Answer:
        """Send a request and read its answer."""
        async with self._session.request(
            method,
            self.server.urls[""] + path,
            params=query,
            headers=self._headers if headers is None else headers,
            data=None if body is None else json.dumps(body).encode(),
        ) as response:
            kind = response.headers.get("Content-Type")
            return Answer(response.status, kind, await response.read())

    async def chat(self) -> str:
        """Make a chat."""
        return (await self.ask("POST", "/api/chat")).id

    async def prompt(self, chat: str, content: object, parent: str | None = None) -> Answer:
        """Post a prompter message."""
        body = {"chat_id": chat, "parent_id": parent, "content": content}
        return await self.ask("POST", "/api/chat/prompter_message", body)

    async def assist(self, parent: str, **more: object) -> Answer:
        """Post an assistant message."""
        body = {"parent_id": parent, "model_config_name": MODEL, **more}
        return await self.ask("POST", "/api/chat/assistant_message", body)

    async def question(self, content: str = "Hi", **more: object) -> tuple[str, str]:
        """Ask in a new chat; give the ids of the chat and of the answer to come."""
        chat = await self.chat()
        prompt = await self.prompt(chat, content)
        return chat, (await self.assist(prompt.id, **more)).id

    async def message(self, chat: str, ident: str) -> Fields:
        """Look at a message."""
        path = f"/api/chat/message?chat_id={chat}&message_id={ident}"
        return (await self.ask("GET", path)).json

    async def until_state(self, chat: str, ident: str, state: str) -> Fields:
        """Look at a message until it has come to a state."""
        async with asyncio.timeout(5):
            while (found := await self.message(chat, ident))["state"] != state:
                await asyncio.sleep(0.002)
        return found

    def events(self, chat: str, ident: str) -> AbstractAsyncContextManager[Events]:
        """Open the event stream of a message."""
        return self._open(f"/api/chat/events?chat_id={chat}&message_id={ident}", self._headers)

    def native_events(self, chat: str, ident: str) -> AbstractAsyncContextManager[Events]:
        """Open the event stream of a message at the inference server."""
        token = self._headers["Cookie"].partition("=")[2]
        path = f"/chats/{chat}/messages/{ident}/events"
        return self._open(path, {"Authorization": f"Bearer {token}"})

    @asynccontextmanager
    async def _open(self, path: str, headers: Mapping[str, str]) -> AsyncIterator[Events]:
        url = self.server.urls[""] + path
        async with self._session.get(url, headers=headers) as response:
            assert response.status == 200
            yield Events(response)

    async def answer(self, content: str = "Hi", **more: object) -> list[Fields]:
        """Ask in a new chat and read the stream to its end."""
        chat, ident = await self.question(content, **more)
        async with self.events(chat, ident) as stream:
            return await stream.rest()


class Site:
    """A server and its people."""

    def __init__(self, server: OpenAssistantServer, session: aiohttp.ClientSession) -> None:
        self.server = server
        self.sandbox = Person(server, session, TOKEN)
        self.ann, self.ben, self.cat = (Person(server, session, one) for one in USERS)

    def counts(self) -> object:
        """The runs of the model."""
        return self.server.state()["runs"]


@asynccontextmanager
async def site(script: str | Script = "echo", **options: object) -> AsyncIterator[Site]:
    """A site with three people."""
    given = {"sessions": USERS, **options}
    async with (
        Sandbox(("openassistant",), script=script, options={"openassistant": given}) as sandbox,
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
    ):
        server = sandbox.servers["openassistant"]
        assert isinstance(server, OpenAssistantServer)
        yield Site(server, session)


def text(events: list[Fields]) -> str:
    """Join the tokens."""
    return "".join(str(one["text"]) for one in events if one["event_type"] == "token")
