"""The provider for Replicate's hosted API: model names, keys, schemas; ``run`` does the rest."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from penstock.errors import BadRequestError, PenstockError
from penstock.provider import Batch, Provider, ProviderConfig
from penstock.providers.checks import check_options, check_request, missing_key
from penstock.providers.common import Call, Stateless
from penstock.providers.pump import held
from penstock.providers.replicate.cog import CogProvider
from penstock.providers.replicate.dialect.errors import hosted_error
from penstock.providers.replicate.dialect.hosted import (
    DEFAULT_BASE,
    KEYLESS_BASE,
    Api,
    api_base,
)
from penstock.providers.replicate.dialect.inputs import plan_of, schema_inputs
from penstock.providers.replicate.dialect.listed import decode_models
from penstock.providers.replicate.dialect.targets import Target, target_of
from penstock.providers.replicate.models import (
    CAPABILITIES,
    DEFAULT_MODEL,
    ModelInputs,
    known_inputs,
)
from penstock.providers.replicate.run import HostedRun, Knobs
from penstock.transport import Session
from penstock.types import ChatRequest, ModelInfo, Timeouts
from penstock.wire.request import header_value

DIALECTS = ("replicate", "cog")
KEY_VARIABLE = "REPLICATE_API_TOKEN"
OPTIONS = frozenset({"needs_auth", "metrics", "poll_interval"})
MAX_PAGES = 40
WAIT = 1
"""Seconds, the least there are, that the server may hold the answer to a plain request back.

Until it answers the prediction has no name and cannot be cancelled (wire/replicate.md section 2);
what takes longer is asked for by its name.
"""
_SCHEMA_LIMITS = Timeouts(connect=3.0, first_content=5.0, idle=5.0, total=5.0)


class ReplicateProvider(Stateless):
    """The hosted API for one caller.

    Options of the configuration: ``needs_auth`` False allows calls without a key, by default to
    the keyless base; ``metrics`` False spares the question for token counts after a stream;
    ``poll_interval`` in seconds.
    """

    def __init__(self, session: Session, config: ProviderConfig) -> None:
        self.name = config.name
        self.capabilities = CAPABILITIES
        check_options(config.options, OPTIONS, config.name)
        self._session = session
        self._key = config.api_key or None
        self._needs_auth = bool(config.options.get("needs_auth", True))
        self._knobs = _knobs(config)
        default = DEFAULT_BASE if self._key or self._needs_auth else KEYLESS_BASE
        base = api_base(config.base_url or default)
        headers = {name: header_value(name, value) for name, value in config.headers.items()}
        # The API makes its headers itself: none of them may reach the stream's host.
        self._given, self._config = config, config.with_(base_url=base, headers={})
        self._api = Api(base=base, key=self._key, headers=headers, hosts=config.trusted_hosts)

    @asynccontextmanager
    async def stream(self, request: ChatRequest) -> AsyncIterator[AsyncIterator[Batch]]:
        """Answer one turn; see ``penstock.provider``. Leaving early cancels the prediction."""
        check_request(request, self.capabilities, self.name)
        self._check_key()
        model = request.model or DEFAULT_MODEL
        target = target_of(model)
        call = Call(self._session, self._config)
        run = HostedRun(
            call,
            self._api,
            plan_of(request, await self._inputs(target)),
            model=model,
            wait=None if request.stream else WAIT,
            knobs=self._knobs,
        )
        try:
            await run.create(target)
            async with held(run.batches(), call.relay) as batches:
                yield batches
        finally:
            await run.leave()

    async def _inputs(self, target: Target) -> ModelInputs:
        """The model's own schema, asked for once a session; the table where there is none."""
        fallback = known_inputs(target.model)
        if self._key is None or target.model is None:
            return fallback
        memory = self._session.memory
        place = ("replicate", "schema", self._api.base, target.model, target.version or "")
        if place not in memory:
            call = Call(self._session, self._config.with_(timeouts=_SCHEMA_LIMITS))
            try:
                response, body = await call.ask(self._api.model(target.model))
            except PenstockError:
                return fallback
            if response.status not in (200, 404):
                return fallback
            found = schema_inputs(body, target.version) if response.status == 200 else None
            memory[place] = found
        known = memory[place]
        return known if isinstance(known, ModelInputs) else fallback

    async def models(self) -> Sequence[ModelInfo]:
        """The models the API lists, at most the first thousand; without a key, the default one.

        Raises:
            PenstockError: the API could not be asked.
        """
        if self._config.models:
            return [ModelInfo(id=name) for name in self._config.models]
        if self._key is None:
            return [ModelInfo(id=DEFAULT_MODEL)]
        call = Call(self._session, self._config)
        found: list[ModelInfo] = []
        following: str | None = None
        for _ in range(MAX_PAGES):
            _, body = await call.fetch(self._api.models(following), self._error)
            page, following = decode_models(body)
            found += page
            if not following:
                break
        return found

    def _check_key(self) -> None:
        if self._needs_auth and self._key is None:
            raise missing_key(self._given, KEY_VARIABLE)

    def _error(self, status: int, headers: dict[str, str], body: bytes) -> PenstockError:
        secrets = (self._key,) if self._key else ()
        return hosted_error(status, headers, body, provider=self.name, model="", secrets=secrets)


def _knobs(config: ProviderConfig) -> Knobs:
    interval = config.options.get("poll_interval", Knobs().poll)
    if isinstance(interval, bool) or not isinstance(interval, int | float) or not interval > 0:
        raise BadRequestError(
            "poll_interval must be a positive number of seconds",
            provider=config.name,
            param="poll_interval",
        )
    return Knobs(poll=float(interval), metrics=bool(config.options.get("metrics", True)))


def create(session: Session, config: ProviderConfig) -> Provider:
    """The factory the registry names: the hosted API, or Cog with that dialect.

    Raises:
        BadRequestError: there is no such dialect or setting.
    """
    if config.dialect not in (None, *DIALECTS):
        raise BadRequestError(
            f"dialect must be one of {', '.join(DIALECTS)}, not {config.dialect!r}",
            provider=config.name,
            param="dialect",
        )
    if config.dialect == "cog":
        return create_cog(session, config)
    return ReplicateProvider(session, config)


def create_cog(session: Session, config: ProviderConfig) -> Provider:
    """The factory of the provider ``cog``."""
    return CogProvider(session, config)
