"""How a client is pointed at the servers of the sandbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock.sandbox.server import Server

PROVIDERS = {"openai": "openai_compatible"}
"""Server of the sandbox -> our provider for it, where the names differ."""


def settings_of(server: Server) -> dict[str, object]:
    """The settings of the provider for ``server``: its address, and a credential it takes."""
    settings: dict[str, object] = {"base_url": server.urls[""]}
    token = getattr(server, "token", None)
    match server.kind:
        case "openassistant":
            settings["cookies"] = {"next-auth.session-token": token}
        case "replicate":
            settings["api_key"] = token
        case _:
            pass
    return settings
