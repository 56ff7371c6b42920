"""The page in a real Chromium: keyboard, mouse and touch; run with -m browser.

DIFFPREF_SCREENSHOTS names a folder where the screenshots are kept.
"""

import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Lock
from typing import Any

import pytest

from diffpref.evaluate.subject import open_model
from diffpref.models.sample_settings import SampleSettings
from diffpref.rate.book import Book
from diffpref.rate.pair import Pair
from diffpref.rate.plan import Plan
from diffpref.rate.pool import Pool
from diffpref.rate.rerank import best_of
from diffpref.rate.session import Session
from diffpref.rate.study import Study
from diffpref.rate.summary import summary
from diffpref.rate.taste import Taste
from diffpref.rewards import load_scorer
from tests.rate.chromium import Tab, binary, browser
from tests.rate.conftest import Server, lines, servers

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(binary() is None, reason="there is no chromium: apt install chromium"),
]

READY = (
    "typeof state !== 'undefined' && state && state.question && !busy "
    "&& document.getElementById('left-image').naturalWidth > 0"
)
DESKTOP, PHONE, NARROW = (1280, 900), (390, 844), (320, 640)


@pytest.fixture(scope="module")
def open_link(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Tab]]:
    with browser(tmp_path_factory.mktemp("chromium") / "profile") as found:
        yield found


@pytest.fixture(scope="module")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = os.environ.get("DIFFPREF_SCREENSHOTS")
    return Path(folder) if folder else tmp_path_factory.mktemp("screenshots")


@pytest.fixture
def server(tmp_path: Path, pairs: list[Pair], new_taste: Callable[[], Taste]) -> Iterator[Server]:
    """Nine pairs, a live profile, and the bundled model behind the button."""
    taste, book = new_taste(), Book(tmp_path / "out")
    pool = Pool(check=taste.see)
    pool.add(pairs)
    show = best_of(
        open_model("builtin:base"),
        load_scorer(taste.prior.embedder.scorer),
        SampleSettings(steps=4),
        lock=Lock(),
    )
    plan = Plan(goal=6, result=lambda entries: summary(entries, Path("out"), Path("me.profile")))
    with servers() as start:
        yield start(Session(book, pool, plan, taste=taste, show=show))


@pytest.fixture
def tab(server: Server, open_link: Callable[[str], Tab]) -> Tab:
    found = open_link(server.link)
    found.size(*DESKTOP)
    found.prefer()
    found.events.clear()
    found.wait(READY)
    return found


def after(tab: Tab, act: Callable[[], None]) -> None:
    """Do something and wait until the page shows another question, or none."""
    before = tab.run("state.question && state.question.nonce")
    act()
    tab.wait(
        "!busy && (!state.question || state.question.nonce !== "
        f"{json.dumps(before)}) && document.getElementById('pair').className === 'pair'"
    )


def liked_side(row: dict[str, Any]) -> str:
    first, second = row["scores"]
    if first == second:
        return "tie"
    return "left" if (first > second) == (row["left"] == 0) else "right"


def complaints(tab: Tab) -> list[object]:
    kinds = ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled")
    return [each["params"] for each in tab.events if each.get("method") in kinds]


def requests(tab: Tab) -> set[str]:
    sent = [each for each in tab.events if each.get("method") == "Network.requestWillBeSent"]
    return {each["params"]["request"]["url"] for each in sent}


def test_everything_can_be_done_from_the_keyboard(
    tab: Tab, server: Server, tmp_path: Path, screenshots: Path
) -> None:
    out = tmp_path / "out"
    assert tab.run("location.href") == f"{server.origin}/"
    tab.picture(screenshots / "desktop-start.png")
    for key in ("ArrowLeft", "ArrowRight", "ArrowDown", "t"):
        after(tab, lambda key=key: tab.press(key))
    after(tab, lambda: tab.press("s"))
    kinds = ["skip" if "skip" in row else liked_side(row) for row in lines(out)]
    assert kinds == ["left", "right", "tie", "tie", "skip"]
    assert tab.run("document.getElementById('count').textContent") == "4 of 6"
    after(tab, lambda: tab.press("u"))
    after(tab, lambda: tab.press("Backspace"))
    assert [row["undo"] for row in lines(out)[-2:]] == [
        lines(out)[4]["nonce"],
        lines(out)[3]["nonce"],
    ]
    tab.press("?")
    assert tab.run("document.getElementById('keys').open")
    tab.press("ArrowLeft")
    tab.picture(screenshots / "desktop-help.png")
    tab.press("Escape")
    tab.wait("!document.getElementById('keys').open")
    assert len(lines(out)) == 7
    # The picture itself is a button: Tab leads there, the focus is seen, Enter chooses.
    tab.run("document.getElementById('finish').focus()")
    tab.press("Tab")
    assert tab.run("document.activeElement.id") == "left"
    assert tab.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    after(tab, lambda: tab.press("Enter"))
    assert liked_side(lines(out)[-1]) == "left"
    assert tab.run("document.activeElement.id") == "left"
    assert "4 of 6" in tab.run("document.getElementById('live').textContent")
    for _ in range(2):
        after(tab, lambda: tab.press("ArrowRight"))
    assert tab.run("document.activeElement.id") == "rest-title"
    for _ in range(3):
        tab.press("Tab")
    assert tab.run("document.activeElement.id") == "rest-finish"
    tab.press("Enter")
    tab.wait("state.result")
    assert "Votes: 6" in tab.run("document.getElementById('end').innerText")
    tab.picture(screenshots / "desktop-end.png")
    assert complaints(tab) == []


def test_typing_a_prompt_is_no_vote(tab: Tab, tmp_path: Path) -> None:
    tab.run("document.getElementById('wish-text').focus()")
    for key in "stu":
        tab.press(key)
    for key in ("ArrowLeft", "ArrowRight", "Backspace"):
        tab.press(key)
    assert tab.run("document.getElementById('wish-text').value").count("s") > 0
    assert lines(tmp_path / "out") == []


def test_a_held_key_votes_once(tab: Tab, tmp_path: Path) -> None:
    about = {"key": "ArrowLeft", "windowsVirtualKeyCode": 37}

    def hold() -> None:
        tab.call("Input.dispatchKeyEvent", type="rawKeyDown", **about)
        for _ in range(5):
            tab.call("Input.dispatchKeyEvent", type="rawKeyDown", autoRepeat=True, **about)

    after(tab, hold)
    for _ in range(5):
        tab.call("Input.dispatchKeyEvent", type="rawKeyDown", autoRepeat=True, **about)
    assert len(lines(tmp_path / "out")) == 1


def test_the_mouse_does_it_too_and_the_profile_grows_and_shows_pictures(
    tab: Tab, server: Server, tmp_path: Path, screenshots: Path
) -> None:
    for where in ("#left", "#right", "#tie", "#left"):
        after(tab, lambda where=where: tab.click(where))
    after(tab, lambda: tab.click("#undo"))
    after(tab, lambda: tab.click("#right"))
    votes = [row for row in lines(tmp_path / "out") if "scores" in row]
    assert [liked_side(row) for row in votes] == ["left", "right", "tie", "left", "right"]
    assert tab.run("document.getElementById('learned').textContent") == "4"
    assert "bits" in tab.run("document.getElementById('worth').textContent")
    tab.click("#show-me")
    tab.wait("[...document.querySelectorAll('#rows img')].filter(i => i.naturalWidth).length == 8")
    assert "best 4 of 16" in tab.run("document.getElementById('rows').innerText")
    tab.picture(screenshots / "desktop-whole.png", whole=True)
    tab.click("#finish")
    tab.picture(screenshots / "desktop-sure.png")
    tab.click("#sure-end button[value=no]")
    assert tab.run("state.result === null")
    assert complaints(tab) == []
    assert {url for url in requests(tab) if not url.startswith(f"{server.origin}/")} == set()
    assert len(requests(tab)) > 10


@pytest.mark.parametrize(("size", "scheme"), [(PHONE, "light"), (PHONE, "dark"), (NARROW, "dark")])
def test_a_phone_shows_all_of_it_readably(
    tab: Tab, tmp_path: Path, screenshots: Path, size: tuple[int, int], scheme: str
) -> None:
    tab.size(*size, phone=True)
    tab.prefer(prefers_color_scheme=scheme, prefers_reduced_motion="reduce")
    for where in ("#left", "#right", "#tie", "#skip", "#undo"):
        after(tab, lambda where=where: tab.tap(where))
    kinds = ["skip" if "skip" in row else "undo" if "undo" in row else liked_side(row)
             for row in lines(tmp_path / "out")]  # fmt: skip
    assert kinds == ["left", "right", "tie", "skip", "undo"]
    assert tab.run("document.documentElement.scrollWidth") == size[0]
    for name in ("left", "right", "undo", "tie", "skip"):
        box = tab.run(f"document.getElementById('{name}').getBoundingClientRect().toJSON()")
        assert box["left"] >= 0
        assert box["right"] <= size[0]
        assert box["bottom"] <= size[1]
        assert min(box["width"], box["height"]) >= 44
    sizes = tab.run(
        "[...document.querySelectorAll('main *, header *')].filter(e => e.checkVisibility()"
        " && [...e.childNodes].some(n => n.nodeType == 3 && n.data.trim()))"
        ".map(e => parseFloat(getComputedStyle(e).fontSize))"
    )
    assert min(sizes) >= 13
    assert tab.run("getComputedStyle(document.getElementById('left')).transitionDuration") == "0s"
    assert worst_contrast(tab) >= 4.5
    tab.picture(screenshots / f"phone-{size[0]}-{scheme}.png")


def worst_contrast(tab: Tab) -> float:
    """Return the least contrast of a text with what is behind it (WCAG 2.2, 1.4.3)."""
    return tab.run("""(() => {
      const parse = (c) => c.match(/[\\d.]+/g).map(Number);
      const light = (c) => {
        const [r, g, b] = parse(c).map((v) => v / 255)
          .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const behind = (e) => {
        for (let at = e; at; at = at.parentElement) {
          const c = getComputedStyle(at).backgroundColor, parts = parse(c);
          if (parts.length === 3 || parts[3] === 1) return c;
        }
        return "rgb(255, 255, 255)";
      };
      const found = [...document.querySelectorAll("main *, header *")].filter((e) =>
        e.checkVisibility() && !e.closest(":disabled") && !e.closest(".hidden")
        && [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())
      ).map((e) => {
        const [a, b] = [light(getComputedStyle(e).color), light(behind(e))].sort((x, y) => y - x);
        return (a + 0.05) / (b + 0.05);
      });
      return Math.min(...found);
    })()""")


def test_a_page_opened_again_goes_on_and_another_window_is_told(
    tab: Tab, server: Server, tmp_path: Path
) -> None:
    after(tab, lambda: tab.press("ArrowLeft"))
    tab.call("Page.reload")
    tab.wait(f"document.readyState === 'complete' && {READY}")
    assert tab.run("document.getElementById('count').textContent") == "1 of 6"
    # Another window answers the same pair: this one is told, and shows the next.
    question = server.session.state()["question"]
    server.session.answer(question["nonce"], "tie")
    after(tab, lambda: tab.press("ArrowLeft"))
    assert "another window" in tab.run("document.getElementById('alert').innerText")
    assert len(lines(tmp_path / "out")) == 2
    after(tab, lambda: tab.press("ArrowLeft"))
    assert tab.run("document.getElementById('alert').hidden")
    assert len(lines(tmp_path / "out")) == 3


def test_a_server_that_is_gone_is_said(tab: Tab, server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port)):
        server.post("/api/finish", {})
    tab.wait("fetch('api/state').then(() => false, () => true)")
    tab.press("ArrowLeft")
    tab.wait("!document.getElementById('alert').hidden")
    assert "nothing is lost" in tab.run("document.getElementById('alert').innerText")


def test_the_page_without_its_token_shows_nothing(
    server: Server, open_link: Callable[[str], Tab]
) -> None:
    other = open_link(f"http://localhost:{server.port}/")
    other.wait("document.readyState === 'complete' && document.body.innerText")
    assert "open the link" in other.run("document.body.innerText")
    assert other.run("document.images.length") == 0


def test_a_study_shows_its_labels_only_at_the_end(
    tmp_path: Path, pairs: list[Pair], open_link: Callable[[str], Tab], screenshots: Path
) -> None:
    base = open_model("builtin:base")
    study = Study(a=base, b=base, prompts=["x"], seeds=[0], settings=SampleSettings())
    study.places |= {pair.id: row for row, pair in enumerate(pairs)}
    pool = Pool()
    pool.add(pairs)
    plan = Plan(mode="study", result=lambda entries: study.verdict(entries).plain())
    with servers() as start:
        server = start(Session(Book(tmp_path / "out"), pool, plan))
        tab = open_link(server.link)
        tab.size(*DESKTOP)
        tab.prefer()
        tab.wait(READY)
        assert tab.run("document.getElementById('taste').hidden")
        for _ in pairs:
            assert "base" not in tab.run("document.documentElement.outerHTML")
            after(tab, lambda: tab.press("ArrowLeft"))
        tab.click("#rest-finish")
        tab.wait("state.result")
        assert "base (A) was preferred" in tab.run("document.getElementById('end').innerText")
        assert tab.run("document.getElementById('dot').style.left").endswith("%")
        tab.picture(screenshots / "study-end.png")
