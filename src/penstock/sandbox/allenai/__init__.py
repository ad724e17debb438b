"""Ai2 Playground (allenai/olmo-api): message-stream of 2025, threads of 2026, v5-chat.

Ideas by module: `models` (data), `fields` (bodies to values), `refusals` (error bodies),
`uploads` (file rules), `store` (messages and who owns them), `shapes` (messages to JSON),
`turns` (what a request begins), `message_stream`, `threads` and `v5` (the dialects),
`server` (ports, identity, the calls beside the chat). Facts: wire/allenai.md.
"""

from penstock.sandbox.allenai.server import TOKEN, AllenAIOptions, AllenAIServer

__all__ = ["TOKEN", "AllenAIOptions", "AllenAIServer"]
