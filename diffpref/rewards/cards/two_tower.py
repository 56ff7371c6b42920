"""Cards of the scorers whose image and prompt embeddings meet in a cosine, and of CLIP heads."""

from diffpref.rewards.cards.card import Card, Part

VIT_H = 986_109_441
VIT_L = 427_616_513
VIT_B = 151_277_313

_HOST = "diffpref.rewards.clip_scorers"
_TINY = "tiny models equal to open_clip and transformers; full key layout"
_PARITY = f"{_TINY}; no published golden"


def _clip(variant: str, repo: str, gigabytes: float, parameters: int) -> Part:
    return Part(
        name=variant,
        files=(
            "model.safetensors",
            "pytorch_model.bin",
            "open_clip_model.safetensors",
            "open_clip_pytorch_model.bin",
        ),
        repo=repo,
        origin=f"hub {repo}",
        gigabytes=gigabytes,
        licence="MIT",
        parameters=parameters,
        variant=variant,
    )


CLIPSCORE = Card(
    name="clipscore",
    factory=f"{_HOST}:load_clipscore",
    kind="image-text",
    about="agreement of image and prompt by CLIP, in the three scales papers use",
    scale="torchmetrics: 100 x cosine, at least 0; hessel: 2.5 x cosine, at least 0; dpo-vith: "
    "cosine",
    range_hint=(0.0, 50.0),
    licence="MIT",
    differentiable=True,
    temperature=1.0,
    variants=("torchmetrics", "hessel", "dpo-vith"),
    parts=(
        _clip("torchmetrics", "openai/clip-vit-large-patch14", 1.7, VIT_L),
        _clip("hessel", "openai/clip-vit-base-patch32", 0.6, VIT_B),
        _clip("dpo-vith", "laion/CLIP-ViT-H-14-laion2B-s32B-b79K", 3.9, VIT_H),
    ),
    source="Hessel et al., 2104.08718; torchmetrics; Diffusion-DPO's utilities",
    parity=f"{_TINY}; hessel: the published example with weights",
)

PICKSCORE = Card(
    name="pickscore",
    factory=f"{_HOST}:load_pickscore",
    kind="image-text",
    about="which of two images a Pick-a-Pic user would choose",
    scale="cosine x exp(logit scale), about 20; a difference of scores is the log odds of being "
    "chosen. As plain cosine divide by 100, as in flow_grpo by 26",
    range_hint=(10.0, 30.0),
    licence="MIT (code); weights as on the model's page",
    differentiable=True,
    parts=(
        Part(
            files=("model.safetensors", "pytorch_model.bin"),
            repo="yuvalkirstain/PickScore_v1",
            origin="hub yuvalkirstain/PickScore_v1",
            gigabytes=3.9,
            licence="MIT",
            parameters=VIT_H,
        ),
    ),
    source="Kirstain et al., 2305.01569, eq. 1; yuvalkirstain/PickScore",
    parity=_PARITY,
)

_HPS = Part(
    files=("HPS_v2_compressed.pt",),
    repo="xswu/HPSv2",
    origin="hub xswu/HPSv2",
    gigabytes=2.0,
    licence="Apache-2.0",
    parameters=VIT_H,
)

_HPS_VARIANTS = ("today", "2023")

HPSV2 = Card(
    name="hpsv2",
    factory=f"{_HOST}:load_hpsv2",
    kind="image-text",
    about="human preference score v2",
    scale="cosine, about 0.27; papers print it times 100",
    range_hint=(0.1, 0.4),
    licence="Apache-2.0",
    differentiable=True,
    temperature=0.01,
    variants=_HPS_VARIANTS,
    parts=(_HPS,),
    source="Wu et al., 2306.09341; tgxs002/HPSv2",
    parity=f"{_TINY}; published goldens with weights",
)

HPSV21 = Card(
    name="hpsv2.1",
    factory=f"{_HOST}:load_hpsv21",
    kind="image-text",
    about="human preference score v2.1; not comparable with v2",
    scale=HPSV2.scale,
    range_hint=(0.1, 0.4),
    licence="Apache-2.0",
    differentiable=True,
    temperature=0.01,
    variants=_HPS_VARIANTS,
    parts=(
        Part(
            files=("HPS_v2.1_compressed.pt",),
            repo="xswu/HPSv2",
            origin="hub xswu/HPSv2",
            gigabytes=2.0,
            licence="Apache-2.0",
            parameters=VIT_H,
        ),
    ),
    source=HPSV2.source,
    parity=f"{_TINY}; published goldens with weights",
)

LAION = Card(
    name="laion-aesthetic-v2",
    factory="diffpref.rewards.aesthetic:load_laion",
    kind="image",
    about="how beautiful people find an image, 1 to 10; the prompt is ignored",
    scale="mean opinion, nominally 1 to 10; real images 4 to 7",
    range_hint=(1.0, 10.0),
    licence="Apache-2.0 (head), MIT (CLIP)",
    differentiable=True,
    needs_prompt=False,
    parts=(
        Part(
            name="head",
            files=("sac+logos+ava1-l14-linearMSE.pth",),
            origin="GitHub christophschuhmann/improved-aesthetic-predictor",
            gigabytes=0.004,
            licence="Apache-2.0",
            parameters=927_969,
        ),
        Part(
            name="backbone",
            files=("model.safetensors", "pytorch_model.bin"),
            repo="openai/clip-vit-large-patch14",
            origin="hub openai/clip-vit-large-patch14",
            gigabytes=1.7,
            licence="MIT",
            parameters=VIT_L,
        ),
    ),
    source="christophschuhmann/improved-aesthetic-predictor",
    parity="the released head against its affine collapse; the tower as clipscore",
)

CARDS = (CLIPSCORE, PICKSCORE, HPSV2, HPSV21, LAION)
