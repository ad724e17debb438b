"""The ``[gateway]`` table: what can be set of the gateway itself, and its checks."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from penstock.config.places import key_of
from penstock.config.routing import MOST, Tables, within
from penstock.types import Value

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_HOST = re.compile(r"[A-Za-z0-9._-]+")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[A-Za-z0-9._\[\]:-]+")


class Limits(Value, frozen=True, kw_only=True):
    """``[gateway.limits]``: bounds on what callers may cost, in bytes, counts and seconds.

    Attributes:
        body: bytes of a request.
        messages: messages of a request.
        header: seconds until the headers of a request are complete; idle connections included.
        upload: seconds until the body of a request is complete.
        heartbeat: seconds of silence on a stream after which a comment is sent.
        write: seconds that a caller may not read before the answer is given up.
        streams: answers under way at a time; further ones are refused with 503.
        connections: open connections of callers; further ones are closed.
        drain: seconds that running answers have after SIGTERM.
    """

    body: int = 1 << 20
    messages: int = 2048
    header: float = 10.0
    upload: float = 30.0
    heartbeat: float = 15.0
    write: float = 60.0
    streams: int = 2000
    connections: int = 10000
    drain: float = 30.0


class GatewayKey(Value, frozen=True, kw_only=True):
    """``[gateway.keys.NAME]``: one caller, and what it may do.

    Attributes:
        hash: ``sha256:`` and the digest of the key in hexadecimal digits; the key itself is
            nowhere.
        models: names the caller may ask for, ``*`` at the end for all that begin so; none for all.
        rpm: most requests a minute.
        tpm: most tokens a minute, of questions and answers together.
        concurrency: most answers under way at a time.
    """

    hash: str
    models: tuple[str, ...] = ()
    rpm: int | None = None
    tpm: int | None = None
    concurrency: int | None = None

    def __repr__(self) -> str:
        return f"GatewayKey(models={self.models!r}, rpm={self.rpm}, tpm={self.tpm})"


class GatewaySettings(Value, frozen=True, kw_only=True):
    """How the gateway serves.

    Attributes:
        host: address to listen on; anything but loopback wants keys.
        port: TCP port; 0 for a free one.
        workers: processes.
        lenient: leave out what a back end cannot honour, and say so in the ``warnings`` header.
        estimate_usage: tell an estimate, marked as one, where a back end counts no tokens.
        log_prompts: put questions and answers into the line of the log.
        hosts: names under which callers may reach it, besides ``localhost``, ``host`` and
            addresses.
        origins: origins of pages elsewhere that may use it from a browser.
        key_file: the file of the keys that ``penstock keys create`` makes; a relative path starts
            in the folder of the configuration. Without it, ``penstock/keys.json`` in the user's
            data folder is taken, if there is one.
        keys: name -> key; with none, and no key file, everybody may ask.
        limits: bounds on what one caller may cost.
    """

    host: str = "127.0.0.1"
    port: int = 8787
    workers: int = 1
    lenient: bool = False
    estimate_usage: bool = False
    log_prompts: bool = False
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    key_file: str | None = None
    keys: Mapping[str, GatewayKey] = {}
    limits: Limits = Limits()


def read_gateway(tables: Tables) -> GatewaySettings:
    """The gateway's settings as the tables describe them.

    Raises:
        ConfigError: file, key and line are named.
    """
    settings = tables.section("gateway", GatewaySettings)
    if not 0 <= settings.port <= 65535:
        tables.fail("gateway.port", "it must be from 0 to 65535")
    if not 1 <= settings.workers <= 256:
        tables.fail("gateway.workers", "it must be from 1 to 256")
    limits = tables.section("gateway.limits", Limits)
    for name in Limits.__struct_fields__:
        if getattr(limits, name) <= 0 and name != "drain":
            tables.fail(f"gateway.limits.{name}", "it must be more than 0")
    for name in tables.names("gateway.keys"):
        key = key_of("gateway", "keys", name)
        _check_key(tables, key, tables.section(key, GatewayKey))
    for host in settings.hosts:
        if not _HOST.fullmatch(host):
            tables.fail(
                "gateway.hosts", f"{host[:80]!r} is no host name; it has no scheme, no port"
            )
    for origin in settings.origins:
        if not _ORIGIN.fullmatch(origin):
            tables.fail("gateway.origins", f"{origin[:80]!r} is no origin, as https://example.com")
    return msgspec.structs.replace(
        settings, key_file=tables.path("gateway.key_file", settings.key_file)
    )


def _check_key(tables: Tables, place: str, key: GatewayKey) -> None:
    if not _DIGEST.fullmatch(key.hash):
        tables.fail(f"{place}.hash", "it must be sha256: and 64 hexadecimal digits")
    for field in ("rpm", "tpm", "concurrency"):
        value = getattr(key, field)
        if value is not None:
            within(tables, place, field, value, 1, MOST)
