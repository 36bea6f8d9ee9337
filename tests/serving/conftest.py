"""A device with a small model, and its application called without a network."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import torch

from pfsr.config import ModelConfig
from pfsr.data.catalog import Catalog
from pfsr.device.device import Device
from pfsr.export.folder import export_model
from pfsr.model.encoder import init_weights
from pfsr.model.recommender import Recommender
from pfsr.serving.app import make_app
from pfsr.serving.session import Session

SMALL = {"d_model": 16, "heads": 2, "d_state": 4, "d_conv": 3, "horizon": 3, "blocks": 1}
IDS = (*(f"film-{n}" for n in range(1, 28)), 7, "7", 2**60)
TITLES = [*(f"Film {n}" for n in range(1, 26)), "Amélie <b>", "The Quiet Harbour", "Seven", "Text 7", "Large"]
TOKEN, PORT = "the-token", 8765
HOME = f"http://127.0.0.1:{PORT}"


class Client:
    """Calls an application in this process; keeps its cookies."""

    def __init__(self, app: Any, headers: dict[str, str]) -> None:
        self.app, self._headers, self._cookies = app, headers, httpx.Cookies()

    def request(self, method: str, address: str, **parts: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            known = {"headers": self._headers, "cookies": self._cookies}
            async with httpx.AsyncClient(transport=transport, base_url=HOME, **known) as client:
                answer = await client.request(method, address, **parts)
                self._cookies = client.cookies
                return answer

        return asyncio.run(ask())

    def get(self, address: str, **parts: Any) -> httpx.Response:
        return self.request("GET", address, **parts)

    def post(self, address: str, **parts: Any) -> httpx.Response:
        return self.request("POST", address, **parts)

    def put(self, address: str, **parts: Any) -> httpx.Response:
        return self.request("PUT", address, **parts)

    def delete(self, address: str, **parts: Any) -> httpx.Response:
        return self.request("DELETE", address, **parts)


class Served(NamedTuple):
    """A device, its session, and a client with the token."""

    device: Device
    session: Session
    client: Client


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a device model of 30 items; tests leave it as it is."""
    config, random = ModelConfig(**SMALL), torch.Generator().manual_seed(1)
    fresh = init_weights(config, len(IDS), seed=0)
    weights = {name: w + 0.3 * torch.randn(w.shape, generator=random) for name, w in fresh.items()}
    weights["items"][0] = 0
    folder = tmp_path_factory.mktemp("exported") / "model"
    export_model(Recommender(config, Catalog(IDS, TITLES), weights), folder)
    return folder


def _client(session: Session, **headers: str) -> Client:
    return Client(make_app(session, TOKEN, PORT), headers)


@pytest.fixture
def client_of() -> Callable[..., Client]:
    """Return a maker of clients: session, headers."""
    return _client


@pytest.fixture
def served(exported: Path, tmp_path: Path) -> Iterator[Served]:
    """Return a device with a model and no history."""
    with Device.open(tmp_path / "person", model=exported) as device:
        session = Session(device)
        yield Served(device, session, _client(session, Authorization=f"Bearer {TOKEN}"))


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Served]:
    """Return a device without a model."""
    with Device.open(tmp_path / "bare") as device:
        session = Session(device)
        yield Served(device, session, _client(session, Authorization=f"Bearer {TOKEN}"))
