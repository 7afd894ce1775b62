"""Networks that others have trained: loaded by hub id or folder, frozen or trained on in part."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from jointspace.errors import InputError, MissingExtraError

Trainable = Literal["frozen", "last-layers", "full"]
"""What of a pretrained network is trained: nothing, its last layers, or everything."""

EXTRA = "pretrained"
"""The extra that installs what pretrained networks need."""

FINGERPRINT = "fingerprint"
"""Name of the buffer that says which weights a network was loaded with."""


class PretrainedNetwork(nn.Module):
    """A pretrained network, whose frozen weights are named in a checkpoint rather than stored.

    What is trained is stored as usual. What is frozen is read again from where it came from; a
    fingerprint of all weights, stored in its place, tells whether it is still the same.

    Args:
        network: the loaded network.
        source: where it came from, for messages.
        tower: whose network it is, for messages.
        trainable: what is trained.
        num_trainable_layers: how many layers `last-layers` trains, and with them all that follows.
        probe: runs the network on a small input and returns all that the tower uses of it. What
            that does not depend on (a pooler that nobody reads) is frozen too.

    Raises:
        InputError: the network has fewer layers than are to be trained, or none that are named.
    """

    fingerprint: Tensor

    def __init__(
        self,
        network: nn.Module,
        *,
        source: str,
        tower: str,
        trainable: Trainable,
        num_trainable_layers: int,
        probe: Callable[[nn.Module], Tensor],
    ) -> None:
        super().__init__()
        self.network = network
        self.source = source
        self.tower = tower
        self.trainable = trainable
        self.register_buffer(FINGERPRINT, weights_fingerprint(network))
        trained = _trained_modules(
            network, trainable, num_trainable_layers, where=f"{tower}: '{source}'"
        )
        self._trained = tuple(trained.values())
        network.eval().requires_grad_(requires_grad=False)
        for module in trained.values():
            module.requires_grad_(requires_grad=True)
        _freeze_unused(network, probe)
        frozen = {name for name, each in network.named_parameters() if not each.requires_grad}
        prefixes = tuple(f"{name}." if name else "" for name in trained)
        self._stored = frozenset(
            f"network.{name}"
            for name in network.state_dict()
            if name not in frozen and name.startswith(prefixes)
        )
        self._prefix = ""
        for register, hook in (
            (self.register_state_dict_post_hook, _leave_out_frozen),
            (self.register_load_state_dict_pre_hook, _refuse_other_weights),
            (self.register_load_state_dict_post_hook, _expect_no_frozen),
        ):
            register(hook)  # type: ignore[no-untyped-call]
        self.train(self.training)

    def train(self, mode: bool = True) -> "PretrainedNetwork":  # noqa: FBT001, FBT002 -- of torch
        """Sets the mode of what is trained; the frozen part stays in evaluation mode."""
        super().train(mode)
        self.network.eval()
        for module in self._trained:
            module.train(mode)
        return self

    def forward(self, *arguments: Tensor) -> Any:
        """Returns what the network returns, without a graph where all of it is frozen."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.trainable != "frozen"):
            return self.network(*arguments)

    def difference(self, stored: Tensor) -> str:
        """Returns what is wrong if weights with another fingerprint were trained on, else "".

        A network that is trained in full is stored in full, and is the same whatever it began with.
        """
        ours = self.fingerprint.cpu()
        if self.trainable == "full" or torch.equal(stored.cpu(), ours):
            return ""
        return (
            f"{self.tower}: '{self.source}' holds weights {_short(ours)}, but this model was "
            f"trained on weights {_short(stored)}; wanted the same files as in training"
        )


def load_network(
    source: str, *, part: Literal["vision", "text"], local_files_only: bool = False
) -> nn.Module:
    """Loads a network of `transformers` in float32, and of one that reads both the part asked for.

    Args:
        source: folder in the Hugging Face layout, or the id of a model on the hub.
        part: which side of a network that reads pictures and text, such as SigLIP or CLIP.
        local_files_only: never ask the hub.

    Returns:
        The network; a pooler that its files hold no weights for is taken out.

    Raises:
        InputError: there is no such model, it cannot be read, its files lack weights, or it is no
            network of this kind.
        MissingExtraError: `transformers` is not installed.
    """
    try:
        import transformers  # noqa: PLC0415 -- an extra, slow to import
        from safetensors import SafetensorError  # noqa: PLC0415 -- as above
    except ImportError as error:
        raise MissingExtraError("transformers", EXTRA) from error
    tower = f"{part} tower"
    try:
        config = transformers.AutoConfig.from_pretrained(source, local_files_only=local_files_only)
        loaded, about = _model_class(transformers, config).from_pretrained(
            source,
            config=config,
            local_files_only=local_files_only,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        cause = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{tower}: no pretrained network '{source}' ({cause}); "
            "wanted a folder in the Hugging Face layout or the id of a model on the hub"
        ) from error
    network: Any = getattr(loaded, f"{part}_model", loaded)
    if part == "text" and getattr(loaded.config, "is_encoder_decoder", False):
        network = loaded.get_encoder()
    prefix = "" if network is loaded else f"{part}_model."
    missing = {str(k).removeprefix(prefix) for k in about["missing_keys"] if k.startswith(prefix)}
    if any(name.startswith("pooler.") for name in missing):
        network.pooler = None
        missing = {name for name in missing if not name.startswith("pooler.")}
    if missing:
        raise InputError(
            f"{tower}: the files of '{source}' lack {len(missing)} weights, such as "
            f"{min(missing)}; wanted a network that was trained whole"
        )
    return network


def read_json_file(source: str, name: str, *, local_files_only: bool = False) -> Any:
    """Reads a small JSON file of a pretrained network.

    Args:
        source: its folder, or the id of a model on the hub.
        name: path of the file below it.
        local_files_only: never ask the hub.

    Returns:
        Its content; None where there is no such file.

    Raises:
        InputError: the file is no JSON, or the hub cannot be asked whether there is one.
    """
    path = find_file(source, name, local_files_only=local_files_only)
    if path is None:
        return None
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: is no valid JSON: {error}") from error


def find_file(source: str, name: str, *, local_files_only: bool = False) -> str | None:
    """Returns the path of a file of a pretrained network on this machine; None if there is none.

    Raises:
        InputError: the hub cannot be asked whether there is one. To take it for missing would make
            another network of the same weights.
    """
    from transformers.utils.hub import cached_file  # noqa: PLC0415 -- an extra

    try:
        path = cached_file(
            source,
            name,
            local_files_only=local_files_only,
            _raise_exceptions_for_missing_entries=False,
        )
    except OSError as error:
        raise InputError(
            f"'{source}': cannot tell whether it has a file {name} "
            f"({str(error).strip().splitlines()[0]}); load it once with a connection to the hub"
        ) from error
    return None if path is None else str(path)


def weights_fingerprint(network: nn.Module) -> Tensor:
    """Returns the SHA-256 of all names, shapes, types and values of a network's weights, 32 bytes.

    The same for the same weights in whatever file they came.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        array = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {array.dtype} {tuple(array.shape)}\n".encode())
        digest.update(memoryview(array.reshape(-1).view(torch.uint8).numpy()))
    return torch.frombuffer(bytearray(digest.digest()), dtype=torch.uint8)


def check_fingerprints(model: nn.Module, stored: Mapping[str, Tensor]) -> str:
    """Compares the pretrained networks of a model with those that stored weights were trained on.

    Args:
        model: what the weights are for.
        stored: its weights by name.

    Returns:
        What is wrong with the first that differs; "" if none does.
    """
    for name, module in model.named_modules():
        key = f"{name}.{FINGERPRINT}" if name else FINGERPRINT
        if isinstance(module, PretrainedNetwork) and key in stored:
            difference = module.difference(stored[key])
            if difference:
                return difference
    return ""


def _model_class(transformers: Any, config: Any) -> Any:
    """Returns what loads a network: the automatic class, or the one that its files name.

    A text tower alone, such as SigLIP's, is unknown to the automatic class.
    """
    named = [getattr(transformers, name, None) for name in config.architectures or ()]
    if type(config) not in transformers.AutoModel._model_mapping and named and named[0]:
        return named[0]
    return transformers.AutoModel


def _trained_modules(
    network: nn.Module, trainable: Trainable, num_layers: int, *, where: str
) -> dict[str, nn.Module]:
    """Returns the modules that are trained, by name; the whole network has the empty name."""
    if trainable == "frozen":
        return {}
    if trainable == "full":
        return {"": network}
    lists = {n: m for n, m in network.named_modules() if isinstance(m, nn.ModuleList)}
    if not lists:
        raise InputError(f"{where} has no list of layers; wanted trainable = 'frozen' or 'full'")
    path = max(lists, key=lambda name: sum(p.numel() for p in lists[name].parameters()))
    layers = lists[path]
    if not 1 <= num_layers <= len(layers):
        raise InputError(
            f"{where}: num_trainable_layers is {num_layers}; wanted 1 to {len(layers)}"
        )
    trained = {f"{path}.{i}": layers[i] for i in range(len(layers) - num_layers, len(layers))}
    parent, module = "", network
    for name in path.split("."):
        children = dict(module.named_children())
        names = list(children)
        for later in names[names.index(name) + 1 :]:
            trained[f"{parent}{later}"] = children[later]
        parent, module = f"{parent}{name}.", children[name]
    return trained


def _freeze_unused(network: nn.Module, probe: Callable[[nn.Module], Tensor]) -> None:
    """Freezes what the tower does not depend on, which would be stored for nothing."""
    trained = [each for each in network.parameters() if each.requires_grad]
    if not trained:
        return
    with torch.enable_grad():
        gradients = torch.autograd.grad(probe(network).sum(), trained, allow_unused=True)
    for parameter, gradient in zip(trained, gradients, strict=True):
        parameter.requires_grad_(gradient is not None)


def _leave_out_frozen(
    module: PretrainedNetwork, state: dict[str, Any], prefix: str, _metadata: dict[str, Any]
) -> None:
    for name in module.network.state_dict():
        if f"network.{name}" not in module._stored:
            state.pop(f"{prefix}network.{name}", None)


def _refuse_other_weights(
    module: PretrainedNetwork, state: Mapping[str, Tensor], prefix: str, *_: Any
) -> None:
    module._prefix = prefix
    stored = state.get(f"{prefix}{FINGERPRINT}")
    difference = "" if stored is None else module.difference(stored)
    if difference:
        raise InputError(difference)


def _expect_no_frozen(module: PretrainedNetwork, keys: Any) -> None:
    names = {f"network.{name}" for name in module.network.state_dict()} - module._stored
    frozen = {f"{module._prefix}{name}" for name in names}
    keys.missing_keys[:] = [key for key in keys.missing_keys if key not in frozen]


def _short(fingerprint: Tensor) -> str:
    return bytes(fingerprint.cpu().tolist()).hex()[:12]
