"""Requests to sandbox servers over raw sockets, and all bytes of what they answer."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping

from penstock.sandbox import Sandbox
from penstock.sandbox.openassistant import TOKEN as SESSION
from penstock.sandbox.replicate import TOKEN as KEY

QUIET = 0.15
LONGEST = 1.0
QUESTION = "one two three four"


class Seen:
    """What came over a connection, and how it ended: ``end``, ``reset`` or ``open``."""

    def __init__(self, data: bytes, ending: str) -> None:
        self.data = data
        self.ending = ending
        self.head, _, self.rest = data.partition(b"\r\n\r\n")

    @property
    def status(self) -> int:
        return int(self.head.split(b" ")[1])

    @property
    def headers(self) -> dict[str, str]:
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        return {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}

    @property
    def chunked(self) -> tuple[bytes, bool]:
        """The body without its chunks, and whether the last chunk came."""
        body, rest = b"", self.rest
        while b"\r\n" in rest:
            size, _, rest = rest.partition(b"\r\n")
            if int(size, 16) == 0:
                return body, True
            body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
        return body, False

    @property
    def body(self) -> bytes:
        return self.chunked[0] if "transfer-encoding" in self.headers else self.rest

    @property
    def frames(self) -> list[bytes]:
        return [one for one in self.body.split(b"\n\n") if one]

    @property
    def object(self) -> dict[str, object]:
        """The body as a JSON object."""
        value: dict[str, object] = json.loads(self.body)
        return value

    @property
    def cut(self) -> bool:
        """Whether the body ended without its mark."""
        return self.ending == "reset" or (
            "transfer-encoding" in self.headers and not self.chunked[1]
        )


async def exchange(
    url: str, request: bytes, quiet: float = QUIET, most: int = 10**8, longest: float = LONGEST
) -> Seen:
    """Send bytes, read until the end, or until nothing more comes for a while."""
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    data, ending = bytearray(), "end"
    last = asyncio.get_running_loop().time() + longest
    try:
        while len(data) < most:
            if asyncio.get_running_loop().time() > last:
                ending = "open"
                break
            async with asyncio.timeout(quiet):
                more = await reader.read(1 << 20)
            if not more:
                break
            data += more
    except TimeoutError:
        ending = "open"
    except ConnectionResetError:
        ending = "reset"
    finally:
        writer.close()
    return Seen(bytes(data), ending)


def request(
    method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
) -> bytes:
    """The bytes of a request; a body that is no text is written as JSON."""
    sent = {"Connection": "close", "Accept": "*/*"}
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    if body is not None:
        sent |= {"Content-Type": "application/json", "Content-Length": str(len(data))}
    sent |= headers or {}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items())]
    return "\r\n".join([*lines, "", ""]).encode() + data


class Raw:
    """One chat with a server, request by request; it ends with the first refusal."""

    def __init__(self, url: str, longest: float) -> None:
        self.url = url
        self._longest = longest

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        url: str = "",
    ) -> Seen:
        place = url or self.url
        host = {"Host": place.removeprefix("http://"), **(headers or {})}
        sent = request(method, path, body, host)
        return await exchange(place, sent, self._longest, longest=self._longest)


async def allenai(raw: Raw) -> Seen:
    old = {"model": "tulu3-405b", "host": "inferd", "content": QUESTION}
    return await raw.ask("POST", "/v4/message/stream", old, {"x-anonymous-user-id": "ann"})


async def threads(raw: Raw) -> Seen:
    new = {"model": "Olmo-3-7B-Instruct", "content": QUESTION}
    return await raw.ask("POST", "/v4/threads/", new, {"x-anonymous-user-id": "ann"})


async def v5(raw: Raw) -> Seen:
    new = {"model": "Olmo-3-7B-Instruct", "content": QUESTION, "role": "user"}
    return await raw.ask("POST", "/v5/threads/chat", new, {"x-anonymous-user-id": "ann"})


async def openassistant(raw: Raw) -> Seen:
    who = {"Cookie": f"next-auth.session-token={SESSION}"}
    made = await raw.ask("POST", "/api/chat", None, who)
    if made.status != 200:
        return made
    chat = {"chat_id": made.object["id"]}
    asked = await raw.ask(
        "POST", "/api/chat/prompter_message", {**chat, "parent_id": None, "content": QUESTION}, who
    )
    below = {"parent_id": asked.object["id"], "model_config_name": "OA_SFT_Llama_30B_6"}
    answer = await raw.ask("POST", "/api/chat/assistant_message", {**chat, **below}, who)
    if answer.status != 200:
        return answer
    query = f"chat_id={chat['chat_id']}&message_id={answer.object['id']}"
    return await raw.ask("GET", f"/api/chat/events?{query}", None, who)


async def h2o(raw: Raw) -> Seen:
    who = {"Cookie": "hf-chat=11111111-2222-4333-8444-555555555555"}
    form = {**who, "Referer": f"{raw.url}/"}
    form |= {"Content-Type": "application/x-www-form-urlencoded"}
    accepted = await raw.ask("POST", "/settings", b"ethicsModalAccepted=true", form)
    if accepted.status != 200:
        return accepted
    model = "h2oai/h2ogpt-gm-oasst1-en-2048-falcon-40b-v1"
    made = await raw.ask("POST", "/conversation", {"model": model}, who)
    body = {"inputs": QUESTION, "options": {}, "parameters": {"max_new_tokens": 99}}
    return await raw.ask("POST", f"/conversation/{made.object['conversationId']}", body, who)


async def tgi(raw: Raw) -> Seen:
    return await raw.ask("POST", "/generate_stream", {"inputs": QUESTION})


async def chatui(raw: Raw) -> Seen:
    who = {"Cookie": "hf-chat=11111111-2222-4333-8444-555555555555"}
    model = {"model": "h2oai/h2ogpt-4096-llama2-13b-chat"}
    made = await raw.ask("POST", "/conversation", model, who)
    if made.status != 200:
        return made
    parent = json.loads(str(made.object["conversation"]))["json"]["rootMessageId"]
    data = json.dumps({"inputs": QUESTION, "id": parent})
    part = f'--b\r\nContent-Disposition: form-data; name="data"\r\n\r\n{data}\r\n--b--\r\n'
    form = {**who, "Origin": raw.url, "Content-Type": "multipart/form-data; boundary=b"}
    path = f"/conversation/{made.object['conversationId']}"
    return await raw.ask("POST", path, part.encode(), form)


def replicate(look: str) -> Callable[[Raw], Awaitable[Seen]]:
    """A chat whose ``create``, ``stream`` or last ``get`` is looked at."""

    async def chat(raw: Raw) -> Seen:
        who = {"Authorization": f"Bearer {KEY}"}
        path = "/v1/models/meta/meta-llama-3-70b-instruct/predictions"
        made = await raw.ask("POST", path, {"input": {"prompt": QUESTION}}, who)
        if look == "create" or made.status != 201:
            return made
        urls = made.object["urls"]
        assert isinstance(urls, dict)
        url = str(urls[look])
        host = re.match(r"http://[^/]+", url)
        assert host is not None
        who["Accept"] = "text/event-stream" if look == "stream" else "*/*"
        while True:
            seen = await raw.ask("GET", url[host.end() :], None, who, host.group())
            if look == "stream" or seen.object["status"] not in ("starting", "processing"):
                return seen

    return chat


async def openai(raw: Raw) -> Seen:
    chat = {"model": "sandbox-model", "messages": [{"role": "user", "content": QUESTION}]}
    return await raw.ask("POST", "/v1/chat/completions", {**chat, "stream": True})


async def cog(raw: Raw) -> Seen:
    streamed = {"Accept": "text/event-stream"}
    return await raw.ask("POST", "/predictions", {"input": {"prompt": QUESTION}}, streamed)


CHATS: Mapping[str, Callable[[Raw], Awaitable[Seen]]] = {
    "allenai": allenai,
    "threads": threads,
    "v5": v5,
    "openassistant": openassistant,
    "h2o": h2o,
    "tgi": tgi,
    "chatui": chatui,
    "replicate": replicate("stream"),
    "replicate.create": replicate("create"),
    "replicate.get": replicate("get"),
    "openai": openai,
    "cog": cog,
}


async def seen_of(sandbox: Sandbox, server: str, chat: str, longest: float) -> Seen:
    """The last answer of a raw chat."""
    return await CHATS[chat](Raw(sandbox.urls[server], longest))
