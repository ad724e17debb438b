"""The page at ``/``: a chat and the status, files that were built from ``web/``.

The files are read once and served from memory. Names below ``assets/`` hold a hash of their
content, so a browser may keep them for ever; everything else is asked for again and answered with
304 while it is the same. The headers let the page run nothing but its own files and talk to
nobody but this gateway (threats row 27): what a model wrote is data in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from penstock.gateway.errors import refusal
from penstock.gateway.http import Header, Receive, Refused, Scope, Send
from penstock.types import Value

BUILT = Path(__file__).parent / "page"
"""Where the build puts the page, in a checkout as in the installed package."""

TYPES: Mapping[str, bytes] = {
    ".css": b"text/css; charset=utf-8",
    ".html": b"text/html; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".md": b"text/plain; charset=utf-8",
    ".svg": b"image/svg+xml",
}
"""What is served: files of other kinds in the folder are not."""

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        # Not even our own code can turn text into markup, but by the sanitiser.
        "require-trusted-types-for 'script'",
        "trusted-types dompurify",
    )
).encode()

SAFE: tuple[Header, ...] = (
    (b"content-security-policy", POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=()"),
)

NOT_BUILT = b"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Penstock</title>
<h1>The page is not built here</h1>
<p>The gateway itself works: its endpoints are below <code>/v1</code>.</p>
<p>In a checkout, <code>python -m tools.build_page</code> builds the page; <code>make serve</code>
does so by itself. An installed package brings it along.</p>
"""

FOR_EVER = b"public, max-age=31536000, immutable"
ASK_AGAIN = b"no-cache"


class PageFile(Value, frozen=True):
    """One file as it is served.

    Attributes:
        body: its bytes.
        gzipped: the same compressed, where the build made that.
        kind: the value of its ``content-type``.
        tag: the value of its ``etag``.
        lasting: its name changes with its content.
    """

    body: bytes
    gzipped: bytes | None
    kind: bytes
    tag: bytes
    lasting: bool


class PageAnswer(Value, frozen=True):
    """What to send for a path of the page."""

    status: int
    headers: tuple[Header, ...]
    body: bytes = b""

    async def send(self, send: Send, extra: Iterable[Header] = ()) -> None:
        """Send it, with more headers."""
        headers = [*self.headers, *extra]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


class Page:
    """The built files, and what is answered for each; also an ASGI callable of its own.

    Args:
        folder: the built page.

    Attributes:
        built: whether there is one; if not, ``/`` says how to build it.
        paths: what it answers to, ``/`` among them.
    """

    def __init__(self, folder: Path = BUILT) -> None:
        self._files = {f"/{name}": file for name, file in _read(folder)}
        self.built = "/index.html" in self._files
        if self.built:
            self._files["/"] = self._files["/index.html"]
        self.paths = frozenset(self._files) | {"/"}

    def answer(self, path: str, method: str, headers: Mapping[bytes, bytes]) -> PageAnswer:
        """What to answer to GET or HEAD of a path.

        Raises:
            Refused: the method is another one, or there is no such file.
        """
        if method not in {"GET", "HEAD"}:
            raise Refused(refusal(405, f"{path} takes GET, HEAD, not {method}"))
        file = self._files.get(path)
        if file is not None:
            made = _answer(file, headers)
        elif path == "/":
            kind = (b"content-type", TYPES[".html"])
            length = (b"content-length", b"%d" % len(NOT_BUILT))
            made = PageAnswer(503, (kind, length, *SAFE), NOT_BUILT)
        else:
            raise Refused(refusal(404, f"there is nothing at {path}", code="unknown_path"))
        return PageAnswer(made.status, made.headers) if method == "HEAD" else made

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request.

        Raises:
            Refused: as ``answer`` does.
        """
        del receive
        path = scope["path"].removeprefix(scope.get("root_path", "")) or "/"
        await self.answer(path, scope["method"], dict(scope["headers"])).send(send)


def _read(folder: Path) -> Iterator[tuple[str, PageFile]]:
    """The files to serve, by their names relative to the folder."""
    for path in sorted(folder.rglob("*")):
        kind = TYPES.get(path.suffix)
        if kind is None or not path.is_file():
            continue
        name = path.relative_to(folder).as_posix()
        body = path.read_bytes()
        compressed = path.with_name(f"{path.name}.gz")
        yield (
            name,
            PageFile(
                body=body,
                gzipped=compressed.read_bytes() if compressed.is_file() else None,
                kind=kind,
                tag=b'"%s"' % hashlib.sha256(body).hexdigest()[:32].encode(),
                lasting=name.startswith("assets/"),
            ),
        )


def _answer(file: PageFile, asked: Mapping[bytes, bytes]) -> PageAnswer:
    """The file, compressed for those who take that, or 304 for those who have it."""
    headers = (
        (b"cache-control", FOR_EVER if file.lasting else ASK_AGAIN),
        (b"etag", file.tag),
        (b"vary", b"accept-encoding"),
        *SAFE,
    )
    known = asked.get(b"if-none-match", b"").replace(b"W/", b"")
    if file.tag in {tag.strip() for tag in known.split(b",")}:
        return PageAnswer(304, headers)
    body = file.body
    if file.gzipped is not None and _takes_gzip(asked.get(b"accept-encoding", b"")):
        body = file.gzipped
        headers = (*headers, (b"content-encoding", b"gzip"))
    length = (b"content-length", b"%d" % len(body))
    return PageAnswer(200, (*headers, (b"content-type", file.kind), length), body)


def _takes_gzip(accepted: bytes) -> bool:
    """Whether ``gzip`` is named, and not by ``gzip;q=0``."""
    for entry in accepted.lower().replace(b" ", b"").split(b","):
        name, _, quality = entry.partition(b";q=")
        if name == b"gzip":
            return quality not in {b"0", b"0.0", b"0.00", b"0.000"}
    return False
