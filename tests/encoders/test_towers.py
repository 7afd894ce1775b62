"""What every tower promises, whatever it reads."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from jointspace.batch import ModalityInput
from jointspace.encoders.action import (
    ActionSequenceEncoder,
    CommandEncoder,
    DiscreteActionEncoder,
)
from jointspace.encoders.text import TextEncoder
from jointspace.encoders.trajectory import (
    FrequencyEncoder,
    TrajectoryConvolution,
    TrajectoryTransformer,
)
from jointspace.encoders.vision import VisionEncoder
from jointspace.errors import InputError
from tests.encoders.inputs import (
    IMAGE_PX,
    NUM_ACTIONS,
    VOCAB_SIZE,
    change,
    ids,
    pictures,
    reversed_in_time,
    row,
    steps,
    with_longer_padding,
    with_other_padding,
    words,
)


@dataclass(frozen=True)
class Case:
    build: object
    inputs: object
    wrong: ModalityInput


VISION = {"image_px": IMAGE_PX, "num_cameras": 2, "channels": (8, 12), "width": 16}
TOWERS = {
    "vision": Case(lambda: VisionEncoder(**VISION), pictures, pictures(px=IMAGE_PX + 2)),
    "vision separable": Case(
        lambda: VisionEncoder(**VISION, separable=True), pictures, pictures(cameras=3)
    ),
    "text": Case(
        lambda: TextEncoder(VOCAB_SIZE, width=16, layers=1, max_tokens=9),
        words,
        words((10,), time=10),
    ),
    "frequency": Case(lambda: FrequencyEncoder(4, width=16), steps, steps(channels=3)),
    "transformer": Case(
        lambda: TrajectoryTransformer(4, width=16, layers=1), steps, steps(channels=3)
    ),
    "convolution": Case(lambda: TrajectoryConvolution(4, width=16), steps, steps(channels=3)),
    "command": Case(lambda: CommandEncoder(4, width=16), steps, steps(channels=3)),
    "discrete": Case(lambda: DiscreteActionEncoder(NUM_ACTIONS, width=16), ids, steps()),
    "gru": Case(lambda: ActionSequenceEncoder(NUM_ACTIONS, width=16), ids, ids(known=40)),
    "lstm": Case(
        lambda: ActionSequenceEncoder(NUM_ACTIONS, width=16, cell="lstm", layers=2),
        ids,
        ids(known=40),
    ),
}


@pytest.fixture(params=list(TOWERS))
def case(request) -> Case:
    torch.manual_seed(0)
    return TOWERS[request.param]


@pytest.fixture
def tower(case) -> nn.Module:
    return case.build().eval()


def test_row_6_towers_declare_their_width(case, tower):
    features = tower(case.inputs())
    assert features.pooled.shape == (3, tower.width)
    assert features.tokens.shape[2] == tower.width
    assert features.tokens.isfinite().all()


def test_row_12_what_is_hidden_changes_nothing(case, tower):
    features, other = tower(case.inputs()), tower(with_other_padding(case.inputs()))
    torch.testing.assert_close(other.pooled, features.pooled)
    torch.testing.assert_close(other.tokens, features.tokens)


def test_row_12_longer_padding_changes_nothing(case, tower):
    longer = tower(with_longer_padding(case.inputs(), extra=4))
    torch.testing.assert_close(longer.pooled, tower(case.inputs()).pooled)


def test_rows_do_not_see_each_other(case, tower):
    together = tower(case.inputs())
    for index in range(3):
        alone = tower(row(case.inputs(), index))
        torch.testing.assert_close(together.pooled[index], alone.pooled[0])


def test_a_row_without_the_modality_is_zero_and_gradients_stay_finite(case, tower):
    features = tower(case.inputs())
    assert features.present.tolist() == [True, True, False]
    assert (features.pooled[2] == 0).all()
    assert (features.tokens[~features.valid] == 0).all()
    (features.pooled.square().sum() + features.tokens.square().sum()).backward()
    assert all(p.grad.isfinite().all() for p in tower.parameters())


def test_every_parameter_has_a_gradient(case, tower):
    features = tower(case.inputs())
    pooled, tokens = features.pooled, features.tokens
    (pooled.sum() + pooled.square().sum() + tokens.square().sum()).backward()
    without = [name for name, p in tower.named_parameters() if p.grad is None or not p.grad.any()]
    assert not without


def test_row_11_order_matters(case, tower):
    full = row(case.inputs(), 0)
    assert change(tower(full).pooled, tower(reversed_in_time(full)).pooled) > 0.01


@pytest.mark.parametrize("name", ["frequency", "transformer", "convolution", "command"])
def test_row_8_a_tower_is_not_an_affine_map(name):
    # An affine map f fulfils f(a) + f(b) = f(a + b - c) + f(c), as two stacked Linears do.
    a, b, c = (row(steps(seed=seed), 0) for seed in range(3))
    mixed = ModalityInput(a.values + b.values - c.values, a.valid, a.time_s)

    def bend(f):
        difference = f(a) + f(b) - f(mixed) - f(c)
        return float((difference.norm() / f(a).norm()).detach())

    stacked = nn.Sequential(nn.Flatten(), nn.Linear(20, 16), nn.Linear(16, 16))
    tower = TOWERS[name].build().eval()
    assert bend(lambda inputs: stacked(inputs.values)) < 1e-5
    assert bend(lambda inputs: tower(inputs).pooled) > 0.05


def test_wrong_input_is_refused(case, tower):
    with pytest.raises(InputError, match="wanted"):
        tower(case.wrong)


def test_weights_carry_over(case, tower):
    twin = case.build().eval()
    twin.load_state_dict(tower.state_dict())
    assert torch.equal(twin(case.inputs()).pooled, tower(case.inputs()).pooled)


def test_double_precision_agrees(case, tower):
    single = tower(case.inputs()).pooled
    double = tower.double()(case.inputs()).pooled
    assert double.dtype == torch.float64
    torch.testing.assert_close(single.double(), double, rtol=1e-3, atol=1e-4)


def test_half_precision_stays_close(case, tower):
    single = tower(case.inputs()).pooled
    with torch.autocast("cpu", torch.bfloat16):
        half = tower(case.inputs()).pooled
    assert half.isfinite().all()
    assert (half.float() - single).norm() < 0.1 * single.norm()


@pytest.mark.parametrize("name", ["vision", "frequency", "transformer", "convolution"])
def test_steps_without_seconds_are_refused(name):
    made = TOWERS[name].inputs()
    with pytest.raises(InputError, match="no time_s; wanted the seconds"):
        TOWERS[name].build()(ModalityInput(made.values, made.valid))
