"""The store of gateway keys: one small JSON file that holds digests, never a key.

A change writes a new file beside the old one and puts it in its place, so that a reader sees the
old keys or the new ones. The new file's name is also the lock: two commands at the same time do
not lose each other's change.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import msgspec

from penstock.config.gateway import GatewayKey
from penstock.errors import BadRequestError, ConfigError, NotFoundError
from penstock.types import Value


class StoredKey(GatewayKey, frozen=True, kw_only=True):
    """A key as the store keeps it.

    Attributes:
        created: when it was made, RFC 3339.
    """

    created: str


class _File(Value, frozen=True):
    keys: Mapping[str, StoredKey] = {}


def new_key() -> str:
    """A key that nobody can guess: 192 bits, in a form that errors and logs mask."""
    return f"pk-{secrets.token_hex(24)}"


def digest_of(key: bytes) -> bytes:
    """What is kept and compared instead of the key."""
    return sha256(key).digest()


def hash_of(key: str) -> str:
    """The digest as files spell it."""
    return f"sha256:{digest_of(key.encode()).hex()}"


class KeyStore:
    """The file.

    Args:
        path: where it is; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def content(self) -> bytes | None:
        """The file as it is, to tell whether it has changed; None where there is none.

        Raises:
            ConfigError: it cannot be read.
        """
        try:
            return self.path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise ConfigError(f"{self.path} cannot be read: {error.strerror}") from None

    def load(self) -> Mapping[str, StoredKey]:
        """All keys by name.

        Raises:
            ConfigError: the file cannot be read.
        """
        return self.keys_in(self.content())

    def keys_in(self, content: bytes | None) -> Mapping[str, StoredKey]:
        """The keys that a file of that content holds.

        Raises:
            ConfigError: it is no key file.
        """
        try:
            return msgspec.json.decode(content, type=_File).keys if content is not None else {}
        except (msgspec.DecodeError, UnicodeDecodeError):
            problem = f"{self.path} is no key file; `penstock keys create NAME` makes one"
        raise ConfigError(problem)

    def add(self, name: str, key: StoredKey) -> None:
        """Keep a key.

        Raises:
            BadRequestError: there is one of that name.
            ConfigError: the file cannot be read or written.
        """
        with self._changing() as keys:
            if name in keys:
                raise BadRequestError(
                    f"there is a key {name!r} already; take another name, or revoke it first"
                )
            keys[name] = key

    def remove(self, name: str) -> None:
        """Forget a key.

        Raises:
            NotFoundError: there is none of that name.
            ConfigError: the file cannot be read or written.
        """
        with self._changing() as keys:
            if keys.pop(name, None) is None:
                raise NotFoundError(f"there is no key {name!r} in {self.path}")

    @contextmanager
    def _changing(self) -> Iterator[dict[str, StoredKey]]:
        """The keys, to be changed; they are written where the block ends well."""
        fresh = self.path.with_name(f"{self.path.name}.new")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise ConfigError(
                f"another command is changing {self.path}; if none is, remove {fresh}"
            ) from None
        except OSError as error:
            raise ConfigError(f"{fresh} cannot be written: {error.strerror}") from None
        try:
            with os.fdopen(file, "wb") as writing:
                keys = dict(self.load())
                yield keys
                writing.write(msgspec.json.format(msgspec.json.encode(_File(keys))) + b"\n")
                writing.flush()
                os.fsync(writing.fileno())
            fresh.replace(self.path)
        finally:
            fresh.unlink(missing_ok=True)
