"""What can be looked up: models, versions, deployments, the account.

Facts: wire/replicate.md section 3; keys stand in the order of the recorded lists.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from aiohttp import web

from penstock.sandbox.replicate import models, refusals
from penstock.sandbox.replicate.models import Model, OutputKind
from penstock.sandbox.replicate.pages import MODELS_PER_PAGE, page_of
from penstock.sandbox.server import Handler, reply

_ACCOUNT = {
    "type": "user",
    "username": "sandbox",
    "name": "Sandbox",
    "github_url": "https://github.com/sandbox",
}


class Lists:
    """Handlers of all that only tells.

    Args:
        outputs: How a model's output comes, where not as in the catalogue.
        size: Items on a page; None takes the service's own numbers.
    """

    def __init__(self, outputs: Mapping[str, OutputKind], size: int | None) -> None:
        self._outputs = outputs
        self._size = size

    def routes(self) -> Sequence[tuple[str, str, Handler]]:
        """Methods, paths and handlers."""
        model, deployment = "/v1/models/{owner}/{name}", "/v1/deployments/{owner}/{name}"
        return (
            ("GET", "/v1/models", self._list_models),
            ("QUERY", "/v1/models", self._search_models),
            ("GET", "/v1/search", self._search),
            ("GET", model, self._model),
            ("GET", f"{model}/versions", self._versions),
            ("GET", f"{model}/versions/{{id}}", self._version),
            ("GET", "/v1/deployments", self._deployments),
            ("GET", deployment, self._deployment),
            ("GET", "/v1/account", self._account),
        )

    def output(self, model: Model) -> OutputKind:
        """How the output of a model comes."""
        return self._outputs.get(model.id, model.output)

    def page(self, request: web.Request, items: dict[int, object], size: int) -> web.Response:
        """Answer with a page of `items`, of `size` where nothing else was chosen."""
        url = f"http://{request.host}{request.path}"
        page = page_of(items, request.query.get("cursor"), self._size or size, url)
        return refusals.not_found("Invalid cursor") if page is None else _json(page)

    async def _list_models(self, request: web.Request) -> web.Response:
        listed = enumerate(self._listed(model) for model in models.CATALOGUE)
        return self.page(request, dict(listed), MODELS_PER_PAGE)

    async def _search_models(self, request: web.Request) -> web.Response:
        found = [self._listed(model) for model in _matching(await request.text())]
        return _json({"next": None, "previous": None, "results": found})

    async def _search(self, request: web.Request) -> web.Response:
        query = request.query.get("query", "")
        found = [{"model": self._listed(model), "metadata": {}} for model in _matching(query)]
        return _json({"query": query, "models": found, "collections": [], "pages": []})

    async def _model(self, request: web.Request) -> web.Response:
        model = models.find_model(named(request))
        return refusals.not_found() if model is None else _json(self._listed(model))

    async def _versions(self, request: web.Request) -> web.Response:
        model = models.find_model(named(request))
        if model is None:
            return refusals.not_found()
        if model.official:
            return refusals.no_versions()
        versions = [models.version_object(model, self.output(model))]
        return _json({"next": None, "previous": None, "results": versions})

    async def _version(self, request: web.Request) -> web.Response:
        model = models.find_model(named(request))
        if model is None or model.version != request.match_info["id"]:
            return refusals.not_found()
        return _json(models.version_object(model, self.output(model)))

    async def _deployments(self, request: web.Request) -> web.Response:
        listed: list[object] = [_deployment(name) for name in models.DEPLOYMENTS]
        return self.page(request, dict(enumerate(listed)), MODELS_PER_PAGE)

    async def _deployment(self, request: web.Request) -> web.Response:
        if named(request) not in models.DEPLOYMENTS:
            return refusals.not_found()
        return _json(_deployment(named(request)))

    async def _account(self, request: web.Request) -> web.Response:
        return _json(_ACCOUNT)

    def _listed(self, model: Model) -> dict[str, object]:
        return models.listed(model, self.output(model))


def named(request: web.Request) -> str:
    """The ``owner/name`` of a path."""
    return f"{request.match_info['owner']}/{request.match_info['name']}"


def _deployment(name: str) -> dict[str, object]:
    owner, _, own = name.partition("/")
    model = models.find_model(models.DEPLOYMENTS[name])
    assert model is not None
    release = {
        "number": 1,
        "model": model.id,
        "version": model.version,
        "created_at": "2024-07-23T15:41:34.688650Z",
        "created_by": _ACCOUNT,
        "configuration": {"hardware": "cpu", "min_instances": 0, "max_instances": 1},
    }
    return {"owner": owner, "name": own, "current_release": release}


def _matching(query: str) -> list[Model]:
    # Some clients send the words as a JSON text.
    words = query.strip('"').lower().split()
    return [
        model
        for model in models.CATALOGUE
        if all(word in f"{model.id} {model.description}".lower() for word in words)
    ]


def _json(value: object) -> web.Response:
    return reply(200, msgspec.json.encode(value), refusals.JSON_TYPE)
