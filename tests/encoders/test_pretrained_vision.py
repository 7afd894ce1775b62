"""Pretrained networks in the vision tower: read as their publisher reads them."""

import copy
import json
import sys
from types import SimpleNamespace

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from jointspace.batch import ModalityInput
from jointspace.encoders.pretrained_vision import PretrainedFrameEncoder
from jointspace.encoders.vision import VisionEncoder
from jointspace.errors import InputError, MissingExtraError
from tests.encoders import pretrained
from tests.encoders.inputs import pictures, with_longer_padding, with_other_padding
from tests.encoders.pretrained import PATCH, PX, VISION, WIDTH, save_vision


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("vision")
    return {name: save_vision(root / name.replace(" ", "-"), name) for name in VISION}


@pytest.fixture(params=list(VISION))
def name(request):
    return request.param


def encoder(source, **changes):
    torch.manual_seed(1)
    sizes = {"image_px": PX, "width": 16, "grid": 2, "local_files_only": True}
    return PretrainedFrameEncoder(source, **{**sizes, **changes})


def tower(source, **changes):
    frame = encoder(source, **changes)
    return VisionEncoder(image_px=frame_px(changes), num_cameras=2, width=16, frame=frame)


def frame_px(changes):
    return changes.get("image_px", PX)


def bytes_of(count, *, px=PX, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, px, px, 3), generator=generator, dtype=torch.uint8)


def published(source, seen):
    """What the network gives to who follows its publisher: scale, normalise, channels first."""
    mean, std = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.5, 0.25, 0.2])
    pixels = ((seen / 255 - mean) / std).permute(0, 3, 1, 2)
    network = transformers.AutoModel.from_pretrained(source).eval()
    with torch.no_grad():
        return network(pixel_values=pixels)


def test_the_summary_is_what_the_network_pools(folders, name):
    seen = bytes_of(3)
    expected = published(folders[name], seen).pooler_output.flatten(1)
    ours = encoder(folders[name]).eval().features(seen)
    assert ours.shape == (3, 5, WIDTH)
    torch.testing.assert_close(ours[:, 0], expected, rtol=1e-4, atol=1e-4)


def test_the_grid_averages_the_patches_where_they_are(folders, name):
    seen = bytes_of(2)
    hidden = published(folders[name], seen).last_hidden_state
    if hidden.ndim == 4:
        hidden = hidden.flatten(2).transpose(1, 2)
    side = 4  # 32 px in patches of 8
    patches = hidden[:, -side * side :].reshape(2, side, side, WIDTH)
    ours = encoder(folders[name]).eval().features(seen)[:, 1:].reshape(2, 2, 2, WIDTH)
    for y in range(2):
        for x in range(2):
            expected = sum(patches[:, 2 * y + dy, 2 * x + dx] for dy in range(2) for dx in range(2))
            torch.testing.assert_close(ours[:, y, x], expected / 4, rtol=1e-4, atol=1e-4)


def test_without_a_grid_the_summary_alone_is_read(folders):
    alone = encoder(folders["dinov2"], grid=0)
    assert alone.feature_shape == (1, WIDTH)
    assert alone(bytes_of(2)).shape == (2, 16)


def test_many_pictures_are_read_in_parts_with_equal_result(folders, monkeypatch):
    frame = encoder(folders["siglip"]).eval()
    whole = frame.features(bytes_of(5))
    monkeypatch.setattr("jointspace.encoders.pretrained_vision._PICTURES_AT_ONCE", 2)
    torch.testing.assert_close(frame.features(bytes_of(5)), whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("source", ["siglip", "clip", "dinov2", "dinov3", "vit"])
def test_other_picture_sizes_are_read_where_positions_can_be_interpolated(folders, source):
    larger = encoder(folders[source], image_px=48)
    assert larger(bytes_of(2, px=48)).shape == (2, 16)


def test_a_picture_size_that_the_network_cannot_read_names_the_one_it_wants(folders):
    with pytest.raises(InputError, match=r"image_px is 36; wanted 32, or .*patches of 8"):
        encoder(folders["siglip"], image_px=36)


def test_a_network_that_cannot_interpolate_names_the_size_it_wants(folders, monkeypatch):
    def fixed(self, pixel_values):
        if pixel_values.shape[-1] != PX:
            raise ValueError("Input image size doesn't match model")

    monkeypatch.setattr(transformers.SiglipVisionModel, "forward", fixed)
    with pytest.raises(InputError, match=r"does not read pictures of 48 px .*wanted 32, or"):
        encoder(folders["siglip"], image_px=48)


def gradients(module):
    return {n for n, p in module.named_parameters() if p.grad is not None and p.grad.any()}


def learn(module, inputs):
    module.train()
    (module(inputs).pooled.sum() + module(inputs).pooled.square().sum()).backward()


def test_a_frozen_network_stays_as_it_is_and_its_adapter_learns(folders, name):
    vision = tower(folders[name], dropout=0.5)
    learn(vision, pictures((2, 1), time=2, px=PX))
    assert not any(each.training for each in vision.frame.backbone.network.modules())
    learned = gradients(vision)
    assert not any("backbone" in each for each in learned)
    assert {"frame.summary.weight", "frame.reduce.weight", "frame.flatten.weight"} <= learned
    without = {n for n, p in vision.named_parameters() if p.requires_grad} - learned
    assert not without


def test_last_layers_trains_these_and_what_follows_them(folders):
    vision = tower(folders["siglip"], trainable="last-layers", num_trainable_layers=1)
    learn(vision, pictures((2, 1), time=2, px=PX))
    inside = "frame.backbone.network.network."
    parts = {n.removeprefix(inside) for n in gradients(vision) if n.startswith(inside)}
    tops = {".".join(n.split(".")[:3]) for n in parts if n.startswith("encoder")}
    assert tops == {"encoder.layers.2"}
    assert {n.split(".")[0] for n in parts} == {"encoder", "post_layernorm", "head"}


@pytest.mark.parametrize("trainable", ["last-layers", "full"])
def test_the_gradient_reaches_exactly_what_is_trainable(folders, name, trainable):
    layers = {"num_trainable_layers": 1}
    vision = tower(folders[name], trainable=trainable, **layers)
    learn(vision, pictures((2, 1), time=2, px=PX))
    wanted = {n for n, p in vision.named_parameters() if p.requires_grad}
    assert any("backbone" in each for each in wanted)
    with_gradient = {n for n, p in vision.named_parameters() if p.grad is not None}
    assert with_gradient == wanted


def test_more_layers_than_there_are_cannot_be_trained(folders):
    with pytest.raises(InputError, match="num_trainable_layers is 4; wanted 1 to 3"):
        encoder(folders["clip"], trainable="last-layers", num_trainable_layers=4)


def test_features_in_the_place_of_pictures_give_the_same(folders, name):
    vision = tower(folders[name]).eval()
    made = pictures((3, 2, 0), px=PX)
    with torch.no_grad():
        flat = vision.frame.features(made.values.flatten(0, 2))
        features = flat.view(*made.valid.shape, *flat.shape[1:])
        given = vision(ModalityInput(features, made.valid, made.time_s))
        live = vision(made)
    torch.testing.assert_close(given.pooled, live.pooled, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(given.tokens, live.tokens, rtol=1e-5, atol=1e-6)


def test_features_that_are_hidden_change_nothing_and_leave_gradients_finite(folders):
    vision = tower(folders["siglip"])
    valid = pictures((3, 2, 0), px=PX).valid
    values = torch.randn(*valid.shape, 5, WIDTH)
    made = ModalityInput(values, valid, torch.arange(3).expand(3, 3) * 0.5)
    expected = vision.eval()(made).pooled
    for other in (with_other_padding(made), with_longer_padding(made, extra=2)):
        torch.testing.assert_close(vision(other).pooled, expected, rtol=1e-4, atol=1e-5)
    vision(with_other_padding(made)).pooled.sum().backward()
    assert all(p.grad.isfinite().all() for p in vision.parameters() if p.grad is not None)


def test_features_of_another_shape_and_of_a_trained_network_are_refused(folders):
    made = ModalityInput(
        torch.zeros(1, 1, 1, 4, WIDTH), torch.ones(1, 1, 1, dtype=torch.bool), torch.zeros(1, 1)
    )
    with pytest.raises(InputError, match=r"wanted \(batch, time, camera, 5, 32\)"):
        tower(folders["siglip"])(made)
    with pytest.raises(InputError, match="trainable is 'full'; wanted pictures"):
        encoder(folders["siglip"], trainable="full")(torch.zeros(1, 5, WIDTH))


def test_frozen_weights_are_not_stored_and_come_back_from_their_folder(folders, name):
    vision = tower(folders[name]).eval()
    stored = vision.state_dict()
    inside = [key for key in stored if "backbone" in key]
    assert inside == ["frame.backbone.fingerprint"]
    torch.manual_seed(5)
    twin = tower(folders[name]).eval()
    twin.load_state_dict(stored)
    made = pictures((2, 1), time=2, px=PX)
    assert torch.equal(twin(made).pooled, vision(made).pooled)


@pytest.mark.parametrize("trainable", ["last-layers", "full"])
def test_what_was_trained_is_stored(folders, name, trainable):
    settings = {"trainable": trainable, "num_trainable_layers": 1}
    vision = tower(folders[name], **settings).eval()
    with torch.no_grad():
        for parameter in vision.parameters():
            if parameter.requires_grad:
                parameter.add_(0.01)
    twin = tower(folders[name], **settings).eval()
    made = pictures((2, 1), time=2, px=PX)
    assert not torch.equal(twin(made).pooled, vision(made).pooled)
    twin.load_state_dict(vision.state_dict())
    assert torch.equal(twin(made).pooled, vision(made).pooled)
    trained = {n for n, p in vision.named_parameters() if p.requires_grad}
    assert {n for n in vision.state_dict() if "backbone" in n and "finger" not in n} <= trained


def test_a_weight_that_should_be_stored_and_is_not_is_still_missed(folders):
    settings = {"trainable": "last-layers", "num_trainable_layers": 1}
    vision = tower(folders["siglip"], **settings)
    stored = vision.state_dict()
    lost = next(key for key in stored if "backbone.network" in key)
    del stored[lost]
    with pytest.raises(RuntimeError, match=lost):
        vision.load_state_dict(stored)


def test_other_weights_in_the_folder_are_refused(folders, tmp_path):
    stored = tower(folders["siglip"]).state_dict()
    other = tower(save_vision(tmp_path / "other", "siglip", seed=3))
    with pytest.raises(InputError, match=r"holds weights \w+, but this model was trained on"):
        other.load_state_dict(stored)


def test_a_network_trained_in_full_forgets_what_it_began_with(folders, tmp_path):
    vision = tower(folders["siglip"], trainable="full").eval()
    other = tower(save_vision(tmp_path / "other", "siglip", seed=3), trainable="full").eval()
    other.load_state_dict(vision.state_dict())
    made = pictures((2, 1), time=2, px=PX)
    assert torch.equal(other(made).pooled, vision(made).pooled)


def test_a_copy_stores_what_the_original_stores(folders):
    vision = tower(folders["siglip"])
    assert set(copy.deepcopy(vision).state_dict()) == set(vision.state_dict())


def test_the_vision_side_of_a_network_of_pictures_and_text_is_taken(tmp_path):
    sizes = {**pretrained._SIZES, "vocab_size": 24, "max_position_embeddings": 16}
    config = transformers.SiglipConfig(
        text_config={**sizes, "projection_size": WIDTH}, vision_config=pretrained._VISION
    )
    both = transformers.SiglipModel(config).eval()
    both.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0, 0, 0], "image_std": [1, 1, 1]})
    )
    frame = encoder(str(tmp_path)).eval()
    seen = bytes_of(2)
    with torch.no_grad():
        alone = both.vision_model(pixel_values=(seen / 255).permute(0, 3, 1, 2))
    torch.testing.assert_close(frame.features(seen)[:, 0], alone.pooler_output)
    assert not any("text" in name for name, _ in frame.named_parameters())


def test_a_pooler_without_weights_is_not_read(tmp_path):
    _, sizes = VISION["vit"]
    torch.manual_seed(0)
    network = transformers.ViTModel(transformers.ViTConfig(**sizes), add_pooling_layer=False)
    network.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0, 0, 0], "image_std": [1, 1, 1]})
    )
    seen = bytes_of(2)
    with torch.no_grad():
        hidden = network.eval()(pixel_values=(seen / 255).permute(0, 3, 1, 2)).last_hidden_state
    ours = encoder(str(tmp_path)).eval().features(seen)
    torch.testing.assert_close(ours[:, 0], hidden[:, 0], rtol=1e-5, atol=1e-5)


def test_files_that_lack_weights_are_refused(tmp_path, folders):
    source = save_vision(tmp_path / "cut", "siglip")
    file = tmp_path / "cut" / "model.safetensors"
    weights = load_file(file)
    lost = next(key for key in weights if "layers.1" in key)
    del weights[lost]
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"lack 1 weights, such as .*layers\.1"):
        encoder(source)


@pytest.mark.parametrize(
    ("processor", "message"),
    [
        (None, "has no preprocessor_config.json; wanted one that names image_mean"),
        ({"image_mean": [0.5]}, r"has image_mean \[0.5\] and image_std None; wanted three"),
    ],
)
def test_a_network_without_normalisation_is_refused(tmp_path, processor, message):
    source = save_vision(tmp_path / "net")
    file = tmp_path / "net" / "preprocessor_config.json"
    file.unlink()
    if processor is not None:
        file.write_text(json.dumps(processor))
    with pytest.raises(InputError, match=message):
        encoder(source)


def test_pixels_that_are_not_scaled_or_not_normalised_are_taken_as_they_are(tmp_path):
    source = save_vision(tmp_path / "net")
    file = tmp_path / "net" / "preprocessor_config.json"
    file.write_text(json.dumps({"do_normalize": False, "do_rescale": False}))
    frame = encoder(source)
    assert (frame.mean.tolist(), frame.deviation.tolist()) == ([0.0] * 3, [1.0] * 3)


def test_a_text_network_and_a_network_of_patch_lists_are_refused(tmp_path):
    processor = json.dumps({"image_mean": [0, 0, 0], "image_std": [1, 1, 1]})
    text = pretrained.save_text(tmp_path / "text")
    (tmp_path / "text" / "preprocessor_config.json").write_text(processor)
    with pytest.raises(InputError, match="reads no pictures; wanted a vision model"):
        encoder(text)
    sizes = {**pretrained._SIZES, "num_patches": 16, "patch_size": PATCH}
    lists = pretrained.save(tmp_path / "lists", "Siglip2Vision", sizes)
    (tmp_path / "lists" / "preprocessor_config.json").write_text(processor)
    with pytest.raises(InputError, match="as lists of patches; wanted a network of one picture"):
        encoder(lists)


def test_a_finer_grid_than_the_network_has_is_refused(folders):
    with pytest.raises(InputError, match=r"makes 4 x 4 cells of 32 px; wanted .*got 5"):
        encoder(folders["siglip"], grid=5)


def test_a_network_that_is_not_there_and_a_missing_package_are_named(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"no pretrained network .*wanted a folder"):
        encoder(str(tmp_path / "none"))
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'jointspace\[pretrained\]'"):
        encoder("anything")


def test_half_and_double_precision_agree(folders):
    vision = tower(folders["dinov2"]).eval()
    made = pictures((2, 1), time=2, px=PX)
    single = vision(made).pooled
    with torch.autocast("cpu", torch.bfloat16):
        half = vision(made).pooled
    assert (half.float() - single).norm() < 0.1 * single.norm()
    torch.testing.assert_close(vision.double()(made).pooled.float(), single, rtol=1e-3, atol=1e-4)


class Convolutions(torch.nn.Module):
    """A network without layers in a list, whose output has no grid when it is flat."""

    def __init__(self, *, flat):
        super().__init__()
        self.config = SimpleNamespace(image_size=[PX, PX])
        self.convolution = torch.nn.Conv2d(3, WIDTH, 8, stride=8)
        self.flat = flat

    def forward(self, pixel_values):
        hidden = self.convolution(pixel_values)
        flat = hidden.flatten(2)[..., :7].transpose(1, 2)
        return SimpleNamespace(last_hidden_state=flat if self.flat else hidden)


def test_networks_of_other_makes_are_read_or_refused(folders, monkeypatch):
    made = Convolutions(flat=False)
    monkeypatch.setattr(
        "jointspace.encoders.pretrained_vision.load_network", lambda *_, **settings: made
    )
    seen = bytes_of(2)
    features = encoder(folders["siglip"]).features(seen)
    torch.testing.assert_close(features[:, 0], features[:, 1:].mean(1))
    with pytest.raises(InputError, match=r"has no list of layers; wanted trainable = 'frozen' or"):
        encoder(folders["siglip"], trainable="last-layers")
    made.flat = True
    with pytest.raises(InputError, match="makes 7 tokens, which are no grid; wanted a network"):
        encoder(folders["siglip"])


def test_pictures_as_numbers_give_what_bytes_give(tmp_path):
    encoder = PretrainedFrameEncoder(save_vision(tmp_path), image_px=PX, width=16, grid=2).eval()
    made = torch.randint(0, 256, (2, PX, PX, 3), dtype=torch.uint8)
    numbers = made.permute(0, 3, 1, 2).float()
    torch.testing.assert_close(encoder.read_pixels(numbers), encoder(made))
