"""The only code that names the HTTP client library (aiohttp).

``Session`` holds what the calls of one owner share: connection pools, the outbox of cleanups, and
what was learned about servers. It shares no cookies and no credentials.
"""

from penstock.transport.limits import Limits, Watch
from penstock.transport.outbox import Outbox, shielded
from penstock.transport.response import Response
from penstock.transport.session import Opened, Session

__all__ = ["Limits", "Opened", "Outbox", "Response", "Session", "Watch", "shielded"]
