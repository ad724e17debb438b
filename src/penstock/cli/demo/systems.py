"""The back ends of the demonstration, in the order they are shown: data."""

from __future__ import annotations

from penstock.types import Value

QUESTION = "What is a penstock?"
SECOND_QUESTION = "And in one sentence?"


class System(Value, frozen=True, kw_only=True):
    """One back end and how it is asked.

    Attributes:
        key: its name on the command line and in the table.
        title: what people call it.
        server: its server in the sandbox.
        provider: our provider for it.
        model: a model the server knows.
        dialect: the wire protocol between them.
        threads: the protocol has native conversations.
        module: it is asked through the documented synchronous module, not through the client.
    """

    key: str
    title: str
    server: str
    provider: str
    model: str
    dialect: str
    threads: bool = False
    module: bool = False


SYSTEMS: tuple[System, ...] = (
    System(
        key="allenai",
        title="Ai2 Playground",
        server="allenai",
        provider="allenai",
        model="Olmo-3-7B-Instruct",
        dialect="threads",
        threads=True,
    ),
    System(
        key="openassistant",
        title="Open-Assistant",
        server="openassistant",
        provider="openassistant",
        model="OA_SFT_Llama_30B_6",
        dialect="website",
        threads=True,
    ),
    System(
        key="h2o",
        title="H2O, asynchronous",
        server="h2o",
        provider="h2o",
        model="falcon-40b",
        dialect="chat-ui-2023",
        threads=True,
    ),
    System(
        key="h2o_sync",
        title="H2O, synchronous module",
        server="h2o",
        provider="h2o",
        model="falcon-40b",
        dialect="chat-ui-2023",
        module=True,
    ),
    System(
        key="replicate",
        title="Replicate",
        server="replicate",
        provider="replicate",
        model="meta/meta-llama-3-70b-instruct",
        dialect="replicate",
    ),
    System(
        key="chatui",
        title="chat-ui of today",
        server="chatui",
        provider="chatui",
        model="",
        dialect="chat-ui",
        threads=True,
    ),
    System(
        key="cog",
        title="Cog",
        server="cog",
        provider="cog",
        model="",
        dialect="cog",
    ),
    System(
        key="openai",
        title="OpenAI-compatible",
        server="openai",
        provider="openai_compatible",
        model="sandbox-model",
        dialect="chat-completions",
    ),
    System(
        key="tgi",
        title="text-generation-inference",
        server="tgi",
        provider="tgi",
        model="",
        dialect="tgi",
    ),
)

KEYS: tuple[str, ...] = tuple(system.key for system in SYSTEMS)
