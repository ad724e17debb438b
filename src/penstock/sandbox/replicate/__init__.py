"""Replicate's hosted HTTP API and its stream server, on two ports.

Ideas by module: `models` (the catalogue and its schemas), `inputs` (bodies to values, and what
is refused of them), `refusals` (error bodies), `prediction` (the object and its two writers),
`channel` (the event stream as nchan frames it), `listening` (its readers), `pages` and `lists`
(what can be looked up), `server` (ports, keys, routes).
Facts: wire/replicate.md.
"""

from penstock.sandbox.replicate.server import TOKEN, ReplicateOptions, ReplicateServer

__all__ = ["TOKEN", "ReplicateOptions", "ReplicateServer"]
