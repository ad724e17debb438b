"""The types that the documents name."""

from penstock.providers.framework import AsyncResult
from penstock.providers.framework import SyncResult as CreateResult
from penstock.types import Messages

__all__ = ["AsyncResult", "CreateResult", "Messages"]
