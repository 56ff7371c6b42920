"""Cards of the scorers on BLIP: ImageReward, image-text matching and image-text contrast."""

from diffpref.rewards.cards.card import Card, Part

RANKED = 446_665_953
LARGE, BASE = 446_128_642, 223_744_258
PRETRAINED = 445_739_522

MEAN, DEVIATION = 0.16717362830052426, 1.0333394966054072
"""Of ImageReward's raw output; its score is standardised with them (ImageReward.py)."""

SIZES = {"large-coco": LARGE, "large-flickr": LARGE, "base-coco": BASE, "base-flickr": BASE}

_HOST = "diffpref.rewards.blip_scorers"
_PARITY = "tiny models equal to a naive float64 BLIP and to transformers' own; full key layout"
_LICENCE = "BSD-3-Clause"

VOCABULARY = Part(
    name="vocabulary",
    files=("vocab.txt", "tokenizer.json"),
    repo="google-bert/bert-base-uncased",
    origin="hub google-bert/bert-base-uncased; it may also lie beside the model's weights",
    gigabytes=0.0002,
    licence="Apache-2.0",
)
"""The 30,522 words of BERT uncased; BLIP's own two, [DEC] and [ENC], are added by the code."""


def _retrieval(variant: str, parameters: int) -> Part:
    size, _, data = variant.partition("-")
    repo = f"Salesforce/blip-itm-{variant}"
    return Part(
        name=variant,
        files=(f"model_{size}_retrieval_{data}.pth", "model.safetensors", "pytorch_model.bin"),
        repo=repo,
        origin=f"hub {repo}, or the README of GitHub salesforce/BLIP",
        gigabytes=round(parameters * 4e-9, 1),
        licence=_LICENCE,
        parameters=parameters,
        variant=variant,
    )


_RETRIEVAL = tuple(_retrieval(*size) for size in SIZES.items())

IMAGEREWARD = Card(
    name="imagereward",
    factory=f"{_HOST}:load_imagereward",
    kind="fusion",
    about="how people would rank an image for its prompt, standardised",
    scale="standard deviations from the mean of the training images, about -2 to 2",
    range_hint=(-3.0, 3.0),
    licence="Apache-2.0",
    differentiable=True,
    temperature=1 / DEVIATION,  # differences of the raw output are log odds of being preferred
    parts=(
        Part(
            files=("ImageReward.pt",),
            repo="THUDM/ImageReward",
            origin="hub THUDM/ImageReward",
            gigabytes=1.8,
            licence="Apache-2.0",
            parameters=RANKED,
        ),
        VOCABULARY,
    ),
    source="Xu et al., 2304.05977; THUDM/ImageReward",
    parity="tiny models equal to numbers of the released modules; also to a naive float64 BLIP and "
    "to transformers' own; full key layout; the README's four scores with weights",
)

ITM = Card(
    name="blip-itm",
    factory=f"{_HOST}:load_itm",
    kind="fusion",
    about="how likely image and prompt belong together, by BLIP's matching head",
    scale="probability of a match, 0 to 1",
    range_hint=(0.0, 1.0),
    licence=_LICENCE,
    differentiable=True,
    variants=tuple(SIZES),
    parts=(*_RETRIEVAL, VOCABULARY),
    source="Li et al., 2201.12086; salesforce/BLIP",
    parity=_PARITY,
)

ITC = Card(
    name="blip-itc",
    factory=f"{_HOST}:load_itc",
    kind="image-text",
    about="agreement of image and prompt by BLIP's contrastive embeddings; with blipscore as "
    "ImageReward's paper compares it",
    scale="cosine, about 0.2 to 0.5",
    range_hint=(0.0, 1.0),
    licence=_LICENCE,
    differentiable=True,
    temperature=0.07,  # where training starts; the learned one is in Salesforce's files only
    variants=(*SIZES, "blipscore"),
    parts=(
        *_RETRIEVAL,
        Part(
            name="blipscore",
            files=("model_large.pth",),
            origin="the README of GitHub salesforce/BLIP: BLIP w/ ViT-L, pre-trained on 129M",
            gigabytes=round(PRETRAINED * 4e-9, 1),
            licence=_LICENCE,
            parameters=PRETRAINED,
            variant="blipscore",
        ),
        VOCABULARY,
    ),
    source=f"{ITM.source}; BLIPScore.py of THUDM/ImageReward",
    parity=_PARITY,
)

CARDS = (IMAGEREWARD, ITM, ITC)
