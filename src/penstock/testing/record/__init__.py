"""Recording live traffic as cases of the replay kit: see ``docs/guides/recording.md``."""

from __future__ import annotations

from penstock.testing.record.recorder import Recorded, Recorder, protocol_name

__all__ = ["Recorded", "Recorder", "protocol_name"]
