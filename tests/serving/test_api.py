"""Every endpoint, against the device behind it."""

import json
import sys

import numpy as np
import pytest

from pfsr.data.ids import encode
from pfsr.device.records import Upload
from pfsr.serving.app import make_app

FILMS = ["film-3", "film-17", "film-4", "film-21", "film-9"]


@pytest.fixture
def watched(served):
    for film in FILMS:
        assert served.client.post("/events", json={"item": film}).status_code == 201
    return served


def refused(answer, status, words):
    assert answer.status_code == status
    (line,) = answer.json().values()
    assert words in line
    assert "\n" not in line


def test_an_event_is_recorded_once_and_counts_at_once(served):
    before = served.client.get("/recommendations?k=30").json()["suggestions"]
    answer = served.client.post("/events", json={"item": "film-3", "time": 1000})
    assert answer.status_code == 201
    assert answer.json() == {"seq": 1, "item": "film-3", "title": "Film 3", "known": True, "time": 1000}
    again = served.client.post("/events", json={"item": "film-3", "time": 1000})
    assert (again.status_code, again.json()["seq"]) == (200, 1)
    after = served.client.get("/recommendations?k=30").json()["suggestions"]
    assert {one["item"] for one in before if isinstance(one["item"], str)} - {
        one["item"] for one in after if isinstance(one["item"], str)
    } == {"film-3"}
    assert [event.item for event in served.device.events()] == ["film-3"]


@pytest.mark.parametrize("item", [7, "7", {"int": hex(2**60)}])
def test_ids_of_every_kind_are_kept_exactly(served, item):
    told = served.client.post("/events", json={"item": item}).json()
    assert (told["item"], told["known"]) == (item, True)
    (event,) = served.device.events()
    assert event.item == (2**60 if isinstance(item, dict) else item)
    assert served.client.get("/events").json()["events"][0]["item"] == item
    gone = served.client.delete("/events", params={"item_json": json.dumps(item)})
    assert gone.json() == {"events": 1}


@pytest.mark.parametrize(
    "body",
    [{}, {"item": None}, {"item": 1.5}, {"item": True}, {"item": []}, {"item": ""}, {"item": 2**63},
     {"item": "x" * 70_000}, {"item": {"float": "0x1p0"}}, {"item": {"no": 1}}, {"item": "a", "time": "now"},
     {"item": "a", "time": 2**63}, {"item": "a", "tme": 1}, [], "text"],
)  # fmt: skip
def test_an_event_that_cannot_be_kept_is_one_line(served, body):
    answer = served.client.post("/events", json=body)
    assert answer.status_code == 422
    assert "\n" not in answer.json()["error"]
    assert served.device.events() == []


def test_an_unknown_item_is_kept_and_waits(served):
    told = served.client.post("/events", json={"item": "of tomorrow"}).json()
    assert (told["title"], told["known"]) == ("of tomorrow", False)
    assert served.client.get("/status").json()["waiting"] == 1


def test_the_history_comes_newest_first_in_pages(watched):
    first = watched.client.get("/events?limit=2").json()
    assert [event["item"] for event in first["events"]] == FILMS[:-3:-1]
    assert first["total"] == 5
    second = watched.client.get("/events", params={"limit": 3, "older_than": first["next"]}).json()
    assert [event["item"] for event in second["events"]] == FILMS[-3::-1]
    assert second["next"] is None
    found = watched.client.get("/events?search=FILM 17").json()
    assert [event["item"] for event in found["events"]] == ["film-17"]


@pytest.mark.parametrize(
    ("search", "title"),
    [("amelie", "Amélie <b>"), ("harbour QUIET", "The Quiet Harbour"), ("film-4", "Film 4")],
)
def test_items_are_found_by_words_or_id(watched, search, title):
    found = watched.client.get("/items", params={"search": search}).json()["items"]
    assert found[0]["title"] == title
    assert found[0]["had"] == (title == "Film 4")
    assert watched.client.get("/items?search=nothing").json() == {"items": []}
    assert len(watched.client.get("/items?search=film&limit=3").json()["items"]) == 3


def test_recommendations_are_the_devices(watched):
    told = watched.client.get("/recommendations?k=4").json()["suggestions"]
    wanted = watched.device.recommend(4)
    assert [one["item"] for one in told] == [encode(one.item_id) for one in wanted]
    assert [one["score"] for one in told] == pytest.approx([one.score for one in wanted])
    assert [one["rank"] for one in told] == [1, 2, 3, 4]
    assert told[0]["because"] is None
    film = next(one["item"] for one in told if str(one["item"]).startswith("film-"))
    left = watched.client.get("/recommendations", params={"k": 4, "exclude": [film, "none"]}).json()
    assert film not in [one["item"] for one in left["suggestions"]]
    assert len(left["suggestions"]) == 4


def test_reasons_are_of_the_history_and_told_in_words(watched):
    told = watched.client.get("/recommendations?k=10&why=true").json()["suggestions"]
    assert any(one["because"] for one in told)
    for one in told:
        assert {past["item"] for past in one["because"]} <= set(FILMS)
        times = [past["times"] for past in one["because"]]
        assert times == sorted(times, reverse=True)
        assert all(f"“{past['title']}”" in one["why"] for past in one["because"])


def test_without_a_history_the_words_say_so(served):
    told = served.client.get("/recommendations?k=1&why=true").json()["suggestions"][0]
    assert told["because"] == []
    assert "no history" in told["why"]


@pytest.mark.parametrize("query", ["k=0", "k=-1", "k=many", "k=501"])
def test_a_wrong_number_is_one_line(served, query):
    refused(served.client.get(f"/recommendations?{query}"), 422, "k: ")
    refused(served.client.get(f"/comparison?{query}"), 422, "k: ")


def test_before_learning_both_rankings_are_one(watched):
    told = watched.client.get("/comparison?k=5").json()
    assert told["personal"] == told["general"]
    assert (told["only_here"], told["learned"]) == (0, False)
    assert "Nothing has been learned" in told["summary"]


def test_learning_changes_the_ranking_and_the_comparison_says_how(watched):
    told = watched.client.post("/learn", json={"steps": 3}).json()
    assert (told["steps"], told["events"], told["kept"]) == (3, 5, True)
    assert watched.client.get("/status").json()["lessons"] == 1
    runtime, offsets, rows = watched.device.snapshot()
    assert offsets.any()
    found = watched.client.get("/comparison?k=30").json()
    for name, used in (("personal", offsets), ("general", np.zeros_like(offsets))):
        best = runtime.best(runtime.replay(rows, used)[1], 30, rows)[0]
        assert [one["title"] for one in found[name]] == [runtime.catalog.title(row) for row in best]
        assert [one[name] for one in found[name]] == list(range(1, 26))
    assert found["learned"]
    assert [one["item"] for one in found["personal"][:5]] == [
        one["item"] for one in watched.client.get("/recommendations?k=5").json()["suggestions"]
    ]


@pytest.mark.parametrize(
    "body", [{"steps": 0}, {"seconds": 0}, {"steps": 10**6}, {"seconds": 10**6}, {"stps": 1}]
)
def test_lessons_without_bounds_are_refused(watched, body):
    assert watched.client.post("/learn", json=body).status_code == 422


def test_paused_means_no_learning_until_it_is_resumed(watched):
    assert watched.client.put("/learning", json={"paused": True}).json() == {"paused": True}
    assert watched.client.get("/status").json()["paused"] is True
    refused(watched.client.post("/learn", json={}), 409, "paused")
    assert watched.client.put("/learning", json={"paused": False}).json() == {"paused": False}
    assert watched.client.post("/learn", json={"steps": 1}).json()["kept"] is True
    assert watched.client.put("/learning", json={"paused": "yes"}).status_code == 422


def test_one_lesson_at_a_time(watched):
    with watched.session.lesson():
        assert watched.client.get("/status").json()["learning"] is True
        refused(watched.client.post("/learn", json={}), 409, "already")
    assert watched.client.get("/status").json()["learning"] is False


def test_a_lesson_ends_when_the_server_is_to_stop(watched):
    watched.session.closing.set()
    told = watched.client.post("/learn", json={"steps": 900}).json()
    assert (told["steps"], told["kept"]) == (0, False)


def test_without_pytorch_learning_says_so_and_the_rest_goes_on(watched, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    refused(watched.client.post("/learn", json={}), 409, "needs PyTorch")
    assert watched.client.get("/recommendations").status_code == 200


def test_uploads_are_listed_newest_first(served, monkeypatch):
    assert served.client.get("/uploads").json() == {"uploads": [], "bytes": 0}
    sent = [Upload(1000, 10, ("movement",), "a"), Upload(2000, 32, ("movement", "events"), "b")]
    monkeypatch.setattr(served.device, "uploads", lambda: sent)
    told = served.client.get("/uploads").json()
    assert told["bytes"] == 42
    assert told["uploads"][0] == {
        "time": 2000, "bytes": 32, "fields": ["movement", "events"], "model_version": "b",
    }  # fmt: skip


def test_the_export_is_everything_as_a_file(watched):
    answer = watched.client.get("/export")
    assert answer.headers["content-disposition"].startswith('attachment; filename="pfsr-')
    assert answer.json() == json.loads(json.dumps(watched.device.export()))
    assert [event["item"] for event in answer.json()["events"]] == FILMS


def test_one_item_is_forgotten(watched):
    assert watched.client.delete("/events?item=film-17").json() == {"events": 1}
    assert [event.item for event in watched.device.events()] == [one for one in FILMS if one != "film-17"]
    assert watched.client.delete("/events?item=never-had").json() == {"events": 0}


def test_a_text_is_a_number_only_where_no_text_is_known(served):
    for item in (7, "7", 8):
        served.client.post("/events", json={"item": item})
    served.client.delete("/events?item=7")
    assert [event.item for event in served.device.events()] == [7, 8]
    served.client.delete("/events?item=8")
    assert [event.item for event in served.device.events()] == [7]


def test_what_lies_before_a_time_is_forgotten(served):
    for time in (1000, 2000, 3000):
        served.client.post("/events", json={"item": "film-1", "time": time})
    assert served.client.delete("/events?before=2500").json() == {"events": 2}
    assert [event.time_ms for event in served.device.events()] == [3000]


@pytest.mark.parametrize(
    "query", ["", "?item=a&before=1", "?item=a&item_json=1", "?before=soon", "?item_json={"]
)
def test_forgetting_must_be_told_what(watched, query):
    assert watched.client.delete(f"/events{query}").status_code == 422
    assert len(watched.device.events()) == 5


@pytest.mark.parametrize("body", [None, {}, {"confirm": True}, {"confirm": "yes"}])
def test_everything_is_forgotten_only_when_confirmed(watched, body):
    assert watched.client.delete("/everything", json=body).status_code == 422
    assert len(watched.device.events()) == 5
    answer = watched.client.delete("/everything", json={"confirm": "forget everything"})
    assert answer.json() == {"events": 5}
    assert watched.device.events() == []


def test_without_a_model_events_are_kept_and_the_rest_says_why(bare):
    assert bare.client.post("/events", json={"item": "film-1"}).json()["known"] is False
    status = bare.client.get("/status").json()
    assert (status["model_version"], status["items"], status["events"], status["waiting"]) == (None, 0, 1, 1)
    for address in ("/recommendations", "/recommendations?why=true", "/comparison"):
        refused(bare.client.get(address), 409, "no model yet")
    refused(bare.client.post("/learn", json={}), 409, "no model yet")
    assert bare.client.get("/items?search=film").json() == {"items": []}


def test_a_bug_is_told_as_one_line_too(served, monkeypatch):
    monkeypatch.setattr(served.device, "uploads", lambda: 1 / 0)
    refused(served.client.get("/uploads"), 500, "ZeroDivisionError")


@pytest.mark.parametrize(("method", "address", "status"), [("GET", "/nowhere", 404), ("PUT", "/events", 405)])
def test_wrong_addresses_are_one_line(served, method, address, status):
    refused(served.client.request(method, address), status, "/openapi.json has them all")


@pytest.mark.parametrize(
    ("method", "address"),
    [("GET", "/recommendations?kk=3"), ("GET", "/status?k=3"), ("DELETE", "/events?item=film-3&befor=5")],
)
def test_a_misspelt_parameter_is_not_ignored(watched, method, address):
    refused(watched.client.request(method, address), 422, "no such parameter")
    assert len(watched.device.events()) == 5


def test_a_body_that_is_no_json_is_named(served):
    answer = served.client.post("/events", content=b"x", headers={"Content-Type": "application/json"})
    refused(answer, 422, "body is not JSON")


def test_recording_does_not_read_the_history(watched, monkeypatch):
    monkeypatch.setattr(type(watched.device._store), "events", lambda _: 1 / 0)
    assert watched.client.post("/events", json={"item": "film-5"}).status_code == 201
    assert watched.client.get("/recommendations?k=3").status_code == 200


def test_the_description_names_every_endpoint_in_words(served):
    told = served.client.get("/openapi.json").json()
    found = {(path, method) for path, methods in told["paths"].items() for method in methods}
    assert found == {
        ("/events", "get"), ("/events", "post"), ("/events", "delete"), ("/items", "get"),
        ("/everything", "delete"), ("/recommendations", "get"), ("/comparison", "get"), ("/status", "get"),
        ("/learn", "post"), ("/learning", "put"), ("/uploads", "get"), ("/export", "get"),
    }  # fmt: skip
    for path, method in found:
        one = told["paths"][path][method]
        assert one["description"].endswith(".")
        assert one["responses"]["401"]["content"]["application/json"]["schema"]["$ref"].endswith("/Error")
    assert told["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"


def test_two_sessions_have_nothing_in_common_but_the_device(served):
    other = make_app(served.session, "another", 1)
    assert other.cookie != make_app(served.session, "another", 2).cookie
