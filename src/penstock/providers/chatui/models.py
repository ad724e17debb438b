"""What today's chat-ui can honour, as data. Its models are the server's own; it lists them."""

from __future__ import annotations

from penstock.types import Capabilities

CAPABILITIES = Capabilities(
    system=True,  # as the preprompt a conversation is opened with
    history=True,
    images=True,
    reasoning=True,
    conversations=True,
)
"""No sampling parameter can be sent: the server's configuration decides (section 9, "Calls")."""
