"""The simulated step: shapes give what a real step on the CPU gives."""

import pytest
import torch
from torch import nn

from pepr.errors import InputError
from pepr.models import simulation

BATCH = simulation.BATCH


def on_meta(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(*layers).to("meta")


def small(width: int = 8) -> nn.Module:
    return on_meta(
        nn.Conv2d(3, width, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, 2),
    )


def test_flops_and_parameters_of_a_hand_counted_network():
    step = simulation.simulate(small(), 16)
    convolution, linear = 2 * 16 * 16 * 8 * 3 * 9, 2 * 8 * 2
    assert step.flops == convolution + linear
    assert step.conv_flops == convolution and step.matmul_flops == linear and step.pointwise_flops == 0
    assert step.fine_tuned_params == 8 * 3 * 9 + 8 * 2 + 2


def test_activation_bytes_are_those_that_autograd_keeps_of_a_real_step():
    network = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.SiLU(), nn.Flatten(), nn.LazyLinear(2))
    images = torch.randn(BATCH, 3, 12, 12)
    network(images)
    state = {t.untyped_storage().data_ptr() for t in (*network.parameters(), *network.buffers())}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in state and storage.nbytes() % BATCH == 0:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = nn.functional.cross_entropy(network(images), torch.zeros(BATCH, dtype=torch.long))
    assert loss.requires_grad
    real = sum(kept.values()) / BATCH
    assert simulation.simulate(network.to("meta"), 12).activation_bytes == pytest.approx(real, abs=8)


def test_depthwise_and_grouped_convolutions_are_told_apart():
    step = simulation.simulate(
        on_meta(
            nn.Conv2d(3, 8, 1),
            nn.Conv2d(8, 8, 7, padding=3, groups=8),
            nn.Conv2d(8, 8, 3, groups=2),
            nn.Flatten(),
            nn.Linear(8 * 6 * 6, 2),
        ),
        8,
    )
    assert step.large_depthwise_flops == 2 * 8 * 8 * 8 * 49
    assert step.pointwise_flops == 2 * 8 * 8 * 8 * 3
    assert step.grouped_bytes > 0


def test_a_wider_network_keeps_and_moves_more():
    narrow, wide = simulation.simulate(small(8), 16), simulation.simulate(small(16), 16)
    for name in ("activation_bytes", "working_bytes_per_image", "bytes_moved", "working_bytes_fixed"):
        assert getattr(wide, name) > getattr(narrow, name), name
    assert wide.forward_ops == narrow.forward_ops


def test_a_recurrent_layer_is_a_few_operations_whatever_its_length():
    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(3, 4, batch_first=True, bidirectional=True)
            self.head = nn.Linear(8, 2)

        def forward(self, images):
            return self.head(self.lstm(images.flatten(2).transpose(1, 2))[0].mean(1))

    original = nn.LSTM.forward
    short, long = (simulation.simulate(Reader().to("meta"), size) for size in (4, 16))
    assert short.forward_ops == long.forward_ops
    assert long.flops > 10 * short.flops
    assert nn.LSTM.forward is original


def test_recomputing_keeps_less():
    kept = simulation.simulate(simulation.build("resnet18d"), 64)
    recomputed = simulation.simulate(simulation.build("resnet18d"), 64, checkpointing=True)
    assert recomputed.activation_bytes < kept.activation_bytes
    assert recomputed.backward_ops > kept.backward_ops


def test_an_unknown_name_and_an_impossible_size_are_input_errors():
    with pytest.raises(InputError, match="did you mean resnet18"):
        simulation.build("resnet18x")
    with pytest.raises(InputError, match="cannot train on 8 px"):
        simulation.simulate(simulation.build("adv_inception_v3".replace("adv_", "")), 8)
