"""Open-Assistant: the website's chat routes and the inference server behind them.

Ideas by module: `models` (data), `records` (chats and messages), `posts` (bodies to
values), `work` (queue and worker), `inference` (what both fronts do), `events` (the
stream), `sessions` (who asks), `website` and `native` (the fronts), `server` (the port).
Facts: wire/openassistant.md.
"""

from penstock.sandbox.openassistant.server import OpenAssistantServer
from penstock.sandbox.openassistant.sessions import TOKEN

__all__ = ["TOKEN", "OpenAssistantServer"]
