"""Replicate's API and Cog, the model server (wire/replicate.md)."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import unquote

import msgspec

from penstock.errors import PenstockError
from penstock.provider import ProviderConfig
from penstock.testing.replay.body import read_json
from penstock.testing.replay.case import Case, Chunk, Exchange
from penstock.testing.replay.plan import (
    Access,
    CaseProtocol,
    Chat,
    ListModels,
    Request,
    Step,
    sampling_of,
)
from penstock.types import Message

_MODEL = re.compile(r"(?:/v1)?/models/([^/]+/[^/]+)/predictions")
_DEPLOYMENT = re.compile(r"(?:/v1)?/deployments/([^/]+/[^/]+)/predictions")
_VERSION = re.compile(r"(?:/v1)?/predictions")
_COG = re.compile(r"/predictions(?:/[^/]+)?")
_LIST = re.compile(r"(?:/v1)?/models")

_NAMES = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "max_tokens": "max_tokens",
    "max_new_tokens": "max_tokens",
    "seed": "seed",
}
_DEFAULT_MODEL = "meta/meta-llama-3-70b-instruct"
_PLACEHOLDER_KEY = "r8_none_at_all"


class Replicate(CaseProtocol):
    """Requests of the hosted API."""

    provider: ClassVar[str] = "replicate"
    names: ClassVar[Mapping[str, str]] = _NAMES
    hosts: ClassVar[tuple[str, ...]] = ("api.replicate.com", "stream.replicate.com")

    def placed(self, case: Case) -> Case:
        """A stream that was shown the token is served from the API's own origin.

        Of other origins only those of the vendor's name may be shown it (section 2), and no
        port of this machine has that name.
        """
        api, streams = self.hosts
        shown = any(
            exchange.request.header("host") == streams and exchange.request.header("authorization")
            for exchange in case.exchanges
        )
        if not shown:
            return case
        moved = tuple(_moved(exchange, streams, api) for exchange in case.exchanges)
        return msgspec.structs.replace(case, exchanges=moved)

    def derive(self, case: Case) -> Sequence[Step]:
        """A call for each prediction that was created, and one for a list of models."""
        steps: list[Step] = []
        for index, exchange in enumerate(case.exchanges):
            call: Chat | ListModels
            if self._asked_again(case, index):
                continue
            if self._creates(exchange):
                call = self._chat(case, exchange)
            elif exchange.request.method == "GET" and _LIST.fullmatch(exchange.request.path):
                call = ListModels()
            else:
                continue
            if isinstance(call, ListModels) and steps and isinstance(steps[-1].call, ListModels):
                continue  # the next page of the same list
            access = self._access(exchange)
            start = index if steps else 0
            while start and self._asked_again(case, start - 1):
                start -= 1
            steps.append(Step(start=start, answer=index, access=access, call=call))
        return steps

    def fields(self, request: Request) -> dict[str, object]:
        """The version and the raw input; for streams where to go on from."""
        found: dict[str, object] = {}
        if "last-event-id" in request.headers:
            found["last-event-id"] = request.headers["last-event-id"]
        if request.method in ("POST", "PUT"):
            body = read_json(request.content)
            found |= body.get("input") or {}
            if "version" in body:
                found["version"] = body["version"]
        return found

    def config(self, base: ProviderConfig) -> ProviderConfig:
        """The stream's origin is another port of this host, which a self-hosted API may name."""
        return base.with_(base_url=f"{base.base_url}/v1", trusted_hosts=("127.0.0.1",))

    def relaxed(self, step: Step, error: PenstockError) -> Step | None:
        """Without a key our provider sends nothing; a made-up one shows how it is refused."""
        if error.kind == "auth" and step.access.api_key is None:
            access = msgspec.structs.replace(step.access, api_key=_PLACEHOLDER_KEY)
            return msgspec.structs.replace(step, access=access)
        return super().relaxed(step, error)

    def _asked_again(self, case: Case, index: int) -> bool:
        """True where the next exchange is the same call, put in another way."""
        return False

    def _creates(self, exchange: Exchange) -> bool:
        request = exchange.request
        patterns = (_MODEL, _DEPLOYMENT, _VERSION)
        return request.method == "POST" and any(p.fullmatch(request.path) for p in patterns)

    def _chat(self, case: Case, exchange: Exchange) -> Chat:
        request = exchange.request
        body = read_json(request.content)
        given: dict[str, Any] = dict(body.get("input") or {})
        prompt = given.pop("prompt", "")
        sampling, extra = sampling_of(given, _NAMES)
        return Chat(
            model=case.model or _model(request.path, body),
            messages=(Message(role="user", content=str(prompt)),),
            sampling=sampling,
            extra=extra,
            whole=self._whole(case, exchange),
        )

    def _whole(self, case: Case, exchange: Exchange) -> bool:
        return case.options.prefer_wait or exchange.request.header("prefer").startswith("wait")

    def _access(self, exchange: Exchange) -> Access:
        header = exchange.request.header("authorization")
        key = header.partition(" ")[2] or None
        return Access(host=exchange.request.header("host"), api_key=key)


class Cog(Replicate):
    """Requests of the model server."""

    provider: ClassVar[str] = "cog"
    hosts: ClassVar[tuple[str, ...]] = ()

    def key(self, method: str, path: str, query: str) -> Hashable:
        """A prediction is created by POST, or by PUT with an id of the client's own choice."""
        if method in ("POST", "PUT") and _COG.fullmatch(path):
            return "create"
        return super().key(method, path, query)

    def config(self, base: ProviderConfig) -> ProviderConfig:
        """There is one origin."""
        return base

    def placed(self, case: Case) -> Case:
        """There is one origin."""
        return case

    def _asked_again(self, case: Case, index: int) -> bool:
        """A model that does not stream says so with 406 (section 8), and is asked plainly."""
        following = case.exchanges[index + 1 : index + 2]
        refused = case.exchanges[index].response.status == 406
        return refused and any(map(self._creates, following))

    def _creates(self, exchange: Exchange) -> bool:
        request = exchange.request
        return request.method in ("POST", "PUT") and bool(_COG.fullmatch(request.path))

    def _whole(self, case: Case, exchange: Exchange) -> bool:
        return "event-stream" not in exchange.request.header("accept")


def _moved(exchange: Exchange, old: str, new: str) -> Exchange:
    """The exchange with one host under the name of another."""
    headers = tuple(
        (name, new if value == old and name.lower() == "host" else value)
        for name, value in exchange.request.headers
    )
    response = exchange.response
    if "json" in response.header("content-type"):
        body = response.content.replace(f"://{old}/".encode(), f"://{new}/".encode())
        response = msgspec.structs.replace(response, chunks=(Chunk(body),))
    request = msgspec.structs.replace(exchange.request, headers=headers)
    return msgspec.structs.replace(exchange, request=request, response=response)


def _model(path: str, body: Mapping[str, Any]) -> str:
    official = _MODEL.fullmatch(path)
    if official:
        return unquote(official.group(1))
    deployment = _DEPLOYMENT.fullmatch(path)
    if deployment:
        return f"deployments/{unquote(deployment.group(1))}"
    return str(body.get("version") or _DEFAULT_MODEL)
