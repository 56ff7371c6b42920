"""The card of the aesthetic predictor that stands on SigLIP."""

from diffpref.rewards.cards.card import Card, Part

SIGLIP_VISION = 428_225_600
HEAD = 1_321_185

AESTHETIC_V25 = Card(
    name="aesthetic-v2.5",
    factory="diffpref.rewards.aesthetic:load_v25",
    kind="image",
    about="how beautiful people find an image, 1 to 10, by SigLIP; the prompt is ignored",
    scale="mean opinion, nominally 1 to 10; 5.5 and more is called great",
    range_hint=(1.0, 10.0),
    licence="AGPL-3.0 (head), Apache-2.0 (SigLIP)",
    differentiable=True,
    needs_prompt=False,
    parts=(
        Part(
            name="head",
            files=("aesthetic_predictor_v2_5.pth",),
            origin="GitHub discus0434/aesthetic-predictor-v2-5, folder models",
            gigabytes=0.003,
            licence="AGPL-3.0",
            parameters=HEAD,
        ),
        Part(
            name="backbone",
            files=("model.safetensors", "pytorch_model.bin"),
            repo="google/siglip-so400m-patch14-384",
            origin="hub google/siglip-so400m-patch14-384",
            gigabytes=3.5,
            licence="Apache-2.0",
            parameters=SIGLIP_VISION,
        ),
    ),
    source="discus0434/aesthetic-predictor-v2-5 (its published weights and description; no code)",
    parity="tiny towers equal to transformers' SigLIP; the head against its affine collapse; full "
    "key layout; no published golden",
)

CARDS = (AESTHETIC_V25,)
