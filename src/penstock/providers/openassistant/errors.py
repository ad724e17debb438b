"""The documented foreign types: errors that ``RuntimeError`` and ``ClientResponseError`` catch.

The class is documented to raise ``RuntimeError`` when the server answers with an error message, and
``aiohttp.ClientResponseError`` for an HTTP error. Our errors inherit them, so both catch.
"""

from __future__ import annotations

import aiohttp
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from penstock.errors import PenstockError, with_bases

_NO_HEADERS: CIMultiDictProxy[str] = CIMultiDictProxy(CIMultiDict())


class _HttpError(aiohttp.ClientResponseError):
    """What that type promises, without address, headers and cookies: an error shows none."""

    request_info = aiohttp.RequestInfo(URL(), "", _NO_HEADERS, URL())
    history = ()
    headers = None


def documented(error: PenstockError) -> PenstockError:
    """``error``, also caught by the documented types that fit it."""
    bases: list[type[BaseException]] = [RuntimeError]
    if error.status is not None and error.status >= 400:
        bases.append(_HttpError)
    made = with_bases(type(error), *bases)(error.message)
    made.__dict__.update(error.__dict__)
    return made
