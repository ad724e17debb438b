"""The async class ``H2o``, and the names of the older sync module."""

from penstock.providers.h2o.documented import H2o
from penstock.providers.h2o.documented_sync import (
    _create_completion,
    model,
    models,
    needs_auth,
    params,
    supports_stream,
    url,
)

__all__ = [
    "H2o",
    "_create_completion",
    "model",
    "models",
    "needs_auth",
    "params",
    "supports_stream",
    "url",
]
