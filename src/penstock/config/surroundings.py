"""What a program in a terminal asks of its environment, beside the settings."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def history_file(env: Mapping[str, str] | None = None) -> Path | None:
    """Where what is entered in a chat is remembered; None where there is no such place.

    That is ``penstock/history`` in ``XDG_STATE_HOME``, which has to be an absolute path, by default
    in ``~/.local/state`` (XDG Base Directory Specification 0.8).
    """
    given = os.environ if env is None else env
    state = given.get("XDG_STATE_HOME", "")
    if Path(state).is_absolute():
        return Path(state) / "penstock/history"
    home = given.get("HOME", "")
    return Path(home) / ".local/state/penstock/history" if Path(home).is_absolute() else None


def plain_terminal(env: Mapping[str, str] | None = None) -> bool:
    """True for a terminal that understands no control sequences."""
    return (os.environ if env is None else env).get("TERM", "") in ("", "dumb")


def key_file(env: Mapping[str, str] | None = None) -> Path | None:
    """Where the gateway's keys are kept unless the settings say; None if there is no such place.

    That is ``penstock/keys.json`` in ``XDG_DATA_HOME``, which has to be an absolute path, by
    default in ``~/.local/share`` (XDG Base Directory Specification 0.8).
    """
    given = os.environ if env is None else env
    data = given.get("XDG_DATA_HOME", "")
    if Path(data).is_absolute():
        return Path(data) / "penstock/keys.json"
    home = given.get("HOME", "")
    return Path(home) / ".local/share/penstock/keys.json" if Path(home).is_absolute() else None
