"""Nobody gets in but the person: token, Host, Origin; and what every answer forbids the page."""

import asyncio

import pytest

TOKEN, PORT = "the-token", 8765
HOME = f"http://127.0.0.1:{PORT}"

ADDRESSES = [
    ("GET", "/"), ("GET", "/page.js"), ("GET", "/page.css"), ("GET", "/openapi.json"), ("GET", "/status"),
    ("GET", "/events"), ("POST", "/events"), ("DELETE", "/events"), ("GET", "/items?search=film"),
    ("GET", "/recommendations"), ("GET", "/comparison"), ("POST", "/learn"), ("PUT", "/learning"),
    ("GET", "/uploads"), ("GET", "/export"), ("DELETE", "/everything"), ("GET", "/no-such-address"),
]  # fmt: skip
EVENT = {"item": "film-1"}


@pytest.mark.parametrize(("method", "address"), ADDRESSES)
@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"},
     {"Cookie": f"pfsr-{PORT}=wrong"}, {"Cookie": f"pfsr-1={TOKEN}"}],
)  # fmt: skip
def test_without_the_token_everything_is_401(served, client_of, method, address, headers):
    answer = client_of(served.session, **headers).request(method, address)
    assert answer.status_code == 401
    assert "token" in answer.json()["error"]
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "host",
    ["evil.example", f"evil.example:{PORT}", "127.0.0.1:1", "127.0.0.1", f"127.0.0.1.evil.example:{PORT}"],
)
@pytest.mark.parametrize("address", ["/status", f"/?token={TOKEN}"])
def test_a_foreign_host_is_refused_even_with_the_token(served, host, address):
    answer = served.client.get(address, headers={"Host": host})
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_the_first_visit_gives_a_cookie_that_lets_in(served, client_of):
    client = client_of(served.session)
    answer = client.get(f"/?token={TOKEN}")
    assert answer.status_code == 200
    assert "text/html" in answer.headers["content-type"]
    cookie = answer.headers["set-cookie"]
    assert f"pfsr-{PORT}={TOKEN}" in cookie
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    assert client.get("/status").status_code == 200
    assert client.post("/events", json=EVENT, headers={"Origin": HOME}).status_code == 201


@pytest.mark.parametrize("address", ["/?token=wrong", "/?token=", f"/status?token={TOKEN}", "/?token=\u00e9"])
def test_the_address_lets_in_only_with_the_token_and_only_to_the_page(served, client_of, address):
    assert client_of(served.session).get(address).status_code == 401


@pytest.mark.parametrize(
    "origin", [None, "http://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1:8765"]
)
def test_a_write_with_the_cookie_must_come_from_the_page(served, client_of, origin):
    headers = {"Cookie": f"pfsr-{PORT}={TOKEN}"} | ({"Origin": origin} if origin else {})
    answer = client_of(served.session, **headers).post("/events", json=EVENT)
    assert answer.status_code == 403
    assert served.device.events() == []


def test_a_foreign_page_gets_nothing_with_a_bearer_either(served):
    assert (
        served.client.post("/events", json=EVENT, headers={"Origin": "http://evil.example"}).status_code
        == 403
    )
    assert served.client.post("/events", json=EVENT).status_code == 201


@pytest.mark.parametrize(
    ("site", "status"), [("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)]
)
def test_a_read_with_the_cookie_must_not_be_another_pages(served, client_of, site, status):
    headers = {"Cookie": f"pfsr-{PORT}={TOKEN}", "Sec-Fetch-Site": site}
    assert client_of(served.session, **headers).get("/status").status_code == status


@pytest.mark.parametrize("address", ["/", "/status", "/no-such-address", "/export"])
@pytest.mark.parametrize("token", [TOKEN, "wrong"])
def test_every_answer_forbids_other_places(served, address, token):
    headers = served.client.get(address, headers={"Authorization": f"Bearer {token}"}).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert set(policy.values()) <= {"'self'", "'none'"}
    assert policy["frame-ancestors"] == "'none'"
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "no-referrer"
    assert "access-control-allow-origin" not in headers


def test_large_and_endless_requests_are_refused(served):
    assert served.client.post("/events", content=b"x" * 600_000).status_code == 413
    assert served.client.post("/events", headers={"Transfer-Encoding": "chunked"}).status_code == 411


def test_a_websocket_is_refused(served):
    told = []

    async def send(message):
        told.append(message)

    asyncio.run(served.client.app({"type": "websocket", "path": "/", "headers": []}, None, send))
    assert told == [{"type": "websocket.close", "code": 1008}]


@pytest.mark.parametrize("address", ["/docs", "/redoc"])
def test_there_are_no_pages_that_load_from_elsewhere(served, address):
    assert served.client.get(address).status_code == 404
