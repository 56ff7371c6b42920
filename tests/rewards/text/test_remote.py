"""Reward models behind an address: what is sent, which answers hold a reward."""

from pathlib import Path

import pytest

from diffpref.errors import ConfigError, UsageError
from diffpref.io.http import EndpointError
from diffpref.rewards.text import load_text_scorer
from diffpref.rewards.text.remote import reward_of
from tests.answering import Call, Reply, answering
from tests.rewards.text.conftest import PROMPTS, RESPONSES


def length_of_response(call: Call) -> Reply:
    value = float(len(call.body["messages"][-1]["content"]))
    return Reply({"data": [{"index": 0, "object": "pooling", "data": [[-1.0], [value]]}]})


def test_every_conversation_is_sent_and_the_last_tokens_reward_read(tmp_path: Path) -> None:
    with answering(length_of_response) as server:
        path = tmp_path / "endpoint.yaml"
        path.write_text(f"url: {server.url}\nmodel: wpm\nworkers: 3\nextra: {{truncate: true}}\n")
        scorer = load_text_scorer("worldpm", weights=str(path))
        found = scorer.score(PROMPTS, RESPONSES, batch_size=3)
    assert found.values.tolist() == [len(text) for text in RESPONSES]
    assert {call.path for call in server.calls} == {"/pooling"}
    body = next(c.body for c in server.calls if c.body["messages"][1]["content"] == PROMPTS[0])
    assert body == {
        "model": "wpm",
        "messages": [
            {"role": "system", "content": ""},
            {"role": "user", "content": PROMPTS[0]},
            {"role": "assistant", "content": RESPONSES[0]},
        ],
        "add_generation_prompt": False,
        "use_activation": False,
        "truncate": True,
    }


def test_the_environment_names_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="it has no url"):
        load_text_scorer("reward-endpoint")
    with answering(length_of_response) as server:
        monkeypatch.setenv("DIFFPREF_REWARD_URL", server.url)
        monkeypatch.setenv("DIFFPREF_REWARD_MODEL", "any")
        scorer = load_text_scorer("reward-endpoint")
        assert scorer.rank("p", ["a", "abc", "ab"]) == [1, 2, 0]
        assert scorer.compare("p", ["a", "ab"]).tolist() == pytest.approx([0.26894, 0.73106], 1e-4)
        assert [m["role"] for m in server.calls[0].body["messages"]] == ["user", "assistant"]
        assert scorer.to("cpu").info.weights[0].file == "any"


def test_a_wrong_path_or_field_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "endpoint.yaml"
    path.write_text("url: http://127.0.0.1:9\nmodel: m\npath: pooling\n")
    with pytest.raises(UsageError, match="the path is pooling"):
        load_text_scorer("worldpm", weights=str(path))
    path.write_text("url: http://127.0.0.1:9\nmodel: m\nsystem: x\n")
    with pytest.raises(ConfigError, match="is not a field here"):
        load_text_scorer("worldpm", weights=str(tmp_path))


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        ({"data": [{"data": [0.5]}]}, 0.5),
        ({"data": [{"data": [[1.0], [2.0], [-3.5]]}]}, -3.5),
        ({"data": [{"embedding": [4]}]}, 4.0),
        ({"score": -1}, -1.0),
    ],
)
def test_rewards_are_found_where_servers_put_them(reply: object, value: float) -> None:
    assert reward_of(reply, "u") == value


@pytest.mark.parametrize(
    "reply",
    [
        {},
        [],
        None,
        {"data": []},
        {"data": [{}, {}]},
        {"data": [{"data": [0.1, 0.2]}]},
        {"data": [{"data": [[0.1, 0.2]]}]},
        {"data": [{"data": []}]},
        {"data": [{"data": "AACAPw=="}]},
        {"score": True},
        {"score": "3"},
    ],
)
def test_an_answer_without_a_single_reward_is_an_error(reply: object) -> None:
    with pytest.raises(EndpointError, match="no single reward"):
        reward_of(reply, "http://127.0.0.1:9")
