"""Generated pages say what the code says, and links of the docs lead somewhere."""

import re
from pathlib import Path

import pytest

from diffpref.config import load_config
from scripts.pages.configuration import described
from scripts.write_pages import PAGES as WRITTEN
from tests.docs.blocks import PAGES, ROOT, blocks

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
OURS = re.compile(r"`((?:diffpref|tests|scripts|configs|docs)/[\w./-]+\.\w+)(?:::\w+)?`")
HANDWRITTEN = sorted(
    [
        *PAGES.rglob("*.md"),
        *(ROOT / name for name in ("README.md", "SECURITY.md")),
        *ROOT.glob("C*.md"),
    ]
)


@pytest.mark.parametrize("name", WRITTEN)
def test_a_generated_page_is_current(name: str) -> None:
    """Failing, run `python -m scripts.write_pages` and look at what changed."""
    assert (PAGES / name).read_text(encoding="utf-8") == WRITTEN[name]()


def test_every_field_of_a_configuration_says_what_it_means() -> None:
    assert [name for name, told in described() if not told] == []


@pytest.mark.parametrize("page", HANDWRITTEN, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_or_a_heading_leads_there(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    lost = [target for target in links(text) if not leads(page, target)]
    assert lost == []


def test_every_file_of_ours_that_a_page_names_exists() -> None:
    added = {  # by the reader of adding-a-method.md
        "configs/shapes/focal_po.yaml",
        "diffpref/losses/focal.py",
        "diffpref/methods/focal_po.py",
        "tests/methods/test_focal_po.py",
    }
    named = {name for page in HANDWRITTEN for name in OURS.findall(page.read_text("utf-8"))}
    assert len(named) > 50
    assert {name for name in named if not (ROOT / name).exists()} == added


def test_the_questions_answer_every_pain_that_was_collected() -> None:
    text = (PAGES / "faq.md").read_text(encoding="utf-8")
    numbers = re.findall(r"^\*\*.+\*\* \[([\d, ]+)\]", text, re.M)
    answered = [int(number) for group in numbers for number in group.split(",")]
    assert sorted(answered) == list(range(1, 26))


def links(text: str) -> list[str]:
    found = (first or second for first, second in LINK.findall(text))
    return [target for target in found if not re.match(r"\w+:", target)]


def leads(page: Path, target: str) -> bool:
    """Say whether a link leads somewhere; out of docs/ it would not, in a built site."""
    name, _, anchor = target.partition("#")
    path = page if not name else (page.parent / name)
    if not path.exists() or (PAGES in page.parents and PAGES not in path.resolve().parents):
        return False
    return not anchor or anchor in anchors(path.read_text(encoding="utf-8"))


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in plain}


def test_every_page_can_be_reached_from_the_home_page() -> None:
    seen, todo = set(), [PAGES / "index.md"]
    while todo:
        page = todo.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        for target in links(page.read_text(encoding="utf-8")):
            path = (page.parent / target.partition("#")[0]).resolve()
            if path.is_file():
                todo.append(path)
    assert [str(page) for page in PAGES.rglob("*.md") if page.resolve() not in seen] == []


CONFIGURATIONS = [
    pytest.param(block.text, id=f"{page.name}:{block.line}")
    for page in HANDWRITTEN
    for block in blocks(page)
    if block.language == "yaml"
    and len(re.findall(r"^(?:model|method):", block.text, re.M)) == 2
    and not block.file
]


@pytest.mark.parametrize("text", CONFIGURATIONS)
def test_a_whole_configuration_on_a_page_is_a_valid_one(text: str, tmp_path: Path) -> None:
    path = tmp_path / "page.yaml"
    path.write_text(text, encoding="utf-8")
    assert load_config(path).loop.steps > 0
