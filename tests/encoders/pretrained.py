"""Small pretrained networks in the Hugging Face layout, made on the spot."""

import json

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

PX, PATCH, WIDTH = 32, 8, 32
_SIZES = {
    "hidden_size": WIDTH,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 48,
}
_VISION = {**_SIZES, "image_size": PX, "patch_size": PATCH}
VISION = {
    "siglip": ("SiglipVision", _VISION),
    "clip": ("CLIPVision", _VISION),
    "dinov2": ("Dinov2", _VISION),
    "dinov2 with registers": ("Dinov2WithRegisters", _VISION),
    "dinov3": ("DINOv3ViT", _VISION),
    "vit": ("ViT", _VISION),
    "swin": (
        "Swin",
        {
            "image_size": PX,
            "patch_size": 2,
            "embed_dim": 8,
            "depths": [1, 1, 1],
            "num_heads": [2] * 3,
        }
        | {"window_size": 4},
    ),
    "convnext": ("ConvNext", {"depths": [1, 1], "hidden_sizes": [8, WIDTH], "num_stages": 2}),
}
_TEXT = {**_SIZES, "vocab_size": 24, "max_position_embeddings": 16}
_IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 3}
TEXT = {
    "bert": ("Bert", _TEXT),
    "roberta": ("Roberta", {**_TEXT, "pad_token_id": 1}),
    "mpnet": ("MPNet", {**_TEXT, "pad_token_id": 1}),
    "clip text": ("CLIPText", {**_TEXT, **_IDS}),
    "siglip text": ("SiglipText", {**_TEXT, **_IDS, "projection_size": WIDTH}),
    "t5": (
        "T5",
        {
            "vocab_size": 24,
            "d_model": WIDTH,
            "d_kv": 16,
            "d_ff": 48,
            "num_layers": 3,
            "num_heads": 2,
        }
        | {"decoder_start_token_id": 0},
    ),
    "qwen": ("Qwen3", {**_TEXT, **_IDS, "num_key_value_heads": 2, "head_dim": 16}),
}


def save(folder, kind, sizes, *, seed=0):
    """Writes a network with random weights."""
    torch.manual_seed(seed)
    network = getattr(transformers, f"{kind}Model")(getattr(transformers, f"{kind}Config")(**sizes))
    for parameter in network.parameters():  # biases and scales too, which begin at 0 and 1
        torch.nn.init.normal_(parameter, std=0.2)
    network.save_pretrained(folder)
    return str(folder)


def save_vision(folder, name="siglip", *, seed=0, mean=(0.5, 0.4, 0.3), std=(0.5, 0.25, 0.2)):
    kind, sizes = VISION[name]
    processor = {"image_mean": mean, "image_std": std, "size": {"height": PX, "width": PX}}
    source = save(folder, kind, sizes, seed=seed)
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return source


def save_text(folder, name="bert", *, seed=0, **sizes):
    kind, defaults = TEXT[name]
    return save(folder, kind, {**defaults, **sizes}, seed=seed)


def save_tokenizer(folder, words):
    """A tokenizer of whole words, with the special ids of BERT."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    ids = {word: number for number, word in enumerate([*special, *words])}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))  # noqa: S106 -- no password
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(special)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
