"""How long a caller who leaves is kept waiting for the cleanup."""

from __future__ import annotations

import asyncio

PATIENCE = 5.0


def patience() -> float:
    """Seconds to wait for an undo: none for a task that is being cancelled, which goes at once."""
    task = asyncio.current_task()
    return 0.0 if task is not None and task.cancelling() else PATIENCE
