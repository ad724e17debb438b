"""The port: options, and the two fronts on it (wire/openassistant.md)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import msgspec
from aiohttp import web

from penstock.sandbox.openassistant.events import Feed, Pings, Tokens
from penstock.sandbox.openassistant.inference import Inference, Rules
from penstock.sandbox.openassistant.login import Login
from penstock.sandbox.openassistant.native import Native
from penstock.sandbox.openassistant.records import Message
from penstock.sandbox.openassistant.sessions import TOKEN, Sessions
from penstock.sandbox.openassistant.website import Website
from penstock.sandbox.openassistant.work import Work
from penstock.sandbox.run import Run
from penstock.sandbox.server import Options, Server, Setup


class OpenAssistantOptions(Options, frozen=True, kw_only=True):
    """Options of the server.

    Attributes:
        tick: Length of a second of the server, in seconds: of its pending events, pings
            (each 15), the age at which a queued message is refused (60), and so on.
        patience: Seconds an answer waits for its first reader; with 0 a quick one may
            be over before its stream is opened.
        slots: How many answers the worker gives at the same time.
        queue_limit: Longest queue; None for no limit.
        rate_limit: Assistant messages per user in 660 ticks; 0 for no limit.
        enabled: Whether the site has its chat switched on.
        secure: Whether the site thinks it is on https, which names its cookie.
        debug_login: Whether there are the development logins.
        sessions: Users by further session tokens that are valid.
        banned: Those of the tokens whose users are banned.
        trusted_keys: Keys of trusted clients of the native front.
        allowed: Models that may be used; empty for all.
        unserved: Models that are listed but have no worker.
        message_length: Most characters of a prompter message; 0 for no limit.
        chat_messages: Most messages of a chat; 0 for no limit.
        strip: Whether the final texts of llama models are stripped at both ends.
        tokens: How characters beyond the basic plane are cut.
        pings: Form of the heartbeat.
    """

    tick: float = 1.0
    patience: float = 1.0
    slots: int = 1
    queue_limit: int | None = None
    rate_limit: int = 0
    enabled: bool = True
    secure: bool = False
    debug_login: bool = True
    sessions: dict[str, str] = msgspec.field(default_factory=dict)
    banned: tuple[str, ...] = ()
    trusted_keys: tuple[str, ...] = ("6969",)
    allowed: tuple[str, ...] = ()
    unserved: tuple[str, ...] = ()
    message_length: int = 0
    chat_messages: int = 0
    strip: bool = True
    tokens: Tokens = "whole"
    pings: Pings = "comment"


class OpenAssistantServer(Server):
    """A site with its inference server.

    Attributes:
        inference: What both fronts work on.
        feed: Writer of event streams.
        sessions: Who is logged in.
        token: A session that is always valid.
    """

    kind = "openassistant"
    api_key = TOKEN
    options_type = OpenAssistantOptions
    options: OpenAssistantOptions

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        options = self.options
        self._work = Work(
            self._start,
            tick=options.tick,
            slots=options.slots,
            limit=options.queue_limit,
            patience=options.patience,
            unserved=options.unserved,
            strip=options.strip,
            fault=self.fault,
        )
        rules = Rules(
            message_length=options.message_length,
            chat_messages=options.chat_messages,
            rate=options.rate_limit,
            allowed=options.allowed,
        )
        self.inference = Inference(self._work, rules, clock=time.monotonic, tick=options.tick)
        self.feed = Feed(self._work, tick=options.tick, tokens=options.tokens, pings=options.pings)
        self.sessions = Sessions(
            options.sessions,
            banned=options.banned,
            secure=options.secure,
            trusted_keys=options.trusted_keys,
        )
        self.token = TOKEN

    def routes(self) -> Sequence[web.RouteDef]:
        """The routes of both fronts."""
        return (
            *Website(self).routes(),
            *Login(self).routes(),
            *Native(self).routes(),
        )

    def end_runs(self) -> None:
        """End the queue, then all runs."""
        self._work.close()
        super().end_runs()

    def _start(self, message: Message, then: Callable[[Run], None]) -> Run:
        return self.run(self.inference.question(message), then)
