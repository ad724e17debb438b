"""The older, synchronous module of the same service (framework.md section 4).

Its names are those of its document; what happens on the network is the provider's, so that the
conversation is deleted and errors are told, which the old module did not do.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any

from penstock.errors import PenstockError, with_bases
from penstock.prompts import parse_messages
from penstock.providers.h2o.documented import H2o
from penstock.providers.h2o.models import ALIASES, URL

url: str = URL
model: list[str] = list(ALIASES)
models: dict[str, str] = dict(ALIASES)
supports_stream: bool = True
needs_auth: bool = False
params: str = "penstock.providers.h2o_sync supports: (model: str, messages: list, stream: bool)"

_INSTRUCTION = (
    "Below is a conversation between a user and an AI assistant; answer its latest message."
)


def _create_completion(
    model: str, messages: Sequence[Mapping[str, Any]], stream: bool, **kwargs: Any
) -> Generator[str, None, None]:
    """The pieces of the answer. Nothing is sent before the first one is asked for.

    Args:
        model: a short name or a full id.
        stream: False for the whole answer as one piece.
        **kwargs: parameters of ``H2o.create_async_generator`` under the same names.

    Raises:
        TypeError: an unknown parameter.
        PenstockError: the answer failed; it is a ``requests.exceptions.RequestException``, too,
            where that package is installed.
    """
    lines = [f"{message.role}: {message.text}" for message in parse_messages(messages)]
    prompt = "\n".join([_INSTRUCTION, *lines, "assistant:"])
    result = H2o.create_completion(model, prompt, stream=stream, **kwargs)
    try:
        yield from result
    except PenstockError as error:
        documented = _as_documented(error)
        if documented is error:
            raise
        raise documented from error
    finally:
        result.close()


def _as_documented(error: PenstockError) -> PenstockError:
    try:
        from requests.exceptions import RequestException  # noqa: TID251 - where it is installed
    except ImportError:
        return error
    raised = with_bases(type(error), RequestException)(error.message)
    raised.__dict__.update(error.__dict__)
    return raised
