"""The older, synchronous H2O module under its documented name."""

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
    "_create_completion",
    "model",
    "models",
    "needs_auth",
    "params",
    "supports_stream",
    "url",
]
