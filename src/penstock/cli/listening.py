"""Why a server of ours cannot listen, in one sentence that says what to do."""

from __future__ import annotations

import errno
from socket import gaierror

from penstock.errors import ConfigError


def cannot_listen(error: OSError, host: str, port: int) -> ConfigError:
    """The error for a user who named ``host`` and ``port``."""
    if error.errno == errno.EADDRINUSE:
        words = (
            f"port {port} of {host} is in use by another program; end that one, or give another "
            "--port, or none for a free one"
        )
        return ConfigError(words, param="port")
    if error.errno == errno.EACCES:
        return ConfigError(f"port {port} needs privileges; take one above 1023", param="port")
    if error.errno == errno.EADDRNOTAVAIL or isinstance(error, gaierror):
        words = f"{host} is no address of this machine; 127.0.0.1 always is one"
        return ConfigError(words, param="host")
    return ConfigError(f"cannot listen on port {port} of {host}: {error.strerror or error}")
