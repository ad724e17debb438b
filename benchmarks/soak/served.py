"""The gateway of the soak, in a process of its own that tells how things stand in it.

Reads the providers as a line of JSON and prints its address; then, for every line that it reads,
how things stand. It ends as by SIGTERM when its input does.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from pathlib import Path

import msgspec
import uvloop

from penstock.client import Client
from penstock.config import Settings
from penstock.config.gateway import GatewaySettings, Limits
from penstock.gateway.app import Gateway
from penstock.gateway.serve import listen
from penstock.gateway.server import server_of
from penstock.gateway.view import View
from penstock.types import Timeouts

PATIENCE = Timeouts(connect=10, first_content=25, idle=10)
"""Longer than a busy machine takes, short enough to see the end of a silent stream."""


class Standing(msgspec.Struct, frozen=True):
    """How things stand in the gateway.

    Attributes:
        tasks: of the event loop.
        sockets: open in the process.
        resident: KB in memory.
        streams: answers under way.
        cleanups: remote cleanups that wait.
        failed_cleanups: those that were given up.
        gathered: objects that the garbage collector knows.
    """

    tasks: int
    sockets: int
    resident: int
    streams: int
    cleanups: int
    failed_cleanups: int
    gathered: int


def standing(gateway: Gateway) -> Standing:
    """How things stand now."""
    outbox = gateway.client.session.outbox
    return Standing(
        len(asyncio.all_tasks()),
        sum(_is_socket(each) for each in Path("/proc/self/fd").iterdir()),
        int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024,
        gateway.open_streams,
        len(outbox.pending),
        outbox.failures,
        len(gc.get_objects()),
    )


def _is_socket(descriptor: Path) -> bool:
    try:
        return str(descriptor.readlink()).startswith("socket:")
    except OSError:  # the one that the list was read with
        return False


async def main() -> None:
    """Serve until the input ends."""
    providers = msgspec.json.decode(sys.stdin.readline(), type=dict[str, dict[str, str]])
    view = View()
    client = Client(config=Settings(), providers=providers, timeout=PATIENCE, observer=view)
    settings = GatewaySettings(port=0, limits=Limits(drain=1))
    gateway = Gateway(client, settings, view=view)
    listener = listen(settings)
    started = asyncio.Event()
    server = server_of(gateway, on_started=started.set)
    async with asyncio.TaskGroup() as group:
        group.create_task(server.serve(sockets=[listener]))
        await started.wait()
        print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            print(msgspec.json.encode(standing(gateway)).decode(), flush=True)
        server.should_exit = True


if __name__ == "__main__":
    uvloop.run(main())
