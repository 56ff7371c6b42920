"""Benchmarks: the user's prompts are read, and images lie where each evaluator looks for them."""

import json
import os
import re
from collections import Counter
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from diffpref.errors import DataError, UsageError
from diffpref.evaluate.benchmarks import BENCHMARKS, Item, Layout
from diffpref.evaluate.benchmarks.export import Exporter, image_paths
from diffpref.evaluate.benchmarks.source import arranged_prompts, read_benchmark
from diffpref.evaluate.prompts import read_prompts
from diffpref.io import open_image, png_text

FOLDER = Path(os.environ.get("DIFFPREF_TEST_DATA", ""))
needs_data = pytest.mark.skipif(
    not (FOLDER / "PartiPrompts.tsv").is_file(),
    reason="DIFFPREF_TEST_DATA does not name the folder of real files",
)

PARTI = (
    'Prompt\tCategory\tChallenge\tNote\n"O K" on a wall\tArts\tBasic\t\na cat\tAnimals\tBasic\tx\n'
)
GENEVAL = (
    '{"tag": "counting", "include": [{"class": "dog", "count": 3}], "prompt": "three dogs"}\n'
    '{"tag": "colors", "include": [], "exclude": [], "prompt": "a blue cup"}\n'
)


def layout_of(name: str) -> Layout:
    layout = BENCHMARKS[name].layout
    assert layout is not None
    return layout


def write_pickapic(path: Path, captions: list[str | None], column: str = "caption") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({column: captions, "jpg_0": [b"x"] * len(captions)}), path)
    return path


def test_partiprompts_keep_quotes_and_categories(tmp_path: Path) -> None:
    (tmp_path / "P.tsv").write_text(PARTI)
    _, items = read_benchmark(f"parti:{tmp_path}/P.tsv")
    assert [(item.prompt, item.group, item.more["challenge"]) for item in items] == [
        ('"O K" on a wall', "Arts", "Basic"),
        ("a cat", "Animals", "Basic"),
    ]


def test_hpsv2_styles_are_read_in_their_order(tmp_path: Path) -> None:
    for style in ("photo", "anime", "drawbench"):
        (tmp_path / f"{style}.json").write_text(json.dumps([f"{style} 0", f"{style} 1"]))
    _, items = read_benchmark(f"hpsv2:{tmp_path}")
    assert [item.id for item in items] == [
        "anime/00000",
        "anime/00001",
        "photo/00000",
        "photo/00001",
    ]
    assert [item.prompt for item in items][1:3] == ["anime 1", "photo 0"]
    _, one = read_benchmark(f"hpsv2:{tmp_path}/photo.json", limit=1)
    assert [(item.id, item.group) for item in one] == [("photo/00000", "photo")]


def test_pickapic_prompts_are_distinct_and_of_the_test_split(tmp_path: Path) -> None:
    write_pickapic(tmp_path / "d/test_unique-00000-of-00002.parquet", ["a", "b", None])
    write_pickapic(tmp_path / "d/test_unique-00001-of-00002.parquet", ["b ", "c"])
    write_pickapic(tmp_path / "d/train-00000-of-00001.parquet", ["z"])
    assert read_prompts(f"pickapic:{tmp_path}/d") == ["a", "b", "c"]
    assert read_prompts(f"pickapic:{tmp_path}/d/train-00000-of-00001.parquet") == ["z"]
    (tmp_path / "p.jsonl").write_text('{"caption": "x"}\n{"prompt": "y"}\n{"caption": "x"}\n')
    assert read_prompts(f"pickapic:{tmp_path}/p.jsonl") == ["x", "y"]


def test_geneval_items_keep_the_whole_line(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text(GENEVAL)
    _, items = read_benchmark(f"geneval:{tmp_path}/m.jsonl")
    assert [(item.id, item.group, item.prompt) for item in items] == [
        ("00000", "counting", "three dogs"),
        ("00001", "colors", "a blue cup"),
    ]
    assert [dict(item.more) for item in items] == [json.loads(x) for x in GENEVAL.splitlines()]


def test_dpg_prompts_come_from_the_folder_or_from_the_csv(tmp_path: Path) -> None:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts/b2.txt").write_text("Two, things.\n")
    (tmp_path / "prompts/a1.txt").write_text("One thing.")
    table = (
        "item_id,text,keywords,proposition_id,dependency,category_broad,category_detailed,tuple,"
        "question_natural_language\n"
        'b2,"Two, things.",,1,0,entity,whole,x,Is it?\nb2,"Two, things.",,2,1,entity,whole,x,And?\n'
        'a1,"One thing.",,1,0,entity,whole,x,Is it?\n'
    )
    (tmp_path / "dpg.csv").write_text(table)
    _, texts = read_benchmark(f"dpg:{tmp_path}/prompts")
    _, rows = read_benchmark(f"dpg:{tmp_path}/dpg.csv")
    assert [(item.id, item.prompt) for item in texts] == [
        ("a1", "One thing."),
        ("b2", "Two, things."),
    ]
    assert [(item.id, item.prompt) for item in rows] == [
        ("b2", "Two, things."),
        ("a1", "One thing."),
    ]


def test_compbench_lines_end_at_the_tab(tmp_path: Path) -> None:
    (tmp_path / "color_val.txt").write_bytes(b"a green bench\tgreen bench\r\n\r\na blue bowl\r\n")
    _, items = read_benchmark(f"compbench:{tmp_path}/color_val.txt")
    assert [(item.id, item.prompt, item.group) for item in items] == [
        ("0", "a green bench", "color_val"),
        ("1", "a blue bowl", "color_val"),
    ]


def test_imagereward_prompts_have_ids(tmp_path: Path) -> None:
    (tmp_path / "b.json").write_text('[{"id": "005695-0057", "prompt": "a vehicle"}]')
    _, (item,) = read_benchmark(f"imagereward:{tmp_path}/b.json")
    assert (item.id, item.prompt) == ("005695-0057", "a vehicle")


@pytest.mark.parametrize(
    ("name", "file", "content", "message"),
    [
        ("parti", "P.tsv", "Text\tCategory\n", "no column Prompt"),
        ("parti", "P.tsv", "Prompt\tCategory\tChallenge\n \tx\ty\n", "P.tsv:2: has no prompt"),
        ("hpsv2", "anime.json", '{"a": 1}', "is not a JSON list"),
        ("hpsv2", "anime.json", '["a", 1]', "anime.json: item 1: is no text"),
        ("geneval", "m.jsonl", '{"prompt": "a"}', "m.jsonl:1: 'tag' is not a text"),
        ("geneval", "m.jsonl", "{broken", "m.jsonl:1: "),
        ("dpg", "d.csv", "item_id\n", "no column text"),
        ("dpg", "d.csv", "item_id,text\na.b,t\n", "'a.b' is no id of DPG-Bench"),
        ("dpg", "d.csv", 'item_id,text\na,"t\n', "is not a table"),
        ("compbench", "c.txt", "\n\n", "holds no prompts"),
        ("imagereward", "b.json", '[{"id": 7, "prompt": "a"}]', "'id' is not a text"),
        ("imagereward", "b.json", '[{"id": "7", "prompt": " "}]', "'prompt' is empty"),
        ("pickapic", "p.jsonl", '{"text": "a"}', "'caption' is not a text"),
        ("pickapic", "p.parquet", "PAR1 no", "cannot be read"),
    ],
)
def test_a_file_of_another_kind_is_named_with_its_line(
    name: str, file: str, content: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / file).write_text(content)
    with pytest.raises(DataError) as caught:
        read_prompts(f"{name}:{tmp_path}/{file}")
    assert message in str(caught.value)
    assert caught.value.hint


def test_a_missing_file_says_what_the_benchmark_reads() -> None:
    with pytest.raises(DataError, match=r"geneval reads evaluation_metadata\.jsonl"):
        read_prompts("geneval:nowhere.jsonl")
    with pytest.raises(DataError, match="no such file of prompts"):
        read_prompts("genval:nowhere.jsonl")


def test_a_benchmark_without_evaluator_has_no_layout(tmp_path: Path) -> None:
    (tmp_path / "P.tsv").write_text(PARTI)
    with pytest.raises(UsageError, match="has no evaluator"):
        arranged_prompts(f"parti:{tmp_path}/P.tsv")
    with pytest.raises(UsageError, match="names no benchmark"):
        arranged_prompts(f"{tmp_path}/P.tsv")


@needs_data
def test_the_real_files_have_the_published_numbers_of_prompts() -> None:
    _, parti = read_benchmark(f"parti:{FOLDER}/PartiPrompts.tsv")
    assert len(parti) == 1632
    assert len({item.group for item in parti}) == 12
    assert len({item.more["challenge"] for item in parti}) == 11
    assert sum(item.prompt.startswith('"') for item in parti) == 1
    _, geneval = read_benchmark(f"geneval:{FOLDER}/geneval_metadata.jsonl")
    assert Counter(item.group for item in geneval) == {
        "single_object": 80,
        "two_object": 99,
        "counting": 80,
        "colors": 94,
        "position": 100,
        "color_attr": 100,
    }
    _, reward = read_benchmark(f"imagereward:{FOLDER}/imagereward_benchmark_prompts.json")
    assert (len(reward), reward[5].prompt) == (100, "a cute cat")


def tile(p: int, k: int, side: int = 8) -> Image.Image:
    return Image.new("RGB", (side, side), (40 * p + 10, 50 * k + 5, 0))


def export(name: str, items: list[Item], n: int, root: Path) -> list[Path]:
    layout = layout_of(name)
    paths = image_paths(layout, items, n, root)
    exporter = Exporter(layout=layout, items=items, n=n, root=root, paths=paths)
    found = [
        exporter.put(p, k, tile(p, k), {"prompt": items[p].prompt, "seed": str(k)})
        for p in range(len(items))
        for k in range(n)
    ]
    return [path for path in found if path is not None]


def tree(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def test_geneval_finds_images_and_their_line_as_its_evaluator_looks(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text(GENEVAL)
    _, items = read_benchmark(f"geneval:{tmp_path}/m.jsonl")
    export("geneval", items, 2, tmp_path / "out")
    seen = []
    for folder in sorted((tmp_path / "out").iterdir()):
        assert folder.name.isdigit()
        metadata = json.loads((folder / "metadata.jsonl").read_text())
        names = sorted(path.name for path in (folder / "samples").iterdir())
        assert all(re.match(r"\d+\.png", name) for name in names)
        seen.append((metadata, names))
    lines = [json.loads(line) for line in GENEVAL.splitlines()]
    assert seen == [(line, ["00000.png", "00001.png"]) for line in lines]
    told = png_text(tmp_path / "out/00001/samples/00001.png")
    assert told == {"prompt": "a blue cup", "seed": "1"}


def test_hpsv2_finds_a_jpeg_of_every_index(tmp_path: Path) -> None:
    items = [Item(prompt=f"p{n}", id=f"anime/{n:05d}", group="anime") for n in range(3)]
    export("hpsv2", items, 1, tmp_path)
    assert tree(tmp_path) == [f"anime/{n:05d}.jpg" for n in range(3)]
    data = (tmp_path / "anime/00002.jpg").read_bytes()
    assert data[:3] == b"\xff\xd8\xff"
    image = open_image(data, where="x")
    assert max(abs(a - b) for a, b in zip(image.getpixel((4, 4)), (90, 5, 0), strict=True)) < 4
    assert b'{"prompt": "p2", "seed": "0"}' in data
    buffer = BytesIO()
    tile(2, 0).save(buffer, format="JPEG")
    assert open_image(buffer.getvalue(), where="x").tobytes() == image.tobytes()


def test_dpg_crops_are_the_four_images_by_rows(tmp_path: Path) -> None:
    items = [Item(prompt="a", id="partiprompts12"), Item(prompt="b", id="0")]
    export("dpg", items, 4, tmp_path)
    assert tree(tmp_path) == ["0.png", "partiprompts12.png"]
    sheet = open_image(tmp_path / "0.png", where="x")
    side = 8
    corners = [(0, 0), (side, 0), (0, side), (side, side)]
    for k, (left, top) in enumerate(corners):
        crop = sheet.crop((left, top, left + side, top + side))
        assert crop.tobytes() == tile(1, k).tobytes()
    assert png_text(tmp_path / "0.png") == {"prompt": "b", "seed": "0,1,2,3"}


def test_dpg_takes_one_image_alone_and_square_ones_only(tmp_path: Path) -> None:
    items = [Item(prompt="a", id="x")]
    export("dpg", items, 1, tmp_path)
    assert open_image(tmp_path / "x.png", where="x").tobytes() == tile(0, 0).tobytes()
    layout = layout_of("dpg")
    assert layout.join is not None
    with pytest.raises(DataError, match="8x16"):
        layout.join([Image.new("RGB", (8, 16))] * 4)


def test_compbench_names_say_the_prompt_and_count_through(tmp_path: Path) -> None:
    items = [Item(prompt="a green bench.", id="0"), Item(prompt="two boys", id="1")]
    export("compbench", items, 10, tmp_path)
    names = sorted(
        (path.name for path in (tmp_path / "samples").iterdir()),
        key=lambda name: int(name.split("_")[-1].split(".")[0]),
    )
    assert [name.split("_")[0] for name in names] == ["a green bench."] * 10 + ["two boys"] * 10
    assert names[13] == "two boys_000013.png"
    assert open_image(tmp_path / "samples" / names[13], where="x").tobytes() == tile(1, 3).tobytes()


def test_imagereward_names_say_the_id(tmp_path: Path) -> None:
    export("imagereward", [Item(prompt="a", id="005695-0057")], 2, tmp_path)
    assert tree(tmp_path) == ["005695-0057_0.png", "005695-0057_1.png"]


@pytest.mark.parametrize(
    ("name", "item", "n", "message"),
    [
        ("hpsv2", Item(prompt="a", id="anime/00000"), 2, "has 1 per prompt, not 2"),
        ("dpg", Item(prompt="a", id="x"), 3, "has 1 or 4 per prompt, not 3"),
        ("compbench", Item(prompt="a_b", id="0"), 1, "cannot be a file name"),
        ("compbench", Item(prompt="a/../b", id="0"), 1, "cannot be a file name"),
        ("compbench", Item(prompt="a" * 300, id="0"), 1, "longer than file systems allow"),
        ("imagereward", Item(prompt="a", id="../../x"), 1, "'..' is not allowed"),
        ("imagereward", Item(prompt="a", id="/etc/x"), 1, "relative to the folder"),
        ("dpg", Item(prompt="a", id="x\ny"), 1, "control characters"),
    ],
)
def test_what_an_evaluator_could_not_find_is_refused_before_any_image(
    name: str, item: Item, n: int, message: str, tmp_path: Path
) -> None:
    with pytest.raises((DataError, UsageError), match=re.escape(message)):
        image_paths(layout_of(name), [item], n, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_two_prompts_of_one_id_are_refused(tmp_path: Path) -> None:
    items = [Item(prompt="a", id="x"), Item(prompt="b", id="x")]
    with pytest.raises(DataError, match="two prompts have this id"):
        image_paths(layout_of("imagereward"), items, 1, tmp_path)
