"""Settings from a file, the environment and arguments: typed, checked, with their origins known.

This package alone reads files and environment. Later sources win: defaults, ``penstock.toml``, the
environment, arguments. Every mistake is a ``ConfigError`` that names the place and what to do; a
value that may be a secret is never shown.

A credential belongs to an address. The variable that a vendor's own tools use
(``OPENAI_API_KEY``) is taken only where no ``base_url`` sends it to another server.
"""

from __future__ import annotations

from penstock.config.reader import find_file, load, no_color
from penstock.config.settings import SECRET_KEYS, Settings

__all__ = ["SECRET_KEYS", "Settings", "find_file", "load", "no_color"]
