"""Which hosts are reached without the proxy: the entries that ``NO_PROXY`` may hold.

Names match themselves and what is below them; addresses match themselves; a network in CIDR form
matches the addresses in it, for hosts that are named by address. A port in an entry says nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit


def is_direct(netloc: str, entries: Iterable[str]) -> bool:
    """True if the host of ``netloc`` is one of ``entries``; an entry that is none matches nothing.

    Args:
        netloc: host with an optional port, as in a URL.
        entries: ``*``, names, ``.example.org``, addresses, ``10.0.0.0/8``.
    """
    host = (urlsplit(f"//{netloc}").hostname or "").lower()
    return any(_matches(host, entry.strip().lower()) for entry in entries)


def _matches(host: str, entry: str) -> bool:
    if "/" in entry:
        return _within(host, entry)
    try:
        if entry.count(":") < 2 or entry.startswith("["):  # else a bare IPv6 address
            entry = urlsplit(f"//{entry}").hostname or ""
    except ValueError:
        return False
    name = entry.lstrip(".")
    return bool(name) and (name in ("*", host) or host.endswith(f".{name}"))


def _within(host: str, network: str) -> bool:
    try:
        return ip_address(host) in ip_network(network, strict=False)
    except ValueError:
        return False
