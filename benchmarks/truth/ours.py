"""Penstock between the suite and its upstream, as a user starts it: a process with a file."""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

Providers = Mapping[str, Mapping[str, str]]
_CONFIG = """\
[providers.truth]
base_url = "http://127.0.0.1:{port}/v1"

[gateway.keys.suite]
hash = "sha256:{digest}"
"""


def _written(folder: str, upstream_port: int, key: str, providers: Providers) -> Path:
    """The configuration file, with the key as its hash."""
    digest = hashlib.sha256(key.encode()).hexdigest()
    file = Path(folder, "penstock.toml")
    tables = [_CONFIG.format(port=upstream_port, digest=digest)]
    for name, settings in providers.items():
        tables += [f"[providers.{name}]", *(f'{key} = "{text}"' for key, text in settings.items())]
    file.write_text("\n".join(tables), "utf-8")
    return file


@asynccontextmanager
async def running_penstock(
    upstream_port: int, *, providers: Providers | None = None
) -> AsyncIterator[tuple[str, str, str]]:
    """``penstock serve`` in front of the upstream: base URL, model, key.

    Args:
        providers: further back ends, with their settings.

    Raises:
        EOFError: it does not start; what it says about it is on stderr.
    """
    key = "pk-" + secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="penstock-truth-") as folder:
        file = _written(folder, upstream_port, key, providers or {})
        command = (sys.executable, "-m", "penstock", "--config", str(file))
        process = await asyncio.create_subprocess_exec(
            *command, "serve", "--port", "0", "--quiet", stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        try:
            async with asyncio.timeout(30):
                said = (await process.stdout.readuntil(b"/v1")).decode()
            found = re.search(r"http://\S+/v1", said)
            assert found is not None
            yield found[0], "truth/truth", key
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()
