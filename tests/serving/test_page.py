"""The page in a real browser: what a person sees, at desk and at phone width, and what the buttons do."""

import importlib.util
import threading
from pathlib import Path

import pytest

from pfsr.device.records import Upload
from pfsr.serving.app import make_app
from pfsr.serving.session import Session

spec = importlib.util.spec_from_file_location("browser", Path(__file__).with_name("browser.py"))
assert spec is not None
assert spec.loader is not None
driver = importlib.util.module_from_spec(spec)
spec.loader.exec_module(driver)

pytestmark = pytest.mark.skipif(not driver.CHROMIUM, reason="needs Chromium, to show the page")

FILMS = [f"film-{n}" for n in (3, 17, 4, 21, 9, 11, 12, 13, 14, 15, 26)]
READY = "document.querySelector('#suggestions')?.getAttribute('aria-busy') === 'false'"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with driver.browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture
def address():
    """Return a starter of a real server in a thread: device -> the address to open."""
    import uvicorn

    from pfsr.serving.server import _listener

    stops = []

    def start(device):
        listener = _listener(0)
        port = listener.getsockname()[1]
        config = uvicorn.Config(
            make_app(Session(device), "t", port), log_config=None, lifespan="off", ws="none"
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        stops.append((server, thread, listener))
        return f"http://127.0.0.1:{port}/?token=t"

    yield start
    for server, thread, listener in stops:
        server.should_exit = server.force_exit = True
        thread.join(60)
        listener.close()


@pytest.fixture
def opened(chromium, address, served):
    """Return an opener of the page of a device at a width; it has no complaints and asks nobody else."""

    def visit(device, width=1280, dark=False):
        home = address(device)
        chromium.requests.clear()
        chromium.complaints.clear()
        chromium.resize(width, 900, dark)
        chromium.go(home)
        chromium.until(f"location.href.startsWith('{home.split('?')[0]}') && {READY}")
        return chromium

    yield visit
    chromium.until(READY)
    assert chromium.complaints == []
    assert chromium.requests
    assert all(one.startswith(("http://127.0.0.1:", "about:")) for one in chromium.requests)


@pytest.fixture
def watched(served):
    for film in FILMS:
        served.device.record(film)
    return served.device


def settled(page):
    page.until(READY)


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, False), (390, True)])
def test_it_shows_everything_and_never_scrolls_sideways(opened, watched, width, dark):
    page = opened(watched, width, dark)
    assert page.run("document.documentElement.scrollWidth") <= width
    assert page.run("location.search") == ""
    assert page.run("document.cookie") == ""
    text = page.text()
    for words in ("11 things you did", "Nothing has ever left this device.", "Amélie <b>", "Pause learning",
                  "Export", "Forget everything", "Nothing has been learned from you yet"):  # fmt: skip
        assert words in text
    for one in watched.recommend(10):
        assert one.title in page.text("#suggestions")
    assert "Because of Film" in page.text("#suggestions")
    assert page.run("document.querySelectorAll('#history li').length") == 9
    named = "e.innerText || e.ariaLabel || e.labels?.length"
    unnamed = f"[...document.querySelectorAll('button, a, input')].filter(e => !({named})"
    assert page.run(f"{unnamed} && e.id !== 'ask-yes').length") == 0
    ground = page.run("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(20, 23, 27)" if dark else "rgb(255, 255, 255)")


def test_a_new_person_sees_what_to_do(opened, served):
    page = opened(served.device)
    assert "Nothing here yet." in page.text("#history")
    assert "Nothing you did is known yet" in page.text("#summary")
    assert page.run("document.querySelector('#learn').disabled && document.querySelector('#forget').disabled")


def test_without_a_model_it_says_so(opened, bare):
    bare.device.record("film-1")
    page = opened(bare.device)
    assert "No model yet." in page.text("#suggestions")
    assert "film-1" in page.text("#history")


def test_adding_by_title_changes_the_suggestions(opened, served):
    page = opened(served.device)
    first = page.text("#suggestions .title")
    page.click("#find")
    page.call("Input.insertText", text=first)
    page.until("!document.querySelector('#found').hidden")
    page.press("Enter")
    page.until("document.querySelector('#history').innerText.includes('Forget')")
    settled(page)
    (event,) = served.device.events()
    assert served.device.snapshot().runtime.catalog.title(served.device.snapshot().rows[0]) == first
    assert first not in [one.title for one in served.device.recommend(10)]
    assert page.text("#suggestions .title") == served.device.recommend(1)[0].title
    assert event.seq == 1


def test_a_suggestion_is_taken_with_one_click(opened, watched):
    page = opened(watched)
    best = watched.recommend(1)[0]
    page.click("#suggestions button")
    page.until("document.querySelector('#summary').innerText.startsWith('12 things')")
    assert watched.events()[-1].item == best.item_id


def test_forgetting_one_thing_asks_first(opened, watched):
    page = opened(watched)
    page.click("#history button")
    assert "Forget “Amélie <b>”?" in page.text("#ask")
    page.click("#ask button[value=no]")
    page.until("!document.querySelector('#ask').open")
    assert len(watched.events()) == 11
    page.click("#history button")
    page.click("#ask-yes")
    page.until("document.querySelector('#summary').innerText.startsWith('10 things')")
    assert [event.item for event in watched.events()] == FILMS[:-1]


def test_an_answer_is_never_taken_for_that_of_the_next_question(opened, watched):
    page = opened(watched)
    page.click("#history button")
    # In one go: the browser tells of the closing only when the next question is open already.
    no, other = "#ask button[value=no]", "#history li:nth-child(2) button"
    page.run(f"document.querySelector('{no}').click(); document.querySelector('{other}').click()")
    assert "Forget “Film 15”?" in page.text("#ask")
    page.click("#ask-yes")
    page.until("document.querySelector('#summary').innerText.startsWith('10 things')")
    assert [event.item for event in watched.events()] == [film for film in FILMS if film != "film-15"]


def test_escape_answers_no(opened, watched):
    page = opened(watched)
    for _ in range(2):
        page.click("#forget")
        page.until("document.querySelector('#ask').open")
        page.press("Escape")
        page.until("!document.querySelector('#ask').open")
    page.click("#history button")
    page.click("#ask-yes")
    page.until("document.querySelector('#summary').innerText.startsWith('10 things')")


def test_everything_is_forgotten_after_asking(opened, watched):
    page = opened(watched)
    page.click("#forget")
    page.click("#ask-yes")
    page.until("document.querySelector('#history').innerText.includes('Nothing here yet')")
    assert watched.events() == []


def test_learning_is_paused_resumed_and_done(opened, watched):
    page = opened(watched)
    page.click("#pause")
    page.until("document.querySelector('#pause').innerText === 'Resume learning'")
    assert watched.learning_paused
    assert page.run("document.querySelector('#learn').disabled")
    page.click("#pause")
    page.until("document.querySelector('#pause').innerText === 'Pause learning'")
    page.click("#learn")
    page.until("!document.querySelector('#compare').hidden")
    settled(page)
    assert watched.status().offsets_version == 1
    assert page.run("document.querySelectorAll('#links path, #links circle').length") == 10
    assert "suggestions" in page.text("#personal-summary")


def test_the_history_is_searched_and_paged(opened, watched):
    page = opened(watched)
    page.click("#more")
    page.until("document.querySelectorAll('#history li').length === 11")
    page.click("#search")
    page.call("Input.insertText", text="film 17")
    page.until("document.querySelectorAll('#history li').length === 1")
    assert "Film 17" in page.text("#history")


def test_what_has_left_is_listed(opened, watched, monkeypatch):
    sent = [Upload(1_700_000_000_000, 1_260_000, ("movement", "events"), "round 7")]
    monkeypatch.setattr(watched, "uploads", lambda: sent)
    page = opened(watched, 390)
    assert "1 message, 1.3 MB in all" in page.text()
    assert "movement, events" in page.text("#left")
    assert page.run("document.documentElement.scrollWidth") <= 390
