"""Tiny random BLIP weights in Salesforce's, ImageReward's and transformers' layouts."""

from pathlib import Path

import torch
from transformers import BertTokenizer, BlipConfig, BlipForImageTextRetrieval

from diffpref.io import save_tensors
from tests.rewards.blip_shapes import TINY_SIZE, filled, imagereward_shapes, salesforce_shapes

WORDS = (
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    *"abcdefghijklmnopqrstuvwxyz0123456789.,!?'-",
    *(f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz0123456789"),
    *("two", "red", "##cle", "##cles", "cir", "blue", "square", "small", "on", "the", "left", "un"),
    *("##able", "tri", "##angle", "some", "thing", "things"),
)


def write_vocabulary(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in WORDS), encoding="utf-8")


def write_imagereward(folder: Path) -> None:
    """Write ImageReward's bare state dict, and the vocabulary beside it."""
    write_vocabulary(folder)
    torch.save(filled(imagereward_shapes(TINY_SIZE)), folder / "ImageReward.pt")


def write_salesforce(folder: Path, name: str, seed: int = 0) -> None:
    """Write {'model': ...} with everything training left in it."""
    folder.mkdir(parents=True, exist_ok=True)
    state = filled(salesforce_shapes(TINY_SIZE), seed)
    torch.save({"model": state, "epoch": 5, "config": {"image_size": 384}}, folder / name)


def hub_net(seed: int = 0) -> BlipForImageTextRetrieval:
    """Return transformers' own class at tiny size with Salesforce's epsilon."""
    size = TINY_SIZE
    config = BlipConfig(
        vision_config={
            "hidden_size": size.width,
            "intermediate_size": size.vision_inner,
            "num_hidden_layers": size.depth,
            "num_attention_heads": size.width // 64,
            "image_size": size.grid * size.patch,
            "patch_size": size.patch,
            "layer_norm_eps": 1e-6,
        },
        text_config={
            "vocab_size": size.rows,
            "hidden_size": size.text,
            "intermediate_size": size.text_inner,
            "num_hidden_layers": size.layers,
            "num_attention_heads": size.text // 64,
            "max_position_embeddings": size.places,
            "bos_token_id": size.rows - 2,
        },
        image_text_hidden_size=size.space,
    )
    net = BlipForImageTextRetrieval(config).eval()
    wanted = {name: tuple(value.shape) for name, value in net.state_dict().items()}
    net.load_state_dict(filled(wanted, seed))
    return net


def write_hub(folder: Path, seed: int = 0) -> None:
    """Write transformers' folder: config.json, model.safetensors, tokenizer.json."""
    folder.mkdir(parents=True, exist_ok=True)
    net = hub_net(seed)
    net.config.save_pretrained(str(folder))
    state = {name: value.contiguous() for name, value in net.state_dict().items()}
    save_tensors(folder / "model.safetensors", state, {"format": "pt"})
    BertTokenizer(vocab={word: i for i, word in enumerate(WORDS)}).save_pretrained(str(folder))


def write_itm(folder: Path) -> None:
    """Write two variants in Salesforce's layout and two in transformers'."""
    write_vocabulary(folder / "vocabulary")
    for data in ("coco", "flickr"):
        write_salesforce(folder / f"large-{data}", f"model_large_retrieval_{data}.pth")
        write_hub(folder / f"base-{data}")


def write_itc(folder: Path) -> None:
    """Write what blip-itm has, and the pre-trained model."""
    write_itm(folder)
    write_salesforce(folder / "blipscore", "model_large.pth")
