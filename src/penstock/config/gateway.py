"""The ``[gateway]`` table: what can be set of the gateway itself."""

from __future__ import annotations

from penstock.types import Value


class Limits(Value, frozen=True, kw_only=True):
    """Bounds on what one caller may cost, in bytes, counts and seconds.

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


class GatewaySettings(Value, frozen=True, kw_only=True):
    """How the gateway serves.

    Attributes:
        host: address to listen on; anything but loopback wants keys.
        port: TCP port.
        workers: processes.
        lenient: leave out what a back end cannot honour, and say so in the ``warnings`` header.
        estimate_usage: tell an estimate, marked as one, where a back end counts no tokens.
        log_prompts: put questions and answers into the log.
        hosts: names under which callers may reach it, besides loopback and ``host``.
        origins: origins of pages elsewhere that may use it from a browser.
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
    limits: Limits = Limits()
