"""Cookies of a site, from a file that the user exported, or from an installed browser.

A cookie file has Netscape's format (tab-separated, as ``curl`` and browser extensions write it) or
is a JSON list of objects with ``name``, ``value`` and ``domain``. Which file it is, the
configuration says (``PENSTOCK_COOKIES``, or the key ``cookies``). Values are never shown.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import msgspec

from penstock.config import load
from penstock.errors import ConfigError
from penstock.types import Value

MAX_FILE = 16 << 20
_HTTP_ONLY = "#HttpOnly_"


class Cookie(Value, frozen=True):
    """One cookie of a file.

    Attributes:
        domain: the host, with a dot in front where hosts below it have the cookie, too.
    """

    name: str
    value: str
    domain: str = ""

    def __repr__(self) -> str:
        return f"Cookie(name={self.name!r}, domain={self.domain!r})"

    def belongs_to(self, host: str) -> bool:
        """True where a browser would send it to ``host``, path and scheme aside."""
        domain = self.domain.lower()
        if not domain.startswith("."):
            return host == domain
        return host == domain[1:] or (len(domain) > 1 and host.endswith(domain))


def parse_cookies(text: str) -> list[Cookie]:
    """The cookies of a file's text.

    Raises:
        ConfigError: it has neither format; it says which line is wrong, not what stands there.
    """
    text = text.removeprefix("\ufeff")
    if text.lstrip().startswith("["):
        try:
            return msgspec.json.decode(text, type=list[Cookie])
        except (msgspec.DecodeError, RecursionError):
            raise ConfigError(
                "the cookie file must be a JSON list of objects with name, value and domain"
            ) from None
    return [cookie for line in _lines(text) if (cookie := _netscape(*line)) is not None]


def _lines(text: str) -> list[tuple[int, str]]:
    return [(number, line.rstrip("\r")) for number, line in enumerate(text.split("\n"), 1)]


def _netscape(number: int, line: str) -> Cookie | None:
    line = line.removeprefix(_HTTP_ONLY)
    if not line.strip() or line.startswith("#"):
        return None
    fields = line.split("\t")
    if len(fields) == 6:  # some writers drop an empty value with its tab
        fields.append("")
    if len(fields) != 7:
        raise ConfigError(
            f"line {number} of the cookie file does not have the seven fields of Netscape's format"
        )
    below = fields[1].upper() == "TRUE" and not fields[0].startswith(".")
    return Cookie(name=fields[5], value=fields[6], domain=f".{fields[0]}" if below else fields[0])


def read_cookies(path: str | Path) -> list[Cookie]:
    """The cookies of a file.

    Raises:
        ConfigError: it cannot be read, or has neither format.
    """
    file = Path(path).expanduser()
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_FILE + 1)
        text = data.decode("utf-8")
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError(f"the cookie file {file} cannot be read: {reason}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"the cookie file {file} is not UTF-8 text") from None
    if len(data) > MAX_FILE:
        raise ConfigError(f"the cookie file {file} is larger than {MAX_FILE >> 20} MiB")
    try:
        return parse_cookies(text)
    except ConfigError as error:
        raise ConfigError(f"{file}: {error.message}") from None


def get_cookies(domain: str) -> dict[str, str]:
    """Name -> value of the cookies of ``domain``, fresh at each call, so never a stale nothing.

    They come from the cookie file that the configuration names; where it names none, from installed
    browsers, if the extra ``browser`` is installed.

    Args:
        domain: a host name.

    Raises:
        ConfigError: the configuration or the cookie file is wrong.
    """
    host = domain.strip().lower().strip(".")
    if (file := load().cookies_file) is not None:
        return cookies_for(host, file)
    return _browser_cookies(host)


def cookies_for(host: str, file: str | Path) -> dict[str, str]:
    """Name -> value of the cookies of ``host`` in a cookie file.

    Raises:
        ConfigError: the file cannot be read, or has neither format.
    """
    found = [cookie for cookie in read_cookies(file) if cookie.belongs_to(host)]
    # the most specific domain last, so that it wins
    found.sort(key=lambda cookie: len(cookie.domain.lstrip(".")))
    return {cookie.name: cookie.value for cookie in found}


def _browser_cookies(host: str) -> dict[str, str]:
    try:
        browsers = import_module("browser_cookie3")
    except ImportError:
        return {}
    found: dict[str, str] = {}
    for one in browsers.all_browsers:
        try:
            jar = one(domain_name=host)
        except browsers.BrowserCookieError:
            continue  # not installed, or its store is locked
        found.update(
            {
                cookie.name: cookie.value
                for cookie in jar
                if cookie.value and Cookie(cookie.name, "", cookie.domain).belongs_to(host)
            }
        )
    return found
