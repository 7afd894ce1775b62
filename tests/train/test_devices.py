"""Device, precision and repeatability."""

import pytest
import torch

from jointspace.errors import ConfigError
from jointspace.train import devices
from jointspace.train.devices import autocast, choose_device, repeatable
from jointspace.train.launch import Place

CPU = torch.device("cpu")


def test_auto_takes_a_device_that_exists():
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert choose_device("auto").type == expected
    assert choose_device("cpu") == CPU


def test_a_device_that_does_not_exist_is_a_mistake_in_the_configuration():
    with pytest.raises(ConfigError, match=r"train\.device: 'quantum' cannot be used: .*'cpu'") as e:
        choose_device("quantum")
    assert "\n" not in str(e.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a graphics processor")
def test_a_missing_graphics_processor_is_a_mistake_in_the_configuration():
    with pytest.raises(ConfigError, match=r"train\.device: 'cuda' cannot be used"):
        choose_device("cuda")


@pytest.mark.parametrize(
    ("precision", "capabilities", "dtype"),
    [
        ("fp32", {"avx512_bf16": True}, torch.float32),
        ("bf16", {}, torch.bfloat16),
        ("auto", {"avx512_bf16": True}, torch.bfloat16),
        ("auto", {"amx_bf16": True}, torch.bfloat16),
        ("auto", {"avx512_bf16": False, "avx2": True}, torch.float32),
    ],
)
def test_half_precision_is_used_where_it_pays(monkeypatch, precision, capabilities, dtype):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    layer, row = torch.nn.Linear(4, 4), torch.ones(1, 4)
    with autocast(precision, CPU):
        assert layer(row).dtype == dtype


def test_torch_is_left_as_it_was():
    threads = torch.get_num_threads()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with repeatable(CPU, num_threads=threads + 1):
        assert torch.get_num_threads() == threads + 1
        torch.manual_seed(1)
        torch.rand(100)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.rand(3), expected)


def test_each_of_several_processes_takes_its_own_graphics_processor(monkeypatch):
    chosen = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    assert devices._own_device("cuda", Place(3, 4, 1, 2)) == torch.device("cuda", 1)
    assert chosen == [1]
    with pytest.raises(ConfigError, match="3 processes on a machine with 2 graphics processors"):
        devices._own_device("cuda", Place(0, 3, 0, 3))
    with pytest.raises(ConfigError, match="2 processes cannot share 'cuda:0'; wanted 'cuda'"):
        devices._own_device("cuda:0", Place(0, 2, 0, 2))


def test_several_processes_share_the_processor():
    assert choose_device("cpu", place=Place(1, 2, 1, 2)) == CPU
