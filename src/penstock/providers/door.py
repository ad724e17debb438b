"""The first answer of a server tells whether it is one of the kind that was meant: pure.

A wrong ``base_url`` shows in what comes back for the first request of a call: an unknown path, a
method that is not allowed, a web page, JSON of another kind, a redirect. The error then names the
address and what it was taken for; later answers of a server that has proved itself keep their own
words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from penstock.errors import NotFoundError, PenstockError, ProtocolError
from penstock.types import Value

StatusError = Callable[[int, dict[str, str], bytes], PenstockError]
"""A dialect's reading of an error answer: status, headers (lower case), body."""

_FORMS = re.compile(r"need to have an? (?:origin|referer)", re.IGNORECASE)
"""How a site guards its forms; an API has none."""


class Door(Value, frozen=True):
    """Where a call comes in.

    Attributes:
        base: the address, as configured.
        software: what should answer there, for people.
        own: words by which such a server itself refuses, so that they say nothing against it.
    """

    base: str
    software: str
    own: tuple[str, ...] = ()

    def refusal(self, on_error: StatusError) -> StatusError:
        """``on_error`` for the first request."""

        def told(status: int, headers: dict[str, str], body: bytes) -> PenstockError:
            error = on_error(status, headers, body)
            if error.kind == "redirect" and (target := headers.get("location")):
                error.detail = f"it sends to {target[:200]}"
            return self.told(error)

        return told

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Around the reading of the first answer.

        Raises (from the context):
            ProtocolError: it is none of this software's.
        """
        try:
            yield
        except ProtocolError as error:
            raise self.told(error) from None

    def told(self, error: PenstockError) -> PenstockError:
        """``error``, or what it says of the address."""
        what = error.detail or error.message
        if any(word in what for word in self.own) or not _foreign(error):
            return error
        message = (
            f"{self.base} does not answer as {self.software} does ({what.rstrip('.')}); "
            "check base_url"
        )
        if error.kind == "forbidden":
            error = NotFoundError(
                message, provider=error.provider, model=error.model, status=error.status
            )
        error.message = message
        error.args = (message,)
        return error


def _foreign(error: PenstockError) -> bool:
    if error.kind == "forbidden":
        return error.status == 405 or bool(_FORMS.search(error.detail or ""))
    return error.kind in ("not_found", "redirect", "protocol")
