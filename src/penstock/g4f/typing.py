"""The types that the documents name."""

from penstock.providers.results import AsyncResult
from penstock.providers.results import SyncResult as CreateResult
from penstock.types import Messages

__all__ = ["AsyncResult", "CreateResult", "Messages"]
