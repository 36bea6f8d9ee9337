"""Runs the application on the loopback address, until Ctrl-C, and then closes the device."""

import logging
import secrets
import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import FrameType

import uvicorn

from pfsr.device.device import Device
from pfsr.errors import PfsrError
from pfsr.serving.app import make_app
from pfsr.serving.guard import LOOPBACK
from pfsr.serving.session import Session

PATIENCE = 3
"""Seconds that requests under way get to end."""


class _Server(uvicorn.Server):
    """Tells when it answers and when it is to stop."""

    def __init__(self, config: uvicorn.Config, session: Session, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._session, self._ready = session, ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._session.closing.set()
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        # Not only afterwards: uvicorn raises the signal again at its end, and SIGTERM ends the process.
        self._session.device.close()


def serve(folder: Path, model: Path | None, port: int, ready: Callable[[str], None]) -> None:
    """Serve the person's page and API until the process is told to stop; then all events are on disk.

    Args:
        folder: the person's folder.
        model: a device model to use from now on; None: the one of last time.
        port: to listen on; 0: any that is free.
        ready: called with the address, token and all, once it answers.

    Raises:
        PfsrError: the port is taken; the folder is in use, damaged or cannot be written; no device model.
    """
    with closing(_listener(port)) as listener, Device.open(folder, model=model) as device:
        taken, token, session = listener.getsockname()[1], secrets.token_urlsafe(32), Session(device)
        config = uvicorn.Config(
            make_app(session, token, taken), log_config=None, log_level=logging.WARNING, access_log=False,
            lifespan="off", ws="none", proxy_headers=False, server_header=False,
            timeout_graceful_shutdown=PATIENCE,
        )  # fmt: skip
        server = _Server(config, session, lambda: ready(f"http://{LOOPBACK}:{taken}/?token={token}"))
        try:
            server.run(sockets=[listener])
        except KeyboardInterrupt:
            return


def _listener(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOOPBACK, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise PfsrError(f"port {port}: {error.strerror or error}; choose another with --port") from None
    return listener
