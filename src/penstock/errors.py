"""Every error Penstock raises.

The first split is whose fault it is; below it, one class for each ``kind`` of the vocabulary:

    PenstockError
    ├── CallerError                    the caller, or the caller's account, can mend it
    │   ├── BadRequestError            bad_request     a value that is refused, here or there
    │   │   ├── ContextLengthError     context_length  the prompt is too long for the model
    │   │   └── TooLargeError          too_large       a body or file over a limit
    │   ├── ModerationError            moderation      the content was refused
    │   ├── AuthError                  auth            the credential is wrong or has expired
    │   │   └── MissingAuthError       auth            there is no credential
    │   ├── PaymentRequiredError       payment         no credit
    │   ├── ForbiddenError             forbidden       known, but not allowed
    │   ├── CaptchaError               captcha         the site demands a human check
    │   ├── ModelNotFoundError         unknown_model   no such model here, or it is gone
    │   ├── NotFoundError              not_found       conversation, message or path unknown
    │   ├── ConfigError                config          our configuration is wrong
    │   │   └── MissingRequirementsError  config       an optional package is missing
    │   └── StreamCancelledError       cancelled       the caller or the server stopped it
    ├── ResponseError                  the provider is at fault
    │   ├── ResponseStatusError        server          5xx, a gateway's page, service down
    │   │   ├── RateLimitError         rate_limited    too many requests
    │   │   └── OverloadedError        overloaded      no free slot, queue full, loading
    │   ├── ModelError                 model           the model or its worker failed
    │   ├── TruncatedError             truncated       the stream ended without its end mark
    │   ├── ProtocolError              protocol        an answer that breaks the protocol
    │   └── RedirectError              redirect        sent elsewhere, not followed
    └── NetworkError                   network         could not connect: DNS, TLS, proxy, reset
        └── StreamTimeoutError         timeout         one of the time limits passed

An error that came as an HTTP status is also a ``ResponseStatusError``, whatever its kind, so that
``except ResponseStatusError`` catches every refusal by status. ``RateLimitError`` and
``OverloadedError`` keep that base without a status (an error event inside a stream).

Facts are attributes; the sentence is built from them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import ClassVar, Literal, get_args
from urllib.parse import quote, quote_plus

Kind = Literal[
    "auth",
    "payment",
    "forbidden",
    "captcha",
    "moderation",
    "unknown_model",
    "not_found",
    "bad_request",
    "context_length",
    "too_large",
    "rate_limited",
    "overloaded",
    "server",
    "model",
    "timeout",
    "network",
    "truncated",
    "protocol",
    "redirect",
    "config",
    "cancelled",
]
"""The closed vocabulary of outcomes (``wire/README.md``)."""

KINDS: frozenset[str] = frozenset(get_args(Kind))

_RETRYABLE = frozenset({"rate_limited", "overloaded", "model", "timeout", "network", "truncated"})


class PenstockError(Exception):
    """The root of the tree.

    Attributes:
        kind: one word of the closed vocabulary.
        message: what happened, as one sentence without secrets.
        provider: name of the provider, where one was involved.
        model: the model asked for.
        status: HTTP status of the answer that carried the error; 200 for an error in a stream.
        retry_after: seconds the server asked to wait.
        request_id: the server's own id of the request, to quote to its operator.
        detail: the server's own words, reduced to one sentence.
        param: name of the parameter at fault.
        partial: the text received before the error; never a whole answer.
        conversation: the native conversation of the call, ready for another try.
    """

    kind: ClassVar[Kind] = "server"

    def __init__(
        self,
        message: str,
        *,
        provider: str | None = None,
        model: str | None = None,
        status: int | None = None,
        retry_after: float | None = None,
        request_id: str | None = None,
        detail: str | None = None,
        param: str | None = None,
        partial: str = "",
        retryable: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.provider = provider
        self.model = model
        self.status = status
        self.retry_after = retry_after
        self.request_id = request_id
        self.detail = detail
        self.param = param
        self.partial = partial
        self.conversation: object | None = None
        self._retryable = retryable

    @property
    def retryable(self) -> bool:
        """True where the same turn may be tried again: nothing was shown yet and it may help."""
        if self.partial:
            return False
        return self.kind in _RETRYABLE if self._retryable is None else self._retryable

    @retryable.setter
    def retryable(self, value: bool) -> None:
        self._retryable = value

    def __str__(self) -> str:
        facts = []
        if self.status is not None and self.status != 200:
            facts.append(f"HTTP {self.status}")
        if self.retry_after is not None:
            facts.append(f"retry after {self.retry_after:g} s")
        if self.request_id:
            facts.append(f"request {self.request_id}")
        if self.partial:
            facts.append(f"{len(self.partial)} characters had arrived")
        prefix = f"{self.provider}: " if self.provider else ""
        suffix = f" ({', '.join(facts)})" if facts else ""
        return f"{prefix}{self.message}{suffix}"

    def forget(self, secrets: Iterable[str]) -> None:
        """Take ``secrets`` out of all that the error shows; what a server told back is gone."""
        secrets = tuple(secrets)
        self.message = redact(self.message, secrets)
        self.args = (self.message,)
        if self.detail:
            self.detail = redact(self.detail, secrets)
        if self.request_id:
            self.request_id = redact(self.request_id, secrets)

    def __reduce__(self) -> tuple[object, ...]:
        named = next(cls for cls in type(self).__mro__ if globals().get(cls.__name__) is cls)
        return (_rebuild, (named.__name__, self.message, dict(self.__dict__)))


class CallerError(PenstockError):
    """The caller, or the caller's account, can mend it."""

    kind: ClassVar[Kind] = "bad_request"


class BadRequestError(CallerError):
    """A parameter or body that is refused, by us before sending or by the server."""

    kind: ClassVar[Kind] = "bad_request"


class ContextLengthError(BadRequestError):
    """The prompt is too long for the model."""

    kind: ClassVar[Kind] = "context_length"


class TooLargeError(BadRequestError):
    """A body or file is over a limit."""

    kind: ClassVar[Kind] = "too_large"


class ModerationError(CallerError):
    """The content was refused."""

    kind: ClassVar[Kind] = "moderation"


class AuthError(CallerError):
    """Not logged in; the credential is wrong or has expired."""

    kind: ClassVar[Kind] = "auth"


class MissingAuthError(AuthError):
    """There is no credential to send."""


class PaymentRequiredError(CallerError):
    """The account has no credit."""

    kind: ClassVar[Kind] = "payment"


class ForbiddenError(CallerError):
    """Known, but not allowed; terms or a modal not accepted."""

    kind: ClassVar[Kind] = "forbidden"


class CaptchaError(CallerError):
    """The site demands a human check. Penstock says so and never gets round it."""

    kind: ClassVar[Kind] = "captcha"


class ModelNotFoundError(CallerError):
    """No such model here, or it is gone; another provider may have it."""

    kind: ClassVar[Kind] = "unknown_model"


class NotFoundError(CallerError):
    """A conversation, message or path is unknown."""

    kind: ClassVar[Kind] = "not_found"


class ConfigError(CallerError):
    """Our own configuration is wrong; the message names file, key and line."""

    kind: ClassVar[Kind] = "config"


class MissingRequirementsError(ConfigError):
    """An optional package is missing; the message says how to install it."""


class StreamCancelledError(CallerError):
    """The caller or the server stopped the answer before its end."""

    kind: ClassVar[Kind] = "cancelled"


class ResponseError(PenstockError):
    """The provider answered, and its answer is at fault."""

    kind: ClassVar[Kind] = "protocol"


class ResponseStatusError(ResponseError):
    """An HTTP error status."""

    kind: ClassVar[Kind] = "server"


class RateLimitError(ResponseStatusError):
    """Too many requests; ``retry_after`` where the server said it."""

    kind: ClassVar[Kind] = "rate_limited"


class OverloadedError(ResponseStatusError):
    """No free slot, queue full, or the model is loading."""

    kind: ClassVar[Kind] = "overloaded"


class ModelError(ResponseError):
    """The model or its worker failed."""

    kind: ClassVar[Kind] = "model"


class TruncatedError(ResponseError):
    """The stream ended without its end mark; ``partial`` holds what had come."""

    kind: ClassVar[Kind] = "truncated"


class ProtocolError(ResponseError):
    """An answer that does not follow the protocol, or is over a limit."""

    kind: ClassVar[Kind] = "protocol"


class RedirectError(ResponseError):
    """An answer that sends elsewhere, where that is not followed."""

    kind: ClassVar[Kind] = "redirect"


class NetworkError(PenstockError):
    """Could not connect or stay connected: DNS, TLS, proxy, reset."""

    kind: ClassVar[Kind] = "network"


class StreamTimeoutError(NetworkError, TimeoutError):
    """One of our time limits passed; ``phase`` says which one."""

    kind: ClassVar[Kind] = "timeout"
    phase: str | None = None


_CLASSES: dict[str, type[PenstockError]] = {
    "auth": AuthError,
    "payment": PaymentRequiredError,
    "forbidden": ForbiddenError,
    "captcha": CaptchaError,
    "moderation": ModerationError,
    "unknown_model": ModelNotFoundError,
    "not_found": NotFoundError,
    "bad_request": BadRequestError,
    "context_length": ContextLengthError,
    "too_large": TooLargeError,
    "rate_limited": RateLimitError,
    "overloaded": OverloadedError,
    "server": ResponseStatusError,
    "model": ModelError,
    "timeout": StreamTimeoutError,
    "network": NetworkError,
    "truncated": TruncatedError,
    "protocol": ProtocolError,
    "redirect": RedirectError,
    "config": ConfigError,
    "cancelled": StreamCancelledError,
}


def with_bases(cls: type[PenstockError], *bases: type[BaseException]) -> type[PenstockError]:
    """The error class ``cls`` that documented foreign types in ``bases`` catch as well.

    Bases that ``cls`` already has are left out; the class keeps its name and kind.
    """
    missing = tuple(base for base in bases if not issubclass(cls, base))
    if not missing:
        return cls
    return _joined((cls, *missing))


@cache
def _joined(bases: tuple[type, ...]) -> type[PenstockError]:
    named = bases[0]
    return type(named.__name__, bases, {"__doc__": named.__doc__, "__module__": __name__})


def class_for(kind: Kind, *, status: int | None = None) -> type[PenstockError]:
    """The class for ``kind``; with an HTTP error ``status`` also a ``ResponseStatusError``."""
    return _by_status(_CLASSES[kind], status)


def _by_status(cls: type[PenstockError], status: object) -> type[PenstockError]:
    by_status = isinstance(status, int) and status >= 400
    return with_bases(cls, ResponseStatusError) if by_status else cls


def error_of(
    kind: Kind,
    message: str,
    *,
    provider: str | None = None,
    model: str | None = None,
    status: int | None = None,
    retry_after: float | None = None,
    request_id: str | None = None,
    detail: str | None = None,
    param: str | None = None,
    retryable: bool | None = None,
) -> PenstockError:
    """Build the error of ``kind`` with its facts (see ``PenstockError`` for their meaning)."""
    return class_for(kind, status=status)(
        message,
        provider=provider,
        model=model,
        status=status,
        retry_after=retry_after,
        request_id=request_id,
        detail=detail,
        param=param,
        retryable=retryable,
    )


def _rebuild(name: str, message: str, state: dict[str, object]) -> PenstockError:
    """The error that ``__reduce__`` took apart, but for foreign bases and private classes."""
    error: PenstockError = _by_status(globals()[name], state.get("status"))(message)
    error.__dict__.update(state)
    return error


_SECRET_SHAPES = re.compile(
    r"\b(?:r8|sk|gsk|hf|pk|xai)[-_][A-Za-z0-9_-]{8,}"  # vendors' key prefixes
    r"|(?<=[Bb]earer )[^\s\"',;]{6,}"
    r"|(?<=://)[^/\s@:]+:[^/\s@]+(?=@)"  # user:password@ in a URL
    r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_.-]+"  # a JWT or JWE
)


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """``text`` without the given secrets, without beginnings of them, and without what looks so.

    A text that was cut may end within a secret, so its first characters count for all of it.
    """
    forms = {
        form
        for secret in secrets
        if len(secret) >= _SHORTEST
        for form in (secret, quote(secret, safe=""), quote_plus(secret))
    }
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, "***")
    return _SECRET_SHAPES.sub("***", _without_beginnings(text, forms))


_SHORTEST = 4
_BEGINNING = 8
"""Characters of a secret that give it away."""


def _without_beginnings(text: str, secrets: Iterable[str]) -> str:
    alike: dict[str, list[str]] = {}
    for secret in secrets:
        alike.setdefault(secret[:_BEGINNING], []).append(secret)
    for beginning, those in alike.items():
        at = text.find(beginning)
        while at >= 0:
            end = at + max(_common(text[at : at + len(one)], one) for one in those)
            text = f"{text[:at]}***{text[end:]}"
            at = text.find(beginning, at + 3)
    return text


def _common(text: str, secret: str) -> int:
    """How many characters both begin with."""
    pairs = zip(text, secret, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(text), len(secret)))


_LOOKED_AT = 8000


def one_sentence(text: str, limit: int = 200) -> str:
    """Foreign text as one line of at most ``limit`` characters, without secrets or markup.

    Only its beginning is looked at: the patterns below take quadratic time where a hostile server
    opens tags and closes none. A word that this cuts is dropped, for it may be half of a secret.
    """
    if len(text) > _LOOKED_AT:
        words = text[:_LOOKED_AT].split()
        text = " ".join(words[:-1] or words)
    text = re.sub(r"(?is)<(script|style)\b.*?</\1\s*>", " ", text)
    text = re.sub(r"(?s)<[!/a-zA-Z][^>]*>", " ", text)
    line = redact(" ".join(text.split()))
    line = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line)
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"
