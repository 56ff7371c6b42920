"""The fields of `users`."""

from typing import Literal

from pydantic import Field

from diffpref.config.section import Positive, Section, Share


class VlmConfig(Section):
    """The vision-language model of encoder vlm, and what is read of it."""

    folder: str = Field(
        description="folder of a transformers vision-language model, such as LLaVA-OneVision or "
        "Qwen2.5-VL, with its tokenizer, chat template and processor"
    )
    layer: int = Field(default=-1, description="hidden states: 0 embeddings, -1 the last layer")
    pooling: Literal["last", "mean"] = Field(
        default="last", description="the last token, or the mean over what the model said"
    )
    words: int = Field(
        default=0, ge=0, description="tokens the model says about the person first, at most"
    )
    side: Positive = Field(default=384, description="pixels of a picture's longer side, at most")
    pairs: Positive = Field(default=4, description="pairs of one conversation, at most")
    dtype: Literal["fp32", "bf16", "fp16"] = Field(
        default="bf16", description="precision the model reads pairs in"
    )
    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:1, mps")
    batch: Positive = Field(default=1, description="conversations read at once")


class UsersConfig(Section):
    """Whom rows are for: how users are described, and how they are told to the adapter."""

    encoder: Literal["mean_difference", "bt", "vlm", "world_taste"] = Field(
        default="mean_difference",
        description="mean_difference: what the user's choices have more of, a simple one; "
        "bt: the embedding of a profile, so that `generate --profile` can tell it; "
        "vlm: hidden states of a vision-language model that is shown the choices; "
        "world_taste: the exact taste of the bundled people, an upper bound",
    )
    prior: str = Field(
        default="bt-world",
        description="the population of encoder bt: bt-world, or a file or folder of "
        "`train-reward --head bt-prior`",
    )
    scorer: str = Field(
        default="world-reward", description="whose image embeddings describe choices"
    )
    vlm: VlmConfig | None = Field(default=None, description="what encoder vlm reads")
    width: Positive = Field(default=8, description="numbers of a user's vector")
    tokens: Positive = Field(default=4, description="tokens per user; diffusers reads 4")
    support: tuple[Positive, ...] = Field(
        default=(1, 2, 4, 8, 16),
        description="how many other choices describe the user; each row draws one of these",
    )
    dropout: Share = Field(
        default=0.0,
        description="how often a row has no user; where only the adapter trains such a row "
        "teaches nothing",
    )
    counter: Share = Field(
        default=0.0,
        description="how often a pair is joined by the vote of a user who chose its other image",
    )
    held_out: str | None = Field(
        default="validation",
        description="split of the source whose users implicit accuracy is measured on, as often "
        "as evaluate.every says; null does not measure",
    )
    held_out_rows: Positive = Field(default=200, description="rows of held-out users measured")
    held_out_support: Positive = Field(
        default=16, description="choices that describe a held-out user"
    )
