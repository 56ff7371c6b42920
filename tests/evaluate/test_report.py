"""The report: one file, no script, nothing fetched, hostile prompts stay text."""

import re
from base64 import b64decode, b64encode
from collections.abc import Callable
from hashlib import sha256
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from diffpref.evaluate.compare import Comparison
from diffpref.evaluate.report import p_value, render_report, write_report
from diffpref.evaluate.winrate import win_rate

Make = Callable[..., Comparison]

HOSTILE = [
    "<script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</figcaption></figure><iframe src=javascript:alert(1)>",
    "<svg onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "</style><script>alert(1)</script>",
    "<style>body{display:none}</style>",
    "{{ 7 * 7 }}{% for x in [] %}",
    "<a href='javascript:alert(1)'>x</a>",
    "<meta http-equiv=refresh content='0;url=//evil.example'>",
    "<base href=//evil.example>",
    "<link rel=stylesheet href=//evil.example>",
    "<!-- comment --><object data=x>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "<form action=//evil.example><input>",
    "\u202egnp.exe <b>bold</b>",
    "nul\x00 and bell\x07 and escape\x1b[31m",
    "<math><mtext></p><img src=x onerror=alert(1)></math>",
    "x" * 5000,
]

METRICS = [
    {
        "step": step,
        "loss": 0.69 - 0.001 * step,
        "implicit_accuracy": 0.5 + 0.001 * step,
        "implicit_accuracy_ema": 0.5 + 0.0008 * step,
        "margin": 1e-4 * step,
        "winner_drift": -1e-5 * step,
        "loser_drift": -1e-4 * step,
        "note": "<script>",
    }
    for step in range(1, 51)
] + [{"step": 50, "win_rate/bright": 0.7, "loss": None}]

ALLOWED = {
    *("html", "head", "meta", "title", "style", "body", "header", "main", "section", "details"),
    *("h1", "h2", "p", "strong", "span", "bdi", "b", "i", "div", "ul", "li", "pre", "code"),
    *("svg", "line", "circle", "text", "polyline", "img", "figure", "figcaption", "summary"),
    *("table", "thead", "tbody", "tr", "th", "td", "dl", "dt", "dd"),
}


class Page(HTMLParser):
    """Every tag with its attributes, and the text of the page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "img", "line", "circle", "polyline"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def hostile(compared: Make) -> str:
    return render_report(
        compared(HOSTILE, seeds=(0, 1)),
        title="</title><script>alert(1)</script>",
        metrics=METRICS,
        config="prompt: '</code></pre><script>alert(1)</script>'\n",
        environment={"machine": {"processor": "<script>x</script>"}, "versions": {"torch": "2"}},
        note="<img src=x onerror=alert(1)>",
    )


def test_no_payload_becomes_an_element(hostile: str) -> None:
    page = Page(hostile)
    assert {tag for tag, _ in page.tags} <= ALLOWED
    assert page.open == []
    assert page.all("script") == page.all("iframe") == page.all("link") == []
    told = [name for _, attributes in page.tags for name in attributes]
    assert [name for name in told if name.startswith("on") or name in {"style", "href"}] == []


def test_every_prompt_is_there_as_text(hostile: str) -> None:
    words = "".join(Page(hostile).words)
    for prompt in HOSTILE:
        shown = re.sub("[\x00-\x1f\u202e]", "\ufffd", prompt)
        assert shown in words, prompt[:40]
    assert "\u202e" not in hostile
    assert "\x00" not in hostile


def test_nothing_is_fetched(hostile: str) -> None:
    page = Page(hostile)
    sources = [str(image["src"]) for image in page.all("img")]
    assert len(sources) == 2 * len(HOSTILE) * 2
    assert {source[:22] for source in sources} == {"data:image/png;base64,"}
    assert "url(" not in hostile.split("</style>", maxsplit=1)[0].split("<style>")[1]


def test_the_policy_allows_the_pages_own_style_and_nothing_else(hostile: str) -> None:
    (policy,) = [m["content"] for m in Page(hostile).all("meta") if "http-equiv" in m]
    style = hostile.split("<style>")[1].split("</style>", maxsplit=1)[0]
    digest = b64encode(sha256(style.encode()).digest()).decode()
    assert policy is not None
    assert f"style-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "unsafe" not in policy


def test_the_numbers_are_the_comparisons(compared: Make) -> None:
    found = compared([f"prompt {i}" for i in range(30)])
    words = " ".join("".join(Page(render_report(found, title="t")).words).split())
    rate = found.rates["bright"]
    assert f"{100 * rate.rate:.1f}" in words
    assert f"{rate.low:.3f} to {rate.high:.3f}" in words
    assert "prompt 23" in words
    assert "prompt 24" not in words
    assert "+0.100" in words
    assert "\u22120.100" in words


def test_images_are_the_models_images_without_metadata(compared: Make) -> None:
    page = Page(render_report(compared(["a", "b", "c"]), title="t"))
    left, right = (str(image["src"]) for image in page.all("img")[4:6])
    grey: list[int] = []
    for source in (left, right):
        data = b64decode(source.partition(",")[2])
        image = Image.open(BytesIO(data))
        assert image.size == (32, 32)
        assert image.info == {}
        pixel = image.getpixel((5, 5))
        assert isinstance(pixel, tuple)
        grey.append(int(pixel[0]))
    assert grey == [128, 153]  # the base stands on the left


def test_large_images_become_webp(compared: Make) -> None:
    text = render_report(compared(["a"], side=160), title="t")
    assert "data:image/webp;base64," in text
    assert "pair small" not in text


def test_curves_appear_only_where_something_was_logged(compared: Make) -> None:
    found = compared(["a"])
    full = render_report(found, title="t", metrics=METRICS)
    for name in ("Loss", "Implicit accuracy", "Margin", "Drift", "Win rate while training"):
        assert f"<strong>{name}</strong>" in full
    assert "<polyline" not in render_report(found, title="t")
    sft = render_report(found, title="t", metrics=[{"step": 1, "loss": 1.0}])
    assert "<strong>Loss</strong>" in sft
    assert "<strong>Drift</strong>" not in sft


def test_the_file_is_written_whole(compared: Make, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_report(path, compared(["a"]), title="t", config="seed: 0\n")
    assert path.read_text().startswith("<!DOCTYPE html>")
    assert path.read_text().rstrip().endswith("</html>")
    assert [each.name for each in tmp_path.iterdir()] == ["report.html"]


def test_small_p_values_are_not_shown_as_zero(compared: Make) -> None:
    assert (p_value(0.0), p_value(0.5), p_value(0.0012)) == ("< 0.001", "0.500", "0.001")
    a, b = compared(["a", "b", "c"]).scores["bright"]
    assert win_rate(a, b).n == 3
