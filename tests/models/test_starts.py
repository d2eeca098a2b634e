"""What a network starts from besides published weights: shuffled ones, and those of another task."""

import pytest
import torch

from pepr import models
from pepr.errors import ModelUnavailable
from pepr.files import checksum


def tensors(network):
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def test_shuffled_weights_keep_the_values_of_every_tensor_and_no_place():
    torch.manual_seed(3)
    plain = tensors(models.create("mobilenetv2_100", 2, image_size=32, pretrained=True).network)
    torch.manual_seed(3)
    made = models.create("mobilenetv2_100", 2, image_size=32, pretrained=True, shuffled=True)
    shuffled = tensors(made.network)
    assert made.weights.endswith(", values shuffled") and made.weights_sha256
    moved = 0
    for name, tensor in plain.items():
        if name.startswith("classifier"):
            assert torch.equal(tensor, shuffled[name]), "the head is drawn as for every start"
            continue
        assert torch.equal(tensor.flatten().sort().values, shuffled[name].flatten().sort().values), name
        moved += not torch.equal(tensor, shuffled[name])
    buffers = [name for name in plain if name.endswith(("running_mean", "running_var"))]
    assert buffers and all(not torch.equal(plain[name], shuffled[name]) for name in buffers)
    assert moved > 0.9 * sum(tensor.numel() > 1 for tensor in plain.values())


def test_weights_are_shuffled_alike_by_one_seed_and_otherwise_by_another():
    def made(seed):
        torch.manual_seed(seed)
        return tensors(
            models.create("mobilenetv2_100", 2, image_size=32, pretrained=True, shuffled=True).network
        )

    first, again, other = made(0), made(0), made(1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["conv_stem.weight"], other["conv_stem.weight"])


@pytest.mark.parametrize("model", ["mobilenetv2_050", "convnext_atto", "resnetv2_50"])
def test_a_kept_network_is_the_start_of_another_task_and_its_head_is_not(tmp_path, model):
    path = tmp_path / "weights" / "a-run.safetensors"
    torch.manual_seed(0)
    source = models.create(model, 7, image_size=32).network.to(memory_format=torch.channels_last)
    models.save_backbone(source, path)
    torch.manual_seed(1)
    made = models.create(model, 2, image_size=32, start=path)
    torch.manual_seed(1)
    fresh = models.create(model, 2, image_size=32)
    assert made.weights == "run:a-run" and made.weights_sha256 == checksum(path)
    ours, theirs, plain = (tensors(network) for network in (made.network, source, fresh.network))
    heads = [name for name in ours if ours[name].shape != theirs[name].shape]
    assert heads and all(torch.equal(ours[name], plain[name]) for name in heads)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours if name not in heads)


def test_a_kept_network_of_another_architecture_or_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "a-run.safetensors"
    models.save_backbone(models.create("mobilenetv2_050", 2, image_size=32).network, path)
    with pytest.raises(ModelUnavailable, match="not those of this architecture"):
        models.create("resnet18d", 2, image_size=32, start=path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ModelUnavailable, match="damaged"):
        models.create("mobilenetv2_050", 2, image_size=32, start=path)
