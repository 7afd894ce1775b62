"""Recurrent networks as single ONNX operators: traced, torch unrolls them to one fixed length."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

# ONNX operator, where torch's gates are in its order, and what makes it compute the same.
_OPERATORS: dict[type[nn.RNNBase], tuple[str, tuple[int, ...], dict[str, int]]] = {
    nn.GRU: ("GRU", (1, 0, 2), {"linear_before_reset": 1}),
    nn.LSTM: ("LSTM", (0, 3, 1, 2), {}),
}


class RecurrentOperator(nn.Module):
    """Stands in for a network of torch while it is exported; of use in a graph alone.

    Args:
        network: runs forward only, batch first, with biases.
    """

    def __init__(self, network: nn.GRU | nn.LSTM) -> None:
        super().__init__()
        self.operator, order, self.attributes = _OPERATORS[type(network)]
        self.hidden = network.hidden_size
        self.num_layers = network.num_layers
        for layer in range(network.num_layers):
            weights = [
                torch.cat(
                    [getattr(network, f"{kind}_l{layer}").chunk(len(order))[i] for i in order]
                )
                for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            ]
            self.register_buffer(f"input_{layer}", weights[0].detach()[None])
            self.register_buffer(f"recurrence_{layer}", weights[1].detach()[None])
            self.register_buffer(f"bias_{layer}", torch.cat(weights[2:]).detach()[None])

    def forward(
        self, steps: Float[Tensor, "batch time width"]
    ) -> tuple[Float[Tensor, "batch time width"], None]:
        """Returns the states of the last layer; outside of a graph, only their shape is right."""
        states = steps.transpose(0, 1)
        for layer in range(self.num_layers):
            time, batch = states.shape[:2]
            attributes: Any = {"hidden_size": self.hidden, **self.attributes}
            states = torch.onnx.ops.symbolic(
                self.operator,
                (
                    states,
                    getattr(self, f"input_{layer}"),
                    getattr(self, f"recurrence_{layer}"),
                    getattr(self, f"bias_{layer}"),
                ),
                attributes,
                dtype=states.dtype,
                shape=(time, 1, batch, self.hidden),
            ).squeeze(1)
        return states.transpose(0, 1), None
