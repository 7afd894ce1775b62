"""A pretrained network that reads text, and how its publisher makes one vector of a sentence."""

import inspect
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from jointspace.encoders.layers import hide, masked_max, masked_mean
from jointspace.encoders.pretrained import find_file, load_network, read_json_file
from jointspace.errors import InputError

_ACTIVATIONS = {"Identity": nn.Identity, "Tanh": nn.Tanh, "ReLU": nn.ReLU, "GELU": nn.GELU}
_OLD_POOLING = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_lasttoken": "lasttoken",
    "pooling_mode_weightedmean_tokens": "weightedmean",
}
_POOLINGS = ("cls", "mean", "max", "mean_sqrt_len_tokens", "lasttoken")
_OWN_POOLING = "network"
"""The network pools by itself, as the text towers of SigLIP and CLIP do."""


class SentenceNetwork(nn.Module):
    """A network of `transformers`, pooled as its publisher says.

    A folder in the layout of sentence-transformers names the pooling (`1_Pooling`), a dense layer
    behind it (`2_Dense`) and whether vectors are normalised; text towers of SigLIP and CLIP pool by
    themselves; of any other network the mean over the tokens is taken. The dense layer is applied
    to the single tokens too.

    Args:
        pretrained: folder in the Hugging Face or sentence-transformers layout, or an id on the hub.
        local_files_only: never ask the hub.

    Raises:
        InputError: there is no such network, it cannot be read, it reads no text, or a part of its
            layout is unknown.
        MissingExtraError: `transformers` is not installed.

    Source:
        Reimers and Gurevych 2019 for the poolings.
    """

    def __init__(self, pretrained: str, *, local_files_only: bool = False) -> None:
        super().__init__()
        self.transformer: Any = load_network(
            pretrained, part="text", local_files_only=local_files_only
        )
        parameters = inspect.signature(self.transformer.forward).parameters
        config: Any = self.transformer.config
        if "input_ids" not in parameters or not hasattr(config, "vocab_size"):
            raise InputError(f"text tower: '{pretrained}' reads no text; wanted a text model")
        self.vocab_size = int(config.vocab_size)
        self.max_tokens = _max_tokens(self.transformer)
        self.pad_id = int(getattr(config, "pad_token_id", None) or 0)
        # SigLIP is trained on texts padded to their full length, and reads the padding too.
        self.padded = "siglip" in str(config.model_type)
        layout = _Layout(pretrained, local_files_only=local_files_only)
        own = self.padded or "clip" in str(config.model_type)
        self.pooling = layout.pooling or (_OWN_POOLING if own else "mean")
        self.normalised = layout.normalised
        self.dense = layout.dense
        self.width = layout.dense_width or int(config.hidden_size)
        if self.pooling != _OWN_POOLING and getattr(self.transformer, "pooler", None) is not None:
            self.transformer._modules["pooler"] = None

    def forward(
        self, ids: Int[Tensor, "batch time"], valid: Bool[Tensor, "batch time"]
    ) -> tuple[Float[Tensor, "batch time width"], Float[Tensor, "batch width"]]:
        """Returns a vector of each token, and one of each text.

        Args:
            ids: token ids.
            valid: True where one is real; every text has one.
        """
        length = ids.shape[1]
        ids = ids.masked_fill(~valid, self.pad_id)
        if self.padded:
            ids = functional.pad(ids, (0, self.max_tokens - length), value=self.pad_id)
            output = self.transformer(input_ids=ids)
        else:
            output = self.transformer(input_ids=ids, attention_mask=valid.long())
        hidden = output.last_hidden_state[:, :length]
        if self.pooling == _OWN_POOLING:
            pooled = output.pooler_output
        else:
            pooled = _pooled(hidden, valid, self.pooling)
        hidden, pooled = self.dense(hidden), self.dense(pooled)
        return hidden, functional.normalize(pooled, dim=-1) if self.normalised else pooled


class _Layout:
    """What a folder in the layout of sentence-transformers says of the way from tokens to a vector.

    Attributes:
        pooling: None where there is no such layout.
        dense: the layer behind the pooling; the identity where there is none.
        dense_width: its outputs; 0 where there is none.
        normalised: whether vectors have length 1.
    """

    def __init__(self, source: str, *, local_files_only: bool) -> None:
        self.pooling: str | None = None
        self.dense: nn.Module = nn.Identity()
        self.dense_width = 0
        self.normalised = False
        self._source = source
        self._local_files_only = local_files_only
        for module in self._read("modules.json") or []:
            kind, path = str(module["type"]).rsplit(".", 1)[-1], str(module["path"])
            if kind == "Transformer" and not path:
                continue
            if kind == "Pooling":
                self.pooling = _pooling(self._read(f"{path}/config.json") or {}, source)
            elif kind == "Dense":
                self._add_dense(path)
            elif kind == "Normalize":
                self.normalised = True
            else:
                raise InputError(
                    f"text tower: modules.json of '{source}' has a part '{kind}' in '{path}'; "
                    "wanted Transformer at the top, Pooling, Dense and Normalize"
                )

    def _read(self, name: str) -> Any:
        return read_json_file(self._source, name, local_files_only=self._local_files_only)

    def _add_dense(self, path: str) -> None:
        sizes = self._read(f"{path}/config.json") or {}
        name = str(sizes.get("activation_function", "Identity")).rsplit(".", 1)[-1]
        if name not in _ACTIVATIONS or not {"in_features", "out_features"} <= set(sizes):
            raise InputError(
                f"text tower: {path}/config.json of '{self._source}' has activation '{name}'; "
                f"wanted in_features, out_features and one of {', '.join(_ACTIVATIONS)}"
            )
        linear = nn.Linear(
            sizes["in_features"], sizes["out_features"], bias=sizes.get("bias", True)
        )
        weights = self._weights(path)
        try:
            linear.load_state_dict({k.removeprefix("linear."): v for k, v in weights.items()})
        except RuntimeError as error:
            raise InputError(
                f"text tower: the weights in {path} of '{self._source}' do not fit its config.json"
            ) from error
        self.dense = nn.Sequential(self.dense, linear, _ACTIVATIONS[name]())
        self.dense_width = int(sizes["out_features"])

    def _weights(self, path: str) -> dict[str, Tensor]:
        from safetensors.torch import load_file  # noqa: PLC0415 -- as the others of the extra

        def find(name: str) -> str | None:
            return find_file(
                self._source, f"{path}/{name}", local_files_only=self._local_files_only
            )

        file = find("model.safetensors")
        if file is not None:
            return load_file(Path(file))
        file = find("pytorch_model.bin")
        if file is None:
            raise InputError(f"text tower: '{self._source}' has no weights in {path}")
        loaded: dict[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True)
        return loaded


def _pooling(stored: dict[str, Any], source: str) -> str:
    new = stored.get("pooling_mode")
    chosen = [new] if new else [name for key, name in _OLD_POOLING.items() if stored.get(key)]
    if len(chosen) != 1 or chosen[0] not in _POOLINGS:
        raise InputError(
            f"text tower: '{source}' pools by {' and '.join(map(str, chosen)) or 'nothing'}; "
            f"wanted one of {', '.join(_POOLINGS)}"
        )
    return str(chosen[0])


def _pooled(hidden: Tensor, valid: Tensor, pooling: str) -> Tensor:
    if pooling == "cls":
        return hidden[:, 0]
    if pooling == "max":
        return masked_max(hidden, valid)
    if pooling == "lasttoken":
        last = (valid.shape[1] - 1 - valid.flip(1).int().argmax(1))[:, None, None]
        return hidden.gather(1, last.expand(-1, 1, hidden.shape[2]))[:, 0]
    if pooling == "mean_sqrt_len_tokens":
        return hide(hidden, valid).sum(1) / valid.sum(1).clamp(min=1).sqrt()[:, None]
    return masked_mean(hidden, valid)


def _max_tokens(transformer: nn.Module) -> int:
    """The longest text: all positions, but those that RoBERTa and its like leave unused."""
    config: Any = transformer.config
    longest = int(getattr(config, "max_position_embeddings", None) or 512)
    for name, module in transformer.named_modules():
        is_table = isinstance(module, nn.Embedding) and name.endswith("position_embeddings")
        if is_table and module.padding_idx is not None:
            return longest - module.padding_idx - 1
    return longest
