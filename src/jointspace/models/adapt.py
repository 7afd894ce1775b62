"""Starts a model from the weights of a run, and leaves all but new robots' input layers alone."""

from collections.abc import Collection, Mapping

from torch import Tensor, nn

from jointspace.encoders.embodiments import PerEmbodiment
from jointspace.encoders.pretrained import PretrainedNetwork
from jointspace.encoders.time_pool import FrequencyPool
from jointspace.errors import RunFolderError


def start_from_weights(
    model: nn.Module, weights: Mapping[str, Tensor], *, num_known: int, source: str
) -> None:
    """Gives a model of several robots the weights of one that knows the first of them.

    Args:
        model: changed in place, and only when everything fits; input layers of robots that the
            weights do not know, and gates, biases and layers of pretrained networks that they lack,
            keep what they have. The pictures of such robots are read over time as known ones are,
            until training changes it.
        weights: of a model that is built alike, for the first `num_known` embodiments; a model of
            a single data set is of one, whose layers are named without its number.
        num_known: embodiments that the weights know.
        source: where the weights are from, for the error.

    Raises:
        RunFolderError: the weights are of another model.
    """
    own = model.state_dict()
    paths = {path for path, _ in _layers(model)}
    renamed = {_numbered(name, paths): tensor for name, tensor in weights.items()}
    new = {
        f"{path}.{number}.{name}"
        for path, module in _layers(model)
        for number, layer in enumerate(module)
        if number >= num_known
        for name, _ in layer.named_parameters()
    }
    # A bias is the loss's own, a gate of 1 compares as the plain cosine, and what was frozen in a
    # pretrained network is what it is.
    kept = ("biases.", "gates.", *_networks(model))
    new |= {name for name in own if name.startswith(kept)}
    renamed = {
        name: tensor
        for name, tensor in renamed.items()
        if name in own or not name.startswith("biases.")
    }
    wrong = sorted(
        {name for name in renamed if name not in own or own[name].shape != renamed[name].shape}
        | (own.keys() - renamed.keys() - new)
    )
    if wrong:
        raise RunFolderError(
            f"{source}: its weights do not fit: {', '.join(wrong[:3])}; train.start_from wants the "
            "model configuration of the run that it names"
        )
    model.load_state_dict({**own, **renamed})
    for module in model.modules():
        if isinstance(module, FrequencyPool):
            module.begin_alike(num_known=num_known)


def train_adapters_alone(model: nn.Module, *, embodiments: Collection[int]) -> None:
    """Freezes every parameter but those of the input layers of some embodiments.

    Args:
        model: of several robots; changed in place.
        embodiments: numbers of the robots whose layers go on learning.
    """
    model.requires_grad_(requires_grad=False)
    for _, module in _layers(model):
        for number in embodiments:
            module[number].requires_grad_(requires_grad=True)


def _layers(model: nn.Module) -> list[tuple[str, PerEmbodiment]]:
    return [(path, m) for path, m in model.named_modules() if isinstance(m, PerEmbodiment)]


def _networks(model: nn.Module) -> list[str]:
    modules = model.named_modules()
    return [f"{path}.network." for path, m in modules if isinstance(m, PretrainedNetwork)]


def _numbered(name: str, paths: Collection[str]) -> str:
    """Returns the name of a layer that has no number as that of the first embodiment."""
    path, _, last = name.rpartition(".")
    return f"{path}.0.{last}" if path in paths else name
