"""What a program in a terminal asks of its environment, beside the settings."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def state_folder(env: Mapping[str, str] | None = None) -> Path | None:
    """Where a user's programs keep what they remember; None where there is no such place.

    That is ``penstock`` in ``XDG_STATE_HOME``, which has to be an absolute path, by default in
    ``~/.local/state`` (XDG Base Directory Specification 0.8).
    """
    given = os.environ if env is None else env
    state = given.get("XDG_STATE_HOME", "")
    if Path(state).is_absolute():
        return Path(state) / "penstock"
    home = given.get("HOME", "")
    return Path(home) / ".local/state/penstock" if Path(home).is_absolute() else None


def plain_terminal(env: Mapping[str, str] | None = None) -> bool:
    """True for a terminal that understands no control sequences."""
    return (os.environ if env is None else env).get("TERM", "") in ("", "dumb")
