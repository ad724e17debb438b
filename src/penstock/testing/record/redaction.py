"""Secrets out of a recording, so that it still replays. Pure.

Laws:
* a secret has one stand-in for the whole recording, whichever exchange shows it;
* a stand-in is as long as what it stands for, so that chunks are cut where they were;
* everything is learned before anything is written: a secret that a later answer tells is replaced
  in the earlier exchanges as well;
* long secrets are replaced wherever they occur, in any spelling; short ones and plain words (a
  cookie ``theme=dark``) only where they are told to be one, because elsewhere they may be words.

A secret is known by its place - header, cookie, field of a body or a query, end of a stream's URL -
or by its shape: a vendor's key, a token of three parts, credentials in a URL.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import msgspec

from penstock.testing.record.bodies import documents, replaced_body, text_or_none
from penstock.testing.replay.body import cookies_of, read_form
from penstock.testing.replay.case import Exchange, RecordedRequest, RecordedResponse

EVERYWHERE = 8
"""Secrets of at least so many characters, single words of twice as many, go wherever they are."""
_DEEPEST = 6
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_PREFIX = re.compile(r"(?:r8_|sk-|gsk_|hf_|pk-|xai-)?")
_COUNT = re.compile(r"\d{1,6}(?:\.\d+)?|true|false|null|", re.IGNORECASE)

_HEADER = re.compile(
    r"authoriz|token|api-?key|secret|passw|session|csrf|xsrf|signature|captcha|credential"
    r"|trustedclient|anonymous-user|user-id|account|organization|project|forwarded-for|real-ip"
    r"|client-ip|connecting-ip",
    re.IGNORECASE,
)
_COUNTED = re.compile(r"rate-?limit|content-length", re.IGNORECASE)
_FIELDS = (
    "apikey",
    "accesskey",
    "secretkey",
    "privatekey",
    "token",
    "password",
    "passwd",
    "secret",
    "authorization",
    "cookie",
    "session",
    "sessionid",
    "credential",
    "credentials",
    "signature",
    "sig",
    "captcha",
    "captcharesponse",
    "email",
    "creator",
    "userid",
    "username",
)
_TOKEN = re.compile(r"(?=.*(?:\d|[a-z].*[A-Z]))[\w.~+/=:|-]{12,4096}")
_SHAPES = re.compile(
    r"\b(?:r8_|sk-|gsk_|hf_|pk-|xai-)[A-Za-z0-9_-]{8,}"
    r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_.-]+"
    r"|(?<=[Bb]earer )[A-Za-z0-9._~+/=-]{8,}"
    r"|(?<=://)[^/\s@:\"\\]+:[^/\s@\"\\]+(?=@)"
)
_URL = re.compile(r"https?://[^\s\"'<>\\]+")


class Redactor:
    """The secrets of one recording and what stands for them.

    Args:
        secrets: what is known to be one from elsewhere.
    """

    def __init__(self, secrets: tuple[str, ...] = ()) -> None:
        self._numbers: dict[str, int] = {}
        self._spelled: dict[str, int] = {}
        self._pattern: re.Pattern[str] | None = None
        self._pattern_bytes: re.Pattern[bytes] | None = None
        self._learn(iter(secrets))

    def learn(self, exchange: Exchange) -> None:
        """Find the secrets of an exchange."""
        self._learn(_of_request(exchange.request))
        self._learn(_of_response(exchange.response))

    def exchange(self, exchange: Exchange) -> Exchange:
        """``exchange`` without any secret that was learned."""
        return Exchange(self._request(exchange.request), self._response(exchange.response))

    def text(self, text: str) -> str:
        """``text`` without the long secrets."""
        self._compile()
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda found: self._stand_in(found[0]), text)

    def shown_by(self, text: str) -> bool:
        """Whether ``text`` tells a long secret."""
        real = (found[0] for found in _SHAPES.finditer(text) if "redacted" not in found[0])
        return self.text(text) != text or any(True for _ in real)

    # -- learning ------------------------------------------------------------------------------

    def _learn(self, secrets: Iterator[str]) -> None:
        for secret in secrets:
            if secret and not _COUNT.fullmatch(secret) and secret not in self._numbers:
                number = self._numbers[secret] = len(self._numbers) + 1
                for spelling in _spellings(secret):
                    self._spelled.setdefault(spelling, number)
                self._pattern = self._pattern_bytes = None

    def _compile(self) -> None:
        if self._pattern is None and self._spelled:
            ordered = sorted(self._spelled, key=len, reverse=True)
            self._pattern = re.compile("|".join(map(re.escape, ordered)))
            raw = (re.escape(one.encode("utf-8", "surrogatepass")) for one in ordered)
            self._pattern_bytes = re.compile(b"|".join(raw))

    def _stand_in(self, spelling: str) -> str:
        return stand_in(spelling, self._spelled[spelling])

    def _known(self, value: str) -> str:
        """The stand-in of a whole value that is a secret by its place."""
        number = self._numbers.get(value)
        return self.text(value) if number is None else stand_in(value, number)

    # -- replacing -----------------------------------------------------------------------------

    def _request(self, request: RecordedRequest) -> RecordedRequest:
        body = self._body(request.content, request.header("content-type"))
        text = text_or_none(body)
        return msgspec.structs.replace(
            request,
            path=self.text(request.path),
            query=None if request.query is None else self._query(request.query),
            headers=tuple((name, self._header(name, v)) for name, v in request.headers),
            body=text,
            body_b64=body if text is None else None,
        )

    def _response(self, response: RecordedResponse) -> RecordedResponse:
        body = self._body(response.content, response.header("content-type"))
        return msgspec.structs.replace(
            response,
            headers=tuple((name, self._header(name, v)) for name, v in response.headers),
            chunks=replaced_body(response.chunks, body),
        )

    def _header(self, name: str, value: str) -> str:
        low = name.lower()
        if low == "cookie":
            return "; ".join(self._pair(pair.strip()) for pair in value.split(";"))
        if low == "set-cookie":
            first, semicolon, rest = value.partition(";")
            return f"{self._pair(first)}{semicolon}{rest}"
        if _is_secret_header(name):
            scheme, blank, credential = value.partition(" ")
            if blank:
                return f"{scheme} {self._known(credential)}"
            return self._known(value)
        return self._query_of_url(value) if low in ("location", "referer") else self.text(value)

    def _query_of_url(self, url: str) -> str:
        place, question, query = url.partition("?")
        return f"{self.text(place)}{question}{self._query(query)}"

    def _pair(self, pair: str) -> str:
        name, equals, value = pair.partition("=")
        return f"{name}{equals}{self._known(value)}"

    def _query(self, query: str) -> str:
        pairs = (pair.partition("=") for pair in query.split("&"))
        return "&".join(
            f"{name}{equals}{self._placed(value) if _is_secret_field(name) else self.text(value)}"
            for name, equals, value in pairs
        )

    def _placed(self, value: str) -> str:
        """The stand-in of a percent-encoded value in its secret place."""
        number = self._numbers.get(value) or self._numbers.get(unquote(value))
        return self.text(value) if number is None else stand_in(value, number)

    def _body(self, body: bytes, content_type: str) -> bytes:
        self._compile()
        if self._pattern_bytes is not None:
            body = self._pattern_bytes.sub(self._stand_in_bytes, body)
        for name, value in _fields(body, content_type):
            number = self._numbers.get(value)
            if number is not None:
                body = _in_field(body, name, value, stand_in(value, number))
        return body

    def _stand_in_bytes(self, found: re.Match[bytes]) -> bytes:
        spelling = found[0].decode("utf-8", "surrogatepass")
        return self._stand_in(spelling).encode().ljust(len(found[0]), b"0")


def _in_field(body: bytes, name: str, value: str, stand: str) -> bytes:
    """``body`` with a short secret replaced, in JSON, a form, or a part of a multipart form."""
    raw = value.encode("utf-8", "surrogatepass")
    opened = re.escape(name.encode()) + rb'"?(?:\s*[:=]\s*"?|[^\r\n]*\r\n\r\n)'
    place = re.compile(b"(" + opened + b")" + re.escape(raw) + rb"(?=[\"&\r\n]|\Z)")
    padded = stand.encode().ljust(len(raw), b"0")
    return place.sub(lambda found: found[1] + padded, body)


def stand_in(secret: str, number: int) -> str:
    """What stands for the secret of that number: as long, of the same outer shape."""
    if _UUID.fullmatch(secret):
        return f"00000000-0000-4000-8000-{number:012d}"
    prefix = _PREFIX.match(secret)
    start = prefix[0] if prefix else ""
    room = len(secret) - len(start)
    for words in (f"redacted{number}x", f"x{number}"):
        if len(words) <= room:
            return f"{start}{words}".ljust(len(secret), "0")
    return "x" * len(secret)


def _spellings(secret: str) -> tuple[str, ...]:
    """The ways a long secret may be written; none for a short one."""
    word = secret.islower() and secret.isalpha() and len(secret) < 2 * EVERYWHERE
    if len(secret) < EVERYWHERE or word:
        return ()
    in_json = json.dumps(secret)[1:-1]
    within = json.dumps(in_json)[1:-1]  # JSON within a string of JSON
    spelled = (secret, quote(secret, safe=""), quote(secret), in_json, within)
    return tuple(dict.fromkeys(spelled))


# -- where secrets are -----------------------------------------------------------------------------


def _of_request(request: RecordedRequest) -> Iterator[str]:
    yield from _of_headers(request.headers)
    yield from _of_query(request.query or "")
    yield from _of_body(request.content, request.header("content-type"))


def _of_response(response: RecordedResponse) -> Iterator[str]:
    yield from _of_headers(response.headers)
    yield from _of_body(response.content, response.header("content-type"))


def _of_headers(headers: tuple[tuple[str, str], ...]) -> Iterator[str]:
    for name, value in headers:
        low = name.lower()
        if low == "cookie":
            yield from cookies_of(value).values()
        elif low == "set-cookie":
            yield value.partition(";")[0].partition("=")[2].strip()
        elif _is_secret_header(name):
            scheme, blank, credential = value.partition(" ")
            yield credential if blank else value
            if scheme.lower() == "basic":
                yield from _of_basic(credential)
        else:
            yield from _of_text(value)
            yield from _of_query(value.partition("?")[2])


def _of_basic(credential: str) -> Iterator[str]:
    try:
        yield from base64.b64decode(credential).decode().split(":", 1)
    except (binascii.Error, UnicodeDecodeError):
        return


def _of_query(query: str) -> Iterator[str]:
    for name, value in parse_qsl(query, keep_blank_values=True):
        if _is_secret_field(name):
            yield value


def _of_body(body: bytes, content_type: str) -> Iterator[str]:
    for _, value in _fields(body, content_type):
        yield value
    yield from _of_text(body.decode("utf-8", "replace"))


def _of_text(text: str) -> Iterator[str]:
    yield from (found[0] for found in _SHAPES.finditer(text))
    for found in _URL.finditer(text):
        yield from _of_url(found[0])


def _of_url(url: str) -> Iterator[str]:
    try:
        parts = urlsplit(url)
    except ValueError:
        return
    yield from _of_query(parts.query)
    if "/streams/" in parts.path:  # who knows it may read the answer (wire/replicate.md section 2)
        yield parts.path.rpartition("/")[2]


def _fields(body: bytes, content_type: str) -> Iterator[tuple[str, str]]:
    """Name and value of the fields of a body that are secrets by their names."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind in ("multipart/form-data", "application/x-www-form-urlencoded"):
        form = read_form(content_type, body)
        yield from ((name, value) for name, value in form.fields if _is_secret_field(name))
        for _, value in form.fields:
            yield from _nested(value, 1)
        return
    for document in documents(body):
        yield from _walk(document, 0)


def _walk(value: object, depth: int) -> Iterator[tuple[str, str]]:
    if depth > _DEEPEST:
        return
    if isinstance(value, Mapping):
        for name, item in value.items():
            if isinstance(item, str) and _is_secret_field(name) and _fits(value, name, item):
                yield name, item
            else:
                yield from _walk(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            yield from _walk(item, depth + 1)
    elif isinstance(value, str):
        yield from _nested(value, depth + 1)


def _nested(text: str, depth: int) -> Iterator[tuple[str, str]]:
    """JSON within a string of JSON."""
    if text[:1] in ("{", "["):
        for document in documents(text.encode("utf-8", "surrogatepass")):
            yield from _walk(document, depth)


def _fits(around: Mapping[str, Any], name: str, value: str) -> bool:
    """False for a model's token, which goes by the name of a credential (wire/h2o.md section 9)."""
    if not _plain(name).endswith("token"):
        return True
    return around.get("type") != "stream" and bool(_TOKEN.fullmatch(value))


def _is_secret_header(name: str) -> bool:
    return bool(_HEADER.search(name)) and not _COUNTED.search(name)


def _is_secret_field(name: str) -> bool:
    plain = _plain(name)
    return any(plain == field or plain.endswith(field) for field in _FIELDS)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z]", "", name.lower())
