"""The command as a person runs it: a real process, a real socket, signals, a folder opened again."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import httpx
import pytest

from pfsr.device.device import Device
from pfsr.errors import PfsrError
from pfsr.serving.server import serve

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")


class Running(NamedTuple):
    process: subprocess.Popen
    address: str
    client: httpx.Client


START = "from pfsr.app.main import main; main()"
BARE = "import sys; sys.modules.update(dict.fromkeys(('torch', 'polars', 'safetensors')));"


@contextmanager
def running(*arguments, start=START) -> Iterator[Running]:
    command = [sys.executable, "-c", start, "device", "serve", *map(str, arguments), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            found = re.search(r"(http://127\.0\.0\.1:\d+/)\?token=([\w-]{43})\n", process.stdout.readline())
            assert found, process.stderr.read()
            with httpx.Client(base_url=found[1], headers={"Authorization": f"Bearer {found[2]}"}) as client:
                yield Running(process, found[0].strip(), client)
        finally:
            process.kill()


@pytest.mark.parametrize(("ending", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, -signal.SIGTERM)])
def test_start_record_recommend_stop_and_the_event_is_there(exported, tmp_path, ending, status):
    with running(tmp_path / "me", "--model", exported) as (process, address, client):
        assert httpx.get(address).status_code == 200
        assert httpx.get(address.split("?")[0]).status_code == 401
        assert client.post("/events", json={"item": "film-5"}).status_code == 201
        told = client.get("/recommendations?k=3").json()["suggestions"]
        process.send_signal(ending)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (status, "")
        assert ("every event is on disk" in out) == (ending == signal.SIGINT)
    with Device.open(tmp_path / "me") as device:
        assert [event.item for event in device.events()] == ["film-5"]
        assert [one.item_id for one in device.recommend(3)] == [one["item"] for one in told]


def test_a_second_start_has_the_model_and_another_token(exported, tmp_path):
    addresses = []
    for arguments in ((tmp_path / "me", "--model", exported), (tmp_path / "me",)):
        with running(*arguments) as (process, address, client):
            addresses.append(address)
            assert client.get("/status").json()["items"] == 30
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)
    assert addresses[0].split("token=")[1] != addresses[1].split("token=")[1]


def test_it_serves_where_pytorch_is_not_installed(exported, tmp_path):
    with running(tmp_path / "me", "--model", exported, start=f"{BARE} {START}") as (_, _, client):
        assert client.post("/events", json={"item": "film-5"}).status_code == 201
        told = client.get("/recommendations?k=3&why=true").json()["suggestions"]
        assert len(told) == 3
        answer = client.post("/learn", json={})
        assert (answer.status_code, "needs PyTorch" in answer.json()["error"]) == (409, True)
        assert client.get("/status").json()["events"] == 1


def test_only_the_loopback_address_listens(exported, tmp_path):
    with running(tmp_path / "me", "--model", exported) as (_, address, client):
        port = int(re.search(r":(\d+)/", address)[1])
        assert client.get("/status").status_code == 200
        for other in {
            found[4][0] for found in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)
        }:
            if not other.startswith("127.0.0.1"):
                with pytest.raises(OSError, match=r"refused|unreachable|timed out"):
                    socket.create_connection((other, port), 5).close()
        # All of 127.0.0.0/8 is this machine, but only one address of it is listened on.
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", port), 5).close()


def test_the_folder_is_in_use_meanwhile(exported, tmp_path):
    with running(tmp_path / "me", "--model", exported), pytest.raises(PfsrError, match=r"me.*in use"):
        serve(tmp_path / "me", None, 0, lambda _: None)


def test_a_port_that_is_taken_is_named(tmp_path, exported):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PfsrError, match=rf"^port {port}: .*--port$"):
            serve(tmp_path / "me", exported, port, lambda _: None)
    assert not (tmp_path / "me").exists()
