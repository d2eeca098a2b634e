"""Figures of a dataset: its class balance and a sheet of samples with licence and attribution."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from pepr.datasets.preparation import Card, Prepared
from pepr.datasets.source import SPLITS
from pepr.display.style import PALETTE, WIDTH_IN

SAMPLES_PER_CLASS = 8


def class_balance(card: Card) -> Figure:
    """Share of each class in each split, from a data card."""
    rows = [
        {"split": part, "class": name, "share": count / sum(card["counts"][part].values())}
        for part in SPLITS
        for name, count in card["counts"][part].items()
    ]
    figure, axes = plt.subplots(figsize=(WIDTH_IN, 0.9 + 0.45 * len(card["classes"])), layout="constrained")
    sns.barplot(
        pd.DataFrame(rows),
        x="share",
        y="class",
        hue="split",
        ax=axes,
        palette=[PALETTE["blue"], PALETTE["vermillion"], PALETTE["green"]],
    )
    axes.set(xlabel="share of the images of its split", ylabel="", xlim=(0, 1))
    axes.legend(title="", loc="lower right")
    return figure


def sample_sheet(prepared: Prepared, seed: int) -> Figure:
    """A row of training images for each class, drawn by `seed`, with licence and attribution below."""
    rng = np.random.default_rng(seed)
    card, train = prepared.card, prepared.indices("train")
    classes = card["classes"]
    figure, grid = plt.subplots(
        len(classes),
        SAMPLES_PER_CLASS,
        figsize=(WIDTH_IN, 0.5 + 0.85 * len(classes)),
        squeeze=False,
        layout="constrained",
    )
    for value, row in enumerate(grid):
        members = train[prepared.labels[train] == value]
        chosen = rng.choice(members, size=min(SAMPLES_PER_CLASS, len(members)), replace=False)
        for axes in row:
            axes.set(xticks=[], yticks=[], frame_on=False)
        for axes, index in zip(row, chosen, strict=False):
            axes.imshow(prepared.images[index], cmap="gray", vmin=0, vmax=255)
        row[0].set_ylabel(classes[value], rotation=0, ha="right", va="center")
    figure.supxlabel(f"{card['attribution']}. Licence: {card['licence']}. {card['source']}.", fontsize=7)
    return figure
