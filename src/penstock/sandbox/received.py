"""What a server received, as ``penstock sandbox --verbose`` shows it: no secrets, short."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

_LONGEST = 400
_SECRET_HEADERS = re.compile(r"(?i)authorization|cookie|token|key|secret|trustedclient|refresh")
_SECRET_FIELDS = re.compile(
    r"""(?ix)("?\b[\w-]*(?:token|api[_-]?key|password|secret)"?\s*[:=]\s*)("[^"]*"|[^\s&,"}]+)"""
)


class Received(msgspec.Struct, frozen=True):
    """One request.

    Attributes:
        server: Name of the server that it came to.
        method: Its method.
        path: Its path without the query, which may hold a secret.
        headers: Its headers as they came.
        body: Its body; empty where it is larger than the server takes, or came in chunks.
    """

    server: str
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    def shown(self) -> str:
        """Lines for a person: secrets are stars, and a long body is cut."""
        lines = [f"{self.server}  {self.method} {self.path}"]
        for name, value in self.headers.items():
            told = "***" if _SECRET_HEADERS.search(name) else value
            lines.append(f"    {name}: {told}")
        if self.body:
            lines.append(f"    {self._body()}")
        return "\n".join(lines)

    def _body(self) -> str:
        text = _SECRET_FIELDS.sub(r"\1***", self.body.decode("utf-8", "backslashreplace"))
        more = f"... ({len(self.body)} bytes)" if len(text) > _LONGEST else ""
        # Control characters would act on the terminal.
        return "".join(c if c.isprintable() else " " for c in text[:_LONGEST]) + more
