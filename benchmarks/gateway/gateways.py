"""The gateways that are measured: how each is started before the scripted upstream.

Those of others are measured where they are there: nginx from the system, LiteLLM, Portkey and g4f
in environments of their own below ``.cache/gateways``, which ``python -m benchmarks.gateway
--peers`` makes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

FOLDER = Path(__file__).resolve().parent.parent.parent / ".cache" / "gateways"
KEY = "sk-bench-3f9c1d7a5e2b8046"
"""What every request brings along; it opens nothing."""

_NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr error;
events {{ worker_connections 8192; }}
http {{
    access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    upstream back {{ server 127.0.0.1:{upstream}; keepalive 2000; keepalive_requests 1000000; }}
    server {{
        listen 127.0.0.1:{port} backlog=2048; keepalive_requests 1000000;
        location / {{
            proxy_pass http://back; proxy_http_version 1.1; proxy_set_header Connection "";
            proxy_buffering off; proxy_read_timeout 300s;
        }}
    }}
}}
"""
_PENSTOCK = """
[providers.bench]
base_url = "http://127.0.0.1:{upstream}/v1"
"""
_LITELLM = """
model_list:
  - model_name: "*"
    litellm_params: {{model: "openai/*", api_base: "http://127.0.0.1:{upstream}/v1", api_key: x}}
general_settings:
  master_key: "{key}"
"""


class Gateway(msgspec.Struct, frozen=True):
    """One of them, ready to be started.

    Attributes:
        prefix: what goes before the name of a model.
        headers: what it wants beside the usual ones.
        slow: it needs so much longer that it gets a smaller load.
        streams: it streams as installed here; else only whole answers are asked for.
    """

    name: str
    command: tuple[str, ...]
    prefix: str = ""
    headers: Mapping[str, str] = {}
    environment: Mapping[str, str] = {}
    slow: bool = False
    streams: bool = True


def nginx(port: int, upstream: int, folder: Path) -> Gateway | None:
    """nginx as a raw relay that parses nothing."""
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        return None
    file = folder / "nginx.conf"
    file.write_text(_NGINX.format(port=port, upstream=upstream, folder=folder))
    return Gateway("nginx", (program, "-c", str(file), "-p", str(folder)))


def penstock(
    port: int,
    upstream: int,
    folder: Path,
    *,
    name: str = "penstock",
    source: Path | None = None,
    workers: int = 1,
) -> Gateway:
    """Penstock as a user starts it.

    Args:
        source: the ``src`` of another checkout, to see what a change has brought.
    """
    file = folder / "penstock.toml"
    file.write_text(_PENSTOCK.format(upstream=upstream))
    command = (sys.executable, "-m", "penstock", "--config", str(file), "serve", "--quiet")
    paths = {} if source is None else {"PYTHONPATH": str(source)}
    further = ("--port", str(port), "--workers", str(workers))
    return Gateway(name, (*command, *further), "bench/", environment=paths)


def litellm(port: int, upstream: int, folder: Path) -> Gateway | None:
    """LiteLLM's proxy."""
    program = FOLDER / "litellm" / "bin" / "litellm"
    if not program.exists():
        return None
    file = folder / "litellm.yaml"
    file.write_text(_LITELLM.format(upstream=upstream, key=KEY))
    command = (str(program), "--config", str(file), "--port", str(port), "--host", "127.0.0.1")
    alone = {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOG": "ERROR",
        "REPEATED_STREAMING_CHUNK_LIMIT": "1000000",  # the scripted tokens are all the same
    }
    return Gateway("litellm", command, environment=alone, slow=True)


def portkey(port: int, upstream: int, folder: Path) -> Gateway | None:
    """Portkey's gateway, whose configuration travels with each request."""
    node = shutil.which("node")
    program = FOLDER / "portkey" / "node_modules/@portkey-ai/gateway/build/start-server.js"
    if node is None or not program.exists():
        return None
    headers = {
        "x-portkey-provider": "openai",
        "x-portkey-custom-host": f"http://127.0.0.1:{upstream}/v1",
    }
    command = (node, str(program), f"--port={port}", "--headless")
    return Gateway("portkey", command, headers=headers, slow=True, streams=False)


def g4f(port: int, upstream: int, folder: Path) -> Gateway | None:
    """g4f's API server. It asks its own site for a list of servers once a day; the list is here."""
    program = FOLDER / "g4f" / "bin" / "g4f"
    if not program.exists():
        return None
    server = {"baseUrl": f"http://127.0.0.1:{upstream}/v1"}
    servers = {"providers": {"default": server}, "defaultModels": {"default": "plain"}}
    today = datetime.now().astimezone().date()
    for day in (today, today + timedelta(days=1)):  # a run may last over midnight
        file = folder / "g4f" / ".models" / day.isoformat() / "providers.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(msgspec.json.encode(servers))
    command = (str(program), "api", "--no-gui", "--ignore-cookie-files", "--no-access-log")
    alone = {"G4F_CACHE_DIR": str(folder / "g4f"), "HOME": str(folder / "g4f")}
    return Gateway("g4f", (*command, "--bind", f"127.0.0.1:{port}"), environment=alone, slow=True)


def install() -> None:
    """Make the environments of the others; what cannot be had is left out, and said."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    where = FOLDER / "portkey"
    if not where.exists() and (npm := shutil.which("npm")) is not None:
        where.mkdir()
        quiet = ("--silent", "--no-audit", "--no-fund")
        _made([npm, "install", *quiet, "--prefix", str(where), "@portkey-ai/gateway@1.15.2"], where)
    for name, package in (("litellm", "litellm[proxy]"), ("g4f", "g4f[api]")):
        where = FOLDER / name
        if not where.exists():
            venv.create(where, with_pip=True, symlinks=True)
            pip = [str(where / "bin" / "python"), "-I", "-m", "pip", "install", "--quiet"]
            _made([*pip, package], where)


def _made(command: list[str], where: Path) -> None:
    if subprocess.run(command, check=False).returncode:
        print(f"bench: {where.name} cannot be installed here")
        shutil.rmtree(where)
