import hashlib
import io
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pfsr.data.download import Archive, unpacked
from pfsr.data.loading import load
from pfsr.data.sources import SOURCES, cache_folder, fetch
from pfsr.errors import PfsrError

EVENTS = "".join(f"{user}::{item}::5::{item}\n" for user in range(1, 7) for item in range(1, 7)).encode()
TITLES = "".join(f"{item}::Film {item}::Drama\n" for item in range(1, 7)).encode()


def zipped(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as content:
        for name, data in files.items():
            content.writestr(name, data)
    return buffer.getvalue()


CONTENT = zipped({"set/ratings.dat": EVENTS, "set/movies.dat": TITLES, "../../evil.txt": b"out"})


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(self.path)
        if self.path == "/missing.zip":
            return self.send_error(404)
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        return self.wfile.write(CONTENT[:50] if self.path == "/cut.zip" else CONTENT)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.requests = []
        running.address = f"http://127.0.0.1:{running.server_port}"
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def archive(address, content=CONTENT, members=("set/ratings.dat", "set/movies.dat")):
    return Archive("tiny", address, hashlib.md5(content).hexdigest(), members)


def test_archive_is_downloaded_once_and_unpacked(server, tmp_path):
    wanted = archive(f"{server.address}/good.zip")
    first = unpacked(wanted, tmp_path)
    assert [path.read_bytes() for path in first] == [EVENTS, TITLES]
    assert unpacked(wanted, tmp_path) == first
    assert server.requests == ["/good.zip"]


def test_nothing_is_written_outside_the_wanted_members(server, tmp_path):
    cache = tmp_path / "a" / "cache"
    unpacked(archive(f"{server.address}/good.zip"), cache)
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert files == ["a/cache/tiny.zip", "a/cache/tiny/movies.dat", "a/cache/tiny/ratings.dat"]


def test_a_member_that_points_outside_lands_inside(server, tmp_path):
    cache = tmp_path / "a" / "cache"
    (place,) = unpacked(archive(f"{server.address}/good.zip", members=("../../evil.txt",)), cache)
    assert place == cache / "tiny" / "evil.txt"


@pytest.mark.parametrize(
    ("path", "content", "expected"),
    [
        ("/missing.zip", CONTENT, "cannot be downloaded (HTTP Error 404"),
        ("/cut.zip", CONTENT, f"cut off after 50 of {len(CONTENT)} bytes"),
        ("/good.zip", b"something else", "checksum"),
    ],
)
def test_a_failed_download_says_what_to_do_by_hand_and_leaves_nothing(
    server, tmp_path, path, content, expected
):
    wanted = archive(server.address + path, content)
    with pytest.raises(PfsrError) as refusal:
        unpacked(wanted, tmp_path)
    message = str(refusal.value)
    assert expected in message
    assert message.endswith(f"by hand from {wanted.address} and put it at {tmp_path / 'tiny.zip'}")
    assert "\n" not in message
    assert not list(tmp_path.iterdir())


def test_no_connection_is_told_in_one_line(server, tmp_path):
    server.shutdown()
    server.server_close()
    with pytest.raises(PfsrError, match=r"^tiny: cannot be downloaded .*refused.* put it at ") as refusal:
        unpacked(archive(f"{server.address}/good.zip"), tmp_path)
    assert "\n" not in str(refusal.value)


def test_a_file_put_there_by_hand_is_used_without_a_network(tmp_path):
    (tmp_path / "tiny.zip").write_bytes(CONTENT)
    assert unpacked(archive("http://invalid.invalid/"), tmp_path)[0].read_bytes() == EVENTS


def test_a_wrong_file_put_there_by_hand_is_refused_and_kept(tmp_path):
    (tmp_path / "tiny.zip").write_bytes(b"wrong")
    with pytest.raises(PfsrError, match=r"checksum .*published .*delete .*tiny\.zip"):
        unpacked(archive("http://invalid.invalid/"), tmp_path)
    assert (tmp_path / "tiny.zip").read_bytes() == b"wrong"


@pytest.mark.parametrize(("content", "members"), [(b"no zip", ("a",)), (CONTENT, ("set/none.dat",))])
def test_an_archive_without_the_members_is_refused(tmp_path, content, members):
    (tmp_path / "tiny.zip").write_bytes(content)
    with pytest.raises(PfsrError, match="cannot be unpacked"):
        unpacked(archive("http://invalid.invalid/", content, members), tmp_path)


def test_a_cache_that_cannot_be_made_names_the_setting(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(PfsrError, match="set PFSR_CACHE"):
        unpacked(archive("http://invalid.invalid/"), tmp_path / "file" / "cache")


def test_named_source_is_loaded_with_its_titles(server, tmp_path, monkeypatch):
    monkeypatch.setenv("PFSR_CACHE", str(tmp_path))
    monkeypatch.setitem(SOURCES, "ml-1m", archive(f"{server.address}/good.zip"))
    data = load("ml-1m")
    assert data.name == "ml-1m"
    assert list(data.people) == [str(user) for user in range(1, 7)]
    assert data.catalog.titles == [f"Film {item}" for item in range(1, 7)]


def test_cache_folder_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("PFSR_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("PFSR_CACHE")
    assert cache_folder().parts[-2:] == (".cache", "pfsr")


def test_events_and_titles_are_told_apart(tmp_path):
    (tmp_path / "tiny.zip").write_bytes(CONTENT)
    files = fetch(archive("http://invalid.invalid/"), tmp_path)
    assert (files.events.name, files.titles.name) == ("ratings.dat", "movies.dat")
