"""The figures of a data set: shares that sum to one, and samples of the right class, with their licence."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from pepr.datasets import figures
from pepr.datasets.preparation import Prepared

CARD = {
    "classes": ["sound", "cracked"],
    "counts": {
        "train": {"sound": 6, "cracked": 2},
        "val": {"sound": 1, "cracked": 1},
        "test": {"sound": 3, "cracked": 1},
    },
    "attribution": "A. Person",
    "licence": "CC BY 4.0",
    "source": "https://example.org",
}


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_each_split_shows_the_share_of_each_of_its_classes():
    (axes,) = figures.class_balance(CARD).axes
    widths = [[round(float(bar.get_width()), 3) for bar in bars] for bars in axes.containers]
    assert widths == [[0.75, 0.25], [0.5, 0.5], [0.75, 0.25]]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == CARD["classes"]


def test_a_row_of_samples_holds_training_images_of_its_class_only():
    labels = np.array([0, 1, 0, 1, 0, 1])
    images = np.stack([np.full((4, 4), 10 + 100 * label, dtype=np.uint8) for label in labels])
    split = np.array(["train"] * 5 + ["test"])
    prepared = Prepared(
        images=images, labels=labels, split=split, repeated=np.zeros(6, dtype=bool), card=CARD
    )
    figure = figures.sample_sheet(prepared, seed=0)
    grid = np.array(figure.axes).reshape(2, figures.SAMPLES_PER_CLASS)
    for value, row in enumerate(grid):
        shown = [axes.images[0].get_array() for axes in row if axes.images]
        assert len(shown) == [3, 2][value]
        assert all((image == 10 + 100 * value).all() for image in shown)
        assert row[0].get_ylabel() == CARD["classes"][value]
    text = figure.get_supxlabel()
    assert "A. Person" in text and "CC BY 4.0" in text
