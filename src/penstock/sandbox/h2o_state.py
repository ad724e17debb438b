"""What the 2023 chat-ui remembers, and how it writes prompts and pages (wire/h2o.md).

Pure values and decisions: sessions, conversations, the prompt template, page data.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from penstock.sandbox.javascript import BLANKS
from penstock.sandbox.script import Message

OWNER = "h2oai/h2ogpt-gm-oasst1-en-2048"
_USER, _ASSISTANT = "<|prompt|>", "<|answer|>"
_PARAMETERS: Mapping[str, float | int | bool] = {
    "temperature": 0.4,
    "truncate": 2048,
    "max_new_tokens": 1024,
    "do_sample": True,
    "repetition_penalty": 1.2,
}
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


class Model(msgspec.Struct, frozen=True):
    """A configured model.

    Attributes:
        ident: Full name, the only one the server knows.
        description: Text on the page.
        eos: Text and id of its end token.
        root_route: Whether its endpoint is the router's root, which obeys ``stream``.
    """

    ident: str
    description: str
    eos: tuple[str, int] = ("<|endoftext|>", 11)
    root_route: bool = False


MODELS: Sequence[Model] = (
    Model(f"{OWNER}-falcon-40b-v1", "40b"),
    Model(f"{OWNER}-falcon-7b-v3", "7b", root_route=True),
    Model(f"{OWNER}-open-llama-13b", "13b", eos=("</s>", 2)),
)


class Stored(msgspec.Struct, frozen=True):
    """A stored message."""

    role: str
    content: str
    ident: str


class Settings(msgspec.Struct):
    """What a session has chosen."""

    share: bool = True
    accepted_at: datetime | None = None
    active_model: str = MODELS[0].ident


class Conversation(msgspec.Struct):
    """A conversation, owned by the cookie that made it.

    Attributes:
        stopped_at: When the marker of stop-generating was made (loop clock).
    """

    ident: str
    owner: str
    model: Model
    title: str
    messages: list[Stored] = []
    stopped_at: float | None = None

    def before(self, message: str | None, *, retry: bool) -> list[Stored]:
        """Give the messages before a new one; a retry cuts at the message it repeats."""
        if retry:
            for position, stored in enumerate(self.messages):
                if stored.ident == message:
                    return self.messages[:position]
        return list(self.messages)


class Options(msgspec.Struct, frozen=True):
    """The ``options`` of a message. Ids are UUIDs where they are given."""

    id: str | None = None
    response_id: str | None = None
    is_retry: bool = False
    web_search_id: str | None = None


class Post(msgspec.Struct, frozen=True):
    """The part of a message's body that chat-ui itself reads."""

    inputs: str
    options: Options


def parse_post(body: bytes) -> Post | None:
    """Read a message; None where the schema refuses it (then the answer is 500)."""
    try:
        post = msgspec.json.decode(body, type=Post)
    except msgspec.MsgspecError:
        return None
    idents = (post.options.id, post.options.response_id)
    if not post.inputs.strip(BLANKS) or any(
        i is not None and not _UUID.fullmatch(i) for i in idents
    ):
        return None
    return msgspec.structs.replace(post, inputs=post.inputs.strip(BLANKS))


def prompt_text(messages: Sequence[Stored], model: Model, words: int = 2048) -> str:
    """Write the prompt: markers around each message, then the assistant's marker.

    It is cut to the last `words` pieces between blanks, wherever that falls: the first
    user marker can be lost (h2o-prompt-too-long-sse).
    """
    end = model.eos[0]
    told = "".join(
        f"{_USER if one.role == 'user' else _ASSISTANT}{one.content}"
        f"{'' if one.content.endswith(end) else end}"
        for one in messages
    )
    return " ".join((told + _ASSISTANT).split(" ")[-words:])


def chat(messages: Sequence[Stored]) -> tuple[Message, ...]:
    """Give the messages as the script gets them."""
    return tuple(Message(one.role, one.content) for one in messages)


def to_router(body: bytes, prompt: str) -> bytes:
    """Give the body as the router gets it: all as sent, only ``inputs`` replaced."""
    sent = json.loads(body)
    return json.dumps(
        {**sent, "inputs": prompt}, ensure_ascii=False, separators=(",", ":")
    ).encode()


def stored_text(answer: str, stops: Sequence[str]) -> str:
    """Give an answer as it is stored: trimmed at its end, without a last end mark."""
    for mark in ("<|endoftext|>", *stops):
        answer = answer.removesuffix(mark)
    return answer.rstrip(BLANKS)


class Missing:
    """JavaScript's ``undefined``, which page data write as -1."""


def page_data(nodes: Sequence[object], uses: Sequence[Mapping[str, object]]) -> str:
    """Write the answer of a ``__data.json``: each node flattened, then a line end."""
    written = (
        f'{{"type":"data","data":{_Flat(node).text()},"uses":{_plain(use)}}}'
        for node, use in zip(nodes, uses, strict=True)
    )
    return f'{{"type":"data","nodes":[{",".join(written)}]}}\n'


def layout(settings: Settings, mine: Sequence[Conversation]) -> dict[str, object]:
    """Give the data of the frame around every page."""
    return {
        "conversations": [
            {"id": one.ident, "title": one.title, "model": one.model.ident} for one in mine
        ],
        "settings": {
            "shareConversationsWithModelAuthors": settings.share,
            "ethicsModalAcceptedAt": settings.accepted_at,
            "activeModel": settings.active_model,
            "searchEnabled": True,
        },
        "models": [_shown(model) for model in MODELS],
        "oldModels": [],
        "user": Missing,
        "requiresLogin": False,
    }


def _shown(model: Model) -> dict[str, object]:
    return {
        "id": model.ident,
        "name": model.ident,
        "websiteUrl": Missing,
        "datasetName": Missing,
        "displayName": model.ident,
        "description": model.description,
        "promptExamples": Missing,
        "parameters": dict(_PARAMETERS),
    }


def conversation_page(conversation: Conversation) -> dict[str, object]:
    """Give the data of a conversation's page."""
    messages: list[dict[str, object]] = []
    for one in conversation.messages:
        if one.role == "user":
            messages.append({"content": one.content, "from": "user", "id": one.ident})
        else:
            answer = {"from": "assistant", "content": one.content}
            messages.append({**answer, "webSearchId": "", "id": one.ident})
    return {
        "messages": messages,
        "title": conversation.title,
        "model": conversation.model.ident,
        "searches": {},
    }


def _plain(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


class _Flat:
    """Devalue: values as one flat list that refer to each other by position.

    Equal texts and numbers share a place, containers never do.
    """

    def __init__(self, value: object) -> None:
        self._places: dict[tuple[type, object], int] = {}
        self._written: list[str] = []
        self._place(value)

    def text(self) -> str:
        return f"[{','.join(self._written)}]"

    def _place(self, value: object) -> int:
        if value is Missing:
            return -1
        if isinstance(value, str | bool | int | float | None):
            known = self._places.get((type(value), value))
            if known is not None:
                return known
        place = len(self._written)
        self._written.append("")
        if isinstance(value, str | bool | int | float | None):
            self._places[type(value), value] = place
        self._written[place] = self._form(value)
        return place

    def _form(self, value: object) -> str:
        match value:
            case dict():
                members = (f"{_plain(key)}:{self._place(one)}" for key, one in value.items())
                return "{" + ",".join(members) + "}"
            case list():
                return "[" + ",".join(str(self._place(one)) for one in value) + "]"
            case datetime():
                return f'["Date","{iso(value)}"]'
            case _:
                return _plain(value).replace("/", "\\u002F").replace("<", "\\u003C")


def iso(moment: datetime) -> str:
    """Write a time as JavaScript does."""
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z"
