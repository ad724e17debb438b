"""Who asks, and what that key may: the one place that takes a key out of a request.

Keys are known by their SHA-256 digests. A digest is looked up, which tells nothing by its time:
nobody can choose a key whose digest is near another one. The digests are then compared in constant
time all the same (threats rows 11 to 14).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hmac import compare_digest
from math import ceil
from pathlib import Path

from penstock.config.gateway import GatewayKey, GatewaySettings
from penstock.config.routing import TargetLimits
from penstock.gateway.errors import refusal
from penstock.gateway.http import Header, Refused
from penstock.gateway.keys import KeyStore, digest_of
from penstock.routing.limits import Gate

BUSY = 1.0
"""Seconds after which asking again makes sense, where another answer has to end first."""


def credential_of(headers: Mapping[bytes, bytes]) -> bytes | None:
    """The key that a request carries; None where it carries none.

    Raises:
        Refused: two headers carry different ones, so that one of them would go unchecked.
    """
    said = headers.get(b"authorization")
    other = headers.get(b"x-api-key")
    if said is None:
        return other or None
    scheme, _, value = said.partition(b" ")
    key = value.strip() if scheme.lower() == b"bearer" else b""
    if other is not None and other != key:
        raise Refused(refusal(400, "Authorization and x-api-key carry different keys; send one"))
    return key or None


class Caller:
    """One key, and what of its limits is used.

    Attributes:
        name: of the key.
        digest: of the key.
        gate: its limits; they are counted for this process.
    """

    def __init__(self, name: str, key: GatewayKey) -> None:
        self.digest = bytes.fromhex(key.hash.removeprefix("sha256:"))
        self.gate = Gate(TargetLimits())
        self.adopt(name, key)

    def adopt(self, name: str, key: GatewayKey) -> None:
        """Go by other settings from now on; what is used stays used."""
        self.name = name
        self._all = not key.models
        self._models = frozenset(key.models)
        self._beginnings = tuple(model[:-1] for model in key.models if model.endswith("*"))
        limits = TargetLimits(concurrency=key.concurrency, rpm=key.rpm, tpm=key.tpm)
        if limits != self.gate.limits:
            self.gate.adopt(limits)

    def may_ask(self, model: str) -> bool:
        """True for the models of the key's list, by the name that is asked for."""
        return self._all or model in self._models or model.startswith(self._beginnings)

    def check(self, now: float, tokens: float = 0.0) -> None:
        """Refuse what is over a limit at this moment.

        Raises:
            Refused: 429 with the seconds after which to ask again.
        """
        if self.gate.delay(now, tokens) == 0.0:
            return
        seconds, sentence = self._reason(now, tokens)
        failure = refusal(
            429,
            f"{sentence}; ask again in {ceil(seconds)} s",
            code="rate_limit_exceeded",
            retry_after=seconds,
        )
        raise Refused(failure, self.headers(now))

    def _reason(self, now: float, tokens: float) -> tuple[float, str]:
        most = self.gate.limits.concurrency
        if most is not None and self.gate.under_way >= most:
            return BUSY, f"this key may have {most} answers under way at a time"
        return max(
            (
                window.delay(now, tokens if units == "tokens" else 1.0),
                f"this key may use {window.limit:.0f} {units} a minute",
            )
            for units, window in self.gate.windows
        )

    def take(self, now: float, tokens: float) -> None:
        """An answer begins that may cost ``tokens``.

        Raises:
            Refused: 429 with the seconds after which to ask again.
        """
        self.check(now, tokens)
        self.gate.take(now, tokens)

    def leave(self, tokens: float) -> None:
        """An answer has ended that cost ``tokens`` more than was taken, or fewer."""
        self.gate.leave(tokens)

    def headers(self, now: float) -> list[Header]:
        """What is left, in the headers that official clients know."""
        made: list[Header] = []
        for units, window in self.gate.windows:
            name = units.encode()
            made += [
                (b"x-ratelimit-limit-" + name, b"%d" % window.limit),
                (b"x-ratelimit-remaining-" + name, b"%d" % window.left(now)),
                (b"x-ratelimit-reset-" + name, b"%.3fs" % window.full_in(now)),
            ]
        return made


class Keyring:
    """All keys, by their digests.

    Args:
        keys: name and key.
        before: the keyring that this one replaces: who was known stays the same caller.

    Attributes:
        callers: digest -> caller.
    """

    def __init__(
        self, keys: Iterable[tuple[str, GatewayKey]], before: Keyring | None = None
    ) -> None:
        self.callers: dict[bytes, Caller] = {}
        for name, key in keys:
            caller = Caller(name, key)
            known = None if before is None else before.callers.get(caller.digest)
            if known is not None:
                known.adopt(name, key)
            self.callers[caller.digest] = known or caller

    def caller_of(self, headers: Mapping[bytes, bytes]) -> Caller:
        """Who asks.

        Raises:
            Refused: there is no key, an unknown one, or more than one.
        """
        key = credential_of(headers)
        if key is None:
            raise _unknown("this gateway wants a key, as Authorization: Bearer KEY or x-api-key")
        digest = digest_of(key)
        caller = self.callers.get(digest)
        if caller is None or not compare_digest(caller.digest, digest):
            raise _unknown("this gateway does not know that key")
        return caller


def _unknown(sentence: str) -> Refused:
    failure = refusal(401, sentence, code="invalid_api_key")
    return Refused(failure, [(b"www-authenticate", b"Bearer")])


class Keys:
    """The keyring of the moment: from the settings, and from the key file as it is.

    Once keys are wanted, they are until the process ends: neither a file that is gone nor a changed
    setting opens the gateway to everybody (threats row 14).

    Args:
        default: the key file where the settings name none; it counts from the moment it is there.

    Attributes:
        ring: None where everybody may ask.

    Raises:
        ConfigError: the key file cannot be read.
    """

    def __init__(self, settings: GatewaySettings, default: Path | None = None) -> None:
        self.ring: Keyring | None = None
        self._default = default
        self.read(settings)

    def read(self, settings: GatewaySettings) -> None:
        """Take other settings; where they are wrong, nothing changes.

        Raises:
            ConfigError: the key file cannot be read.
        """
        path = Path(settings.key_file) if settings.key_file else self._default
        store = None if path is None else KeyStore(path)
        content = None if store is None else store.content()
        wanted = bool(settings.keys or settings.key_file) or content is not None
        if wanted or self.ring is not None:
            stored = {} if store is None else store.keys_in(content)
            self.ring = Keyring([*stored.items(), *settings.keys.items()], self.ring)
        self._settings, self._store, self._content = settings, store, content

    def look(self) -> bool:
        """Read the key file again where it has changed; True then.

        Raises:
            ConfigError: it cannot be read; the old keys stay, and that is said once.
        """
        if self._store is None:
            return False
        content = self._store.content()
        if content == self._content:
            return False
        self._content = content
        self.read(self._settings)
        return True
