import pytest
import torch
from torch import nn

from jointspace.batch import ModalityInput
from jointspace.encoders.action import (
    ActionSequenceEncoder,
    CommandEncoder,
    DiscreteActionEncoder,
)
from jointspace.errors import InputError
from tests.encoders.inputs import change, ids, steps


class ChapterActionSequenceEncoder(nn.Module):
    """The chapter's: the LSTM's last state, wherever the padding ends."""

    def __init__(self):
        super().__init__()
        self.action_embedding = nn.Embedding(5, 16)
        self.lstm = nn.LSTM(16, 16, batch_first=True)
        self.projection = nn.Linear(16, 16)

    def forward(self, inputs):
        _, (hidden, _) = self.lstm(self.action_embedding(inputs.values))
        return self.projection(hidden[-1])


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_row_15_two_padded_sequences_keep_apart(cell):
    torch.manual_seed(0)
    values = torch.zeros(2, 60, dtype=torch.long)
    values[0, :3], values[1, :3] = torch.tensor([1, 2, 3]), torch.tensor([4, 4, 2])
    valid = torch.zeros(2, 60, dtype=torch.bool)
    valid[:, :3] = True
    inputs = ModalityInput(values, valid)
    chapter = ChapterActionSequenceEncoder()(inputs)
    assert change(chapter[0], chapter[1]) < 1e-4
    pooled = ActionSequenceEncoder(5, width=16, cell=cell).eval()(inputs).pooled
    assert change(pooled[0], pooled[1]) > 0.1


def test_row_15_a_sequence_is_read_at_its_last_valid_step():
    tower = ActionSequenceEncoder(5, width=8).eval()
    features = tower(ids((5, 3, 0)))
    assert torch.equal(features.pooled[0], features.tokens[0, 4])
    assert torch.equal(features.pooled[1], features.tokens[1, 2])


def test_row_15_padding_is_none_of_the_actions():
    tower = ActionSequenceEncoder(5, width=8)
    assert tower.actions.padding_idx == 0
    assert tower.actions.num_embeddings == 6


def test_a_gap_in_a_sequence_is_closed():
    tower = ActionSequenceEncoder(5, width=8).eval()
    gap = ModalityInput(torch.tensor([[1, 4, 2]]), torch.tensor([[True, False, True]]))
    closed = ModalityInput(torch.tensor([[1, 2]]), torch.tensor([[True, True]]))
    torch.testing.assert_close(tower(gap).pooled, tower(closed).pooled)


@pytest.mark.parametrize("tower", [CommandEncoder(4, width=8), DiscreteActionEncoder(5, width=8)])
def test_single_command_is_the_first_valid_step(tower):
    made = steps((5,)) if isinstance(tower, CommandEncoder) else ids((5,))
    tower.eval()
    hidden = made.valid.clone()
    hidden[:, :2] = False
    later = tower(ModalityInput(made.values, hidden, made.time_s)).pooled
    alone = tower(ModalityInput(made.values[:, 2:3], hidden[:, 2:3])).pooled
    torch.testing.assert_close(later, alone)


@pytest.mark.parametrize("tower", [DiscreteActionEncoder, ActionSequenceEncoder])
def test_discrete_towers_refuse_an_empty_action_set_and_unknown_ids(tower):
    with pytest.raises(InputError, match="num_actions is 0; wanted the size of the action set"):
        tower(0)
    with pytest.raises(InputError, match="reach from 0 to 7; wanted 0 to 4"):
        tower(5)(ModalityInput(torch.tensor([[0, 7]]), torch.ones(1, 2, dtype=torch.bool)))
