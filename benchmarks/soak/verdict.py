"""What a soak has shown, and what of it is wrong. Pure."""

from __future__ import annotations

from collections import Counter
from statistics import median

import msgspec

from benchmarks.soak import back_ends, served

ALLOWED_GROWTH = 8192
"""KB by which memory may differ between the second quarter and the last one."""


class Seen(msgspec.Struct, kw_only=True):
    """What was seen.

    Attributes:
        asked: answers by what they were asked for: surface, stream or whole, back end.
        ends: how they ended.
        errors: sentences of those that failed, numbers and names taken out.
        wrong: what was wrong, for each answer that was.
        characters: all the text that was checked.
        watched: the gateway meanwhile, once a second.
        before, after: the gateway before the first caller and after the last one.
        remote: the back ends after the last caller.
        code: what the gateway's process ended with.
        connections: of the back ends after the end of the gateway.
    """

    asked: Counter[str]
    ends: Counter[str]
    errors: Counter[str]
    wrong: list[str]
    characters: int
    watched: list[served.Standing]
    before: served.Standing
    after: served.Standing
    remote: back_ends.Standing
    code: int
    connections: int

    @property
    def growth(self) -> float:
        """KB of memory between the second quarter and the last one."""
        return _growth([each.resident for each in self.watched])

    @property
    def gathered(self) -> float:
        """Objects between the second quarter and the last one."""
        return _growth([each.gathered for each in self.watched])

    def complaints(self) -> list[str]:
        """What is wrong, in sentences; empty where all is right."""
        rules = {
            f"{len(self.wrong)} wrong answers, such as: {self.wrong[:3]}": bool(self.wrong),
            f"the faults struck nobody: {self.ends}": not self.ends["failed"],
            f"tasks: {self.before.tasks} before, {self.after.tasks} after": (
                self.after.tasks > self.before.tasks
            ),
            f"sockets: {self.before.sockets} before, {self.after.sockets} after": (
                self.after.sockets > self.before.sockets
            ),
            f"{self.after.streams} answers under way": bool(self.after.streams),
            f"{self.after.cleanups} cleanups wait": bool(self.after.cleanups),
            f"{self.after.failed_cleanups} cleanups failed": bool(self.after.failed_cleanups),
            f"left on the servers: {self.remote.left}": bool(self.remote.left),
            f"{self.remote.running} answers are still made": bool(self.remote.running),
            f"{self.remote.streams} answers are still sent": bool(self.remote.streams),
            f"{self.connections} connections outlive the gateway": bool(self.connections),
            f"the gateway ended with {self.code}": bool(self.code),
            f"memory grew by {self.growth:.0f} KB": self.growth > ALLOWED_GROWTH,
        }
        return [sentence for sentence, holds in rules.items() if holds]


def table(seen: Seen) -> str:
    """All of it, for people."""
    count = seen.ends.total()
    lines = [
        f"answers                {count:,}",
        *(f"  {what:<21}{number:,}" for what, number in sorted(seen.ends.items())),
        *(f"  {what:<21}{number:,}" for what, number in sorted(seen.asked.items())),
        f"characters checked     {seen.characters:,}",
        f"faults of servers      {seen.remote.faults:,}",
        f"wrong answers          {len(seen.wrong)}",
        f"tasks                  {seen.before.tasks} before, {seen.after.tasks} after",
        f"sockets                {seen.before.sockets} before, {seen.after.sockets} after",
        f"left on the servers    {sum(seen.remote.left.values())}",
        f"cleanups that failed   {seen.after.failed_cleanups}",
        f"memory, MB             {_curve([each.resident for each in seen.watched])}",
        f"memory grew by         {seen.growth / 1024:.1f} MB, {seen.gathered:+,.0f} objects",
        "errors that were told:",
        *(f"  {number:>6}  {what}" for what, number in seen.errors.most_common(12)),
    ]
    return "\n".join(lines)


def _growth(series: list[int]) -> float:
    quarter = len(series) // 4
    if not quarter:
        return 0.0
    return median(series[-quarter:]) - median(series[quarter : 2 * quarter])


def _curve(resident: list[int]) -> str:
    """Ten points of the curve."""
    step = max(1, len(resident) // 10)
    return " ".join(f"{kilobytes / 1024:.0f}" for kilobytes in resident[::step])
