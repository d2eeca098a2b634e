"""The model space: the paper's 131 architectures and the offline ones; their names, weights and creation.

Reading the space needs no torch; creating a model does.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources

from pepr.errors import InputError

SIZES = {
    "any": (1, 1),
    "at_least_20": (20, 1),
    "at_least_32": (32, 1),
    "at_least_75": (75, 1),
    "multiple_of_32": (32, 32),
    "img_size_at_least_20": (20, 1),
    "img_size_multiple_of_32": (32, 32),
    "img_size_multiple_of_128": (128, 128),
    "multiple_of_256": (256, 256),
}
"""The least size in pixels that a kind of architecture takes, and of what its sizes are multiples."""

IMAGE_SIZES = (32, 64, 128, 224, 256)
"""Sizes in pixels that `pepr models` reports on."""


@dataclass(frozen=True)
class Architecture:
    """One entry of the model space.

    `model` is the paper's name, `timm_name` today's; `num_params` counts parameters with 1,000 classes;
    `head_std` is the standard deviation with which timm 1.0.31 draws the classifier's weights for those;
    `cnn` and `efficient` are the authors' labels (`model_names.csv` of their repository);
    `family` is the timm module, see `family_of`; `sizing` says which input sizes the architecture accepts and
    how; `role` is `paper`, `offline` (weights in a package) or `added`.
    """

    model: str
    family: str
    sizing: str
    role: str
    note: str
    timm_name: str = ""
    weights_tag: str = ""
    weights_source: str = ""
    weights_licence: str = ""
    num_params: int = 0
    head_std: float = 0.0
    cnn: bool = False
    efficient: bool = False

    @property
    def weights(self) -> str:
        """The pinned pretrained weights, as `architecture.tag`; without a tag where timm has not these."""
        return ".".join(filter(None, (self.timm_name, self.weights_tag)))

    def accepts(self, image_size: int) -> bool:
        """Whether an input of `image_size` pixels can be run and trained on."""
        least, multiple = SIZES[self.sizing]
        return image_size >= least and image_size % multiple == 0

    def refusal(self, image_size: int) -> str:
        """Why an input of `image_size` pixels cannot be run, with the nearest sizes that can."""
        least, multiple = SIZES[self.sizing]
        first = -(-least // multiple) * multiple
        below = max(image_size // multiple * multiple, first)
        nearest = sorted({below, max(below + multiple, first)} if below < image_size else {first})
        return f"{self.model} cannot take {image_size} px images; the nearest that it takes: " + (
            " or ".join(f"{size} px" for size in nearest)
        )

    @property
    def is_built_for_a_size(self) -> bool:
        """Whether shapes of its tensors hang on the image size that it is built for."""
        return self.sizing.startswith("img_size")

    def creation_options(self, image_size: int) -> dict[str, int]:
        """What timm needs to be told to build the model for `image_size` pixels."""
        return {"img_size": image_size} if self.is_built_for_a_size and image_size != 256 else {}


HEADS_BY_CLASSES = ("dla", "efficientnet", "mobilenetv3")
"""Families whose heads timm draws from a range that grows as classes become fewer."""
BASELINES = {
    "majority": "the class shares of the training set, for every image",
    "file_order": "the class shares of the nearest training files: sees no pixel",
    "logistic_regression": "logistic regression on thumbnails",
    "nearest_neighbours": "nearest neighbours among thumbnails",
    "pca_svm": "principal components of thumbnails and a support vector machine with a radial kernel",
}
"""Predictors that are no networks: ranked with the models wherever a profile names them."""


@functools.cache
def model_space() -> dict[str, Architecture]:
    """Every architecture by name: the paper's 131 by size, then those with weights in packages."""
    text = (resources.files("pepr") / "model_space.csv").read_text()
    return {row["model"]: _architecture(row) for row in csv.DictReader(text.splitlines())}


def _architecture(row: dict[str, str]) -> Architecture:
    numbers = {"num_params": int(row["num_params"]), "head_std": float(row["head_std"])}
    flags = {name: row[name] == "yes" for name in ("cnn", "efficient")}
    return Architecture(**(row | numbers | flags))


def paper_models() -> list[str]:
    """The 131 architectures of the paper, smallest first."""
    return [name for name, entry in model_space().items() if entry.role == "paper"]


def find(model: str) -> Architecture:
    """The entry of a model. Raises InputError that suggests the nearest names."""
    if model in BASELINES:  # which take any size, have no weights to start from and no parameters to count
        return Architecture(model, "baseline", "any", "baseline", BASELINES[model])
    space = model_space()
    if model not in space:
        import difflib

        close = difflib.get_close_matches(model, [*space, *BASELINES], n=3)
        hint = f"; did you mean {', '.join(close)}?" if close else "; `pepr models` lists them"
        raise InputError(f"unknown model {model!r}{hint}")
    return space[model]


def family_of(models: Iterable[str]) -> list[str]:
    """The architecture family of each model, by the one definition that is used everywhere: the timm module
    of the class that it is built as; a model outside the space is a family of its own.

    A class builds from the same blocks what papers name differently: `efficientnet` holds MobileNetV2,
    MnasNet, FBNet and EfficientNet, all of inverted residual blocks (Sandler et al. 2018). Nobody chose these
    borders for a result, and a coarse one is cautious: families are what counts as independent.
    """
    space = model_space()
    return [space[model].family if model in space else model for model in models]
