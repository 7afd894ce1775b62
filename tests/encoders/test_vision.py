import pytest
import torch
from torch import nn

from jointspace.batch import ModalityInput
from jointspace.encoders.vision import FrameEncoder, VisionEncoder
from jointspace.errors import InputError
from tests.encoders.inputs import change, pictures

SIZES = {"image_px": 32, "num_cameras": 1, "channels": (8, 16), "width": 32}


def object_at(x, y, *, px=32, side=6):
    """A bright square on a grey table."""
    frame = torch.full((1, 1, 1, px, px, 3), 90, dtype=torch.uint8)
    frame[:, :, :, y : y + side, x : x + side, 0] = 250
    return ModalityInput(frame, torch.ones(1, 1, 1, dtype=torch.bool), torch.zeros(1, 1))


@pytest.mark.parametrize("separable", [False, True])
def test_row_16_an_object_moved_across_the_picture_gives_another_vector(separable):
    torch.manual_seed(0)
    chapter = nn.Sequential(
        nn.Conv2d(3, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d((1, 1)),
        nn.Flatten(),
        nn.Linear(64, 32),
    )
    left, right = object_at(4, 12), object_at(20, 12)
    old = [chapter(each.values[0, 0].permute(0, 3, 1, 2) / 255) for each in (left, right)]
    assert change(*old) < 0.005
    tower = VisionEncoder(**SIZES, separable=separable).eval()
    assert change(tower(left).pooled, tower(right).pooled) > 0.05


@pytest.mark.parametrize("separable", [False, True])
def test_row_16_position_is_quickly_learned(separable):
    # Regress (x, y) at half of the places of a board; the other half must come out right too.
    torch.manual_seed(0)
    tower = VisionEncoder(
        image_px=16, num_cameras=1, channels=(8, 16), width=16, separable=separable
    )
    head = nn.Linear(16, 2)
    optimiser = torch.optim.Adam([*tower.parameters(), *head.parameters()], lr=5e-3)
    places = [(x, y) for x in range(1, 13, 2) for y in range(1, 13, 2)]
    frames = torch.cat([object_at(x, y, px=16, side=4).values for x, y in places])
    known = torch.arange(len(places)) % 7 % 2 == 0
    wanted = torch.tensor(places, dtype=torch.float32) / 16

    def read(chosen):
        valid = torch.ones(int(chosen.sum()), 1, 1, dtype=torch.bool)
        return head(tower(ModalityInput(frames[chosen], valid, torch.zeros(len(valid), 1))).pooled)

    for _ in range(40):
        optimiser.zero_grad()
        (read(known) - wanted[known]).square().mean().backward()
        optimiser.step()
    error_px = 16 * float((read(~known) - wanted[~known]).detach().abs().mean())
    assert error_px < 1.2  # a tower that is blind to position is off by 3 on average


def test_row_8_the_tower_is_not_an_affine_map():
    tower = VisionEncoder(**SIZES).eval()
    a, b = (pictures((1,), cameras=1, time=1, px=32, seed=seed).values // 3 for seed in (0, 1))

    def read(frames):
        one = torch.ones(1, 1, 1, dtype=torch.bool)
        return tower(ModalityInput(frames, one, torch.zeros(1, 1))).pooled

    bend = read(a) + read(b) - read(a + b) - read(torch.zeros_like(a))
    assert bend.norm() > 0.05 * read(a).norm()


def test_coordinates_enter_like_two_further_colours():
    encoder = FrameEncoder(image_px=16, channels=(8,), width=8)
    picture = torch.randn(2, 3, 16, 16)
    joined = torch.cat([picture, encoder.coordinates.expand(2, -1, -1, -1)], dim=1)
    weight = torch.cat([encoder.stem.weight, encoder.coordinate_stem.weight], dim=1)
    expected = nn.functional.conv2d(joined, weight, encoder.stem.bias, stride=2, padding=2)
    ours = encoder.stem(picture) + encoder.coordinate_stem(encoder.coordinates)
    torch.testing.assert_close(ours, expected)
    assert encoder.coordinates[0, :, 0, 0].tolist() == [-1.0, -1.0]
    assert encoder.coordinates[0, :, 0, 15].tolist() == [1.0, -1.0]


@pytest.mark.parametrize("stem_stride", [2, 4])
def test_output_and_gradients_are_those_of_a_convolution_over_joined_coordinates(stem_stride):
    torch.manual_seed(0)
    encoder = FrameEncoder(image_px=16, channels=(8, 16), width=8, stem_stride=stem_stride)
    encoder.double().coordinates.normal_()  # of no symmetry that could hide swapped axes
    pictures = torch.randint(0, 256, (3, 16, 16, 3), dtype=torch.uint8)
    weights = torch.randn(3, 8, dtype=torch.float64)

    def joined():
        pixels = (pictures.permute(0, 3, 1, 2).double().contiguous() - 115) / 64
        seen = torch.cat([pixels, encoder.coordinates.expand(3, -1, -1, -1)], dim=1)
        stem, places = encoder.stem, encoder.coordinate_stem
        weight = torch.cat([stem.weight, places.weight], dim=1)
        grid = encoder.downsample(
            nn.functional.conv2d(seen, weight, stem.bias, stem.stride, stem.padding)
        )
        grid = grid + encoder.residual(grid)
        cells = encoder.reduce(grid).flatten(1)
        return encoder.out(encoder.flatten(cells) + encoder.highest(grid.amax((2, 3))))

    def gradients(output):
        return torch.autograd.grad((output * weights).sum(), list(encoder.parameters()))

    ours, expected = encoder(pictures), joined()
    torch.testing.assert_close(ours, expected)
    torch.testing.assert_close(gradients(ours), gradients(expected))


def test_each_camera_is_told_from_the_others():
    tower = VisionEncoder(image_px=16, num_cameras=2, channels=(8,), width=16).eval()
    made = pictures((1,), cameras=2, time=1)
    swapped = ModalityInput(made.values.flip(2), made.valid, made.time_s)
    assert (tower(swapped).pooled - tower(made).pooled).norm() > 1e-4


def test_a_camera_that_a_row_lacks_changes_nothing():
    tower = VisionEncoder(image_px=16, num_cameras=2, channels=(8,), width=16).eval()
    made = pictures((2,), cameras=2, time=2)
    one = made.valid.clone()
    one[:, :, 1] = False
    lacking = tower(ModalityInput(made.values, one, made.time_s))
    alone = tower(ModalityInput(made.values[:, :, :1], one[:, :, :1], made.time_s))
    torch.testing.assert_close(lacking.pooled, alone.pooled)


@pytest.mark.parametrize("pooling", ["frequency", "attention"])
def test_the_time_of_a_picture_matters(pooling):
    tower = VisionEncoder(
        image_px=16, num_cameras=1, channels=(8,), width=16, pooling=pooling
    ).eval()
    made = pictures((2,), cameras=1, time=2)
    later = ModalityInput(made.values, made.valid, made.time_s * 4)
    assert (tower(later).pooled - tower(made).pooled).norm() > 1e-4


def test_large_pictures_keep_a_small_grid():
    small = FrameEncoder(image_px=64, channels=(8, 8, 8), width=8)
    large = FrameEncoder(image_px=224, channels=(8, 8, 8), width=8)
    assert small.flatten.in_features == 8 * 8 * 8
    assert large.flatten.in_features == 8 * 7 * 7
    assert large(torch.zeros(1, 224, 224, 3, dtype=torch.uint8)).shape == (1, 8)


def test_a_coarser_stem_gives_the_grid_of_one_convolution_more():
    coarse = FrameEncoder(image_px=48, channels=(8, 8), width=8, stem_stride=4)
    fine = FrameEncoder(image_px=48, channels=(8, 8, 8), width=8)
    assert coarse.flatten.in_features == fine.flatten.in_features == 8 * 6 * 6
    picture = torch.zeros(2, 48, 48, 3, dtype=torch.uint8)
    picture[0, 4:8, 4:8] = picture[1, 40:44, 40:44] = 255
    here, there = coarse.eval()(picture)
    assert (here - there).norm() > 0.01 * here.norm()


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"channels": (8, 8, 8, 8), "stem_stride": 4}, "wanted at least one convolution"),
        ({"channels": (8, 8, 8, 8, 8, 8)}, "image_px is 32 .*wanted at least one convolution"),
        ({"channels": ()}, "wanted at least one convolution"),
        ({"num_cameras": 0}, "num_cameras is 0; wanted at least 1"),
        ({"num_heads": 5, "pooling": "attention"}, "width 32 does not divide into 5 heads"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(sizes, message):
    with pytest.raises(InputError, match=message):
        VisionEncoder(**{**SIZES, **sizes})


def test_pictures_as_numbers_and_read_before_give_what_bytes_give():
    torch.manual_seed(0)
    tower = VisionEncoder(image_px=16, num_cameras=2, channels=(8, 16), width=16).eval()
    seen = pictures((3, 2, 0))
    pixels = seen.values.flatten(0, 2).permute(0, 3, 1, 2).float()
    before = pixels.clone()
    vectors = tower.frame.read_pixels(pixels).view(*seen.valid.shape, 16)
    assert torch.equal(pixels, before)
    again = tower.read_frames(vectors, seen)
    expected = tower(seen)
    torch.testing.assert_close(again.pooled, expected.pooled)
    torch.testing.assert_close(again.tokens, expected.tokens)
