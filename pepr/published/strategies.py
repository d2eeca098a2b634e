"""What choosing a model costs: ways of choosing, played on the corrected tables.

A strategy trains some models, chooses one by its accuracy on half of the test images, and is judged on the
other half. It pays the energy of all that it trained.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import resources

import numpy as np
import pandas as pd

from pepr.display.numbers import Numbers, number
from pepr.display.words import difference, fixed, percent
from pepr.models.space import family_of
from pepr.published.reliability import halves, test_images
from pepr.published.reproduction import imagenet
from pepr.published.tables import EPOCHS, SETTINGS, TEST_COLUMNS, Published
from pepr.published.versions import of
from pepr.score import pepr
from pepr.stats import FloatArray

N_DRAWS = 400
SEED = 29
CHEAP_SHARE = 1 / 3
"""The part of the models, by energy, that is called cheap."""
RUNGS = (1, 3, 10)
"""Epochs after which successive halving keeps a third."""
SIZES = (1, 2, 3, 5, 10, 20, 40)
"""How many cheap models are tried."""


@dataclass(frozen=True)
class Game:
    """One setting, ready to be played: everything [draws, models] or [models].

    `choose` and `judge` are final accuracies on the two halves, `choose_at` those after each epoch [draws,
    models, epochs]; `energy` is kWh of ten epochs; `elsewhere` and `imagenet` are what was known before:
    mean rank of accuracy on the other data sets, and ImageNet's top-1 (NaN where unknown); `family` is the
    architecture family of each.
    """

    setting: str
    choose: FloatArray
    judge: FloatArray
    choose_at: FloatArray
    energy: FloatArray
    elsewhere: FloatArray
    imagenet: FloatArray
    family: np.ndarray
    rng: np.random.Generator

    @property
    def cheap(self) -> np.ndarray:
        """The models of the cheapest third, cheapest first."""
        return np.argsort(self.energy, kind="stable")[: round(len(self.energy) * CHEAP_SHARE)]


Played = tuple[np.ndarray, FloatArray]
"""The model chosen and the energy paid (kWh), each [draws]."""


def play(table: pd.DataFrame, n_test: Mapping[str, float], top1: pd.Series) -> pd.DataFrame:
    """Every strategy in every setting: mean points lost against the full sweep, and energy as its share.

    `top1` is that of ImageNet by model. One row a strategy and setting: `lost` in points of accuracy, with
    the standard deviation over draws `lost_sd`; `energy_kwh`, `energy_share`, `models` trained (mean).
    """
    rows = []
    for setting in SETTINGS:
        game = game_of(table, setting, n_test[setting], top1)
        draws = np.arange(len(game.judge))
        best, bill = full_sweep(game)
        for name, strategy in STRATEGIES.items():
            chosen, paid = strategy(game)
            lost = 100 * (game.judge[draws, best] - game.judge[draws, chosen])
            rows.append(
                {
                    "strategy": name,
                    "setting": setting,
                    "lost": float(lost.mean()),
                    "lost_sd": float(lost.std()),
                    "energy_kwh": float(np.mean(paid)),
                    "energy_share": float(np.mean(paid / bill)),
                }
            )
    return pd.DataFrame(rows)


def played(tables: Published) -> pd.DataFrame:
    """`over_settings` of the authors' tables, corrected by their history where it is at hand."""
    own = imagenet(tables).set_index("model")["own_top1"]
    return over_settings(play(of(tables).best, test_images(tables.results), own))


def over_settings(played: pd.DataFrame) -> pd.DataFrame:
    """By strategy: points lost, mean and quartiles over the settings (`lost_mean`, `lost_lower`,
    `lost_upper`), and the worst one (`lost_worst`); the mean share of the sweep's energy
    (`energy_share_mean`)."""
    grouped = played.groupby("strategy", sort=False)
    lost = grouped["lost"]
    return pd.DataFrame(
        {
            "lost_mean": lost.mean(),
            "lost_lower": lost.quantile(0.25),
            "lost_upper": lost.quantile(0.75),
            "lost_worst": lost.max(),
            "energy_share_mean": grouped["energy_share"].mean(),
        }
    ).reset_index()


def expectations(summary: pd.DataFrame) -> pd.DataFrame:
    """What to expect of trying cheap models by family, one row a number of `models`, from `over_settings`."""
    rows = summary.set_index("strategy").loc[[f"{size} cheap by family" for size in SIZES]]
    return rows.reset_index(drop=True).assign(models=SIZES).round(4)


def committed_expectations() -> pd.DataFrame:
    """The expectations that this package carries: what `pepr step fit-choosing` makes."""
    return pd.read_csv(resources.files("pepr.published") / "choosing.csv")


def numbers(summary: pd.DataFrame) -> Numbers:
    """What prose may quote of a table of `over_settings`, by key."""
    quoted: Numbers = {"choosing_draws": number(N_DRAWS)}
    for row in summary.to_dict("records"):
        key = "choosing_" + row["strategy"].lower().replace(",", "").replace(" ", "_")
        quoted |= {
            f"{key}_lost": number(row["lost_mean"], partial(fixed, digits=1), estimate=True),
            f"{key}_worst": number(row["lost_worst"], "{:.1f}".format, estimate=True),
            f"{key}_energy": number(row["energy_share_mean"], _energy_share, estimate=True),
        }
    return quoted


def first_choice(played: pd.DataFrame, margins: Mapping[str, float]) -> pd.Series:
    """The way of choosing to begin with, by `play`: of those that do not train everything, one that loses no
    more than the margin of a setting (in accuracy) in as many settings as any, for the least energy.

    `strategy`; `lost` in points, mean over the settings, and its `least` and `most` in one of them; `energy`,
    the mean share of the sweep's; `within`, in how many settings the loss is inside the margin.
    """
    inside = played["lost"] <= 100 * played["setting"].map(margins)
    ways = played.assign(within=inside).groupby("strategy", sort=False)
    found = ways.agg(
        lost=("lost", "mean"),
        least=("lost", "min"),
        most=("lost", "max"),
        energy=("energy_share", "mean"),
        within=("within", "sum"),
    ).reset_index()
    found = found[found["energy"] < 1 - 1e-9]
    return found.sort_values(["within", "energy"], ascending=[False, True], kind="stable").iloc[0]


def way_words(strategy: str) -> str:
    """A way of choosing as a page says it."""
    size, _, kind = strategy.partition(" cheap")
    if kind == " by family":
        return (
            f"training {size} of the cheapest third, one of each family first, and keeping the most accurate"
        )
    if size.endswith(" random"):
        some = size.removesuffix(" random")
        return (
            f"training {some} models drawn at random from the cheapest third, and keeping the most accurate"
        )
    return ONE_WAY[strategy]


def first_numbers(played: pd.DataFrame, margins: Mapping[str, float]) -> Numbers:
    """What prose may quote of `first_choice`."""
    way, settings = first_choice(played, margins), played["setting"].nunique()
    least, most = (difference(way[end], 1) for end in ("least", "most"))
    return {
        "choosing_first_way": number(way["strategy"], way_words),
        "choosing_first_lost": number(way["lost"], partial(fixed, digits=1), estimate=True),
        "choosing_first_range": number(None, f"{least} to {most}", estimate=True),
        "choosing_first_energy": number(way["energy"], _energy_share, estimate=True),
        "choosing_ways": number(played["strategy"].nunique()),
        "choosing_first_within": number(int(way["within"]), f"{way['within']} of {settings}", estimate=True),
    }


def full_sweep(game: Game) -> Played:
    """Train all, take the most accurate."""
    return _best_of(game, np.arange(len(game.energy)))


def pepr_winner(game: Game) -> Played:
    """Train all, take the best by PePR-E."""
    scores = np.stack([pepr(accuracy, game.energy) for accuracy in game.choose])
    return scores.argmax(axis=1), np.full(len(scores), game.energy.sum())


def successive_halving(game: Game) -> Played:
    """Train all for one epoch, the best third for three, the best third of those for ten."""
    draws = len(game.choose)
    alive = np.ones((draws, len(game.energy)), dtype=bool)
    paid, done = np.zeros(draws), 0
    for rung in RUNGS:
        paid += (alive * game.energy).sum(axis=1) * (rung - done) / EPOCHS
        seen = np.where(alive, game.choose_at[:, :, rung - 1], -1.0)
        if rung == RUNGS[-1]:
            return seen.argmax(axis=1), paid
        keep = max(1, round(alive[0].sum() / 3))
        order = np.argsort(-seen, axis=1, kind="stable")[:, :keep]
        alive = np.zeros_like(alive)
        np.put_along_axis(alive, order, True, axis=1)
        done = rung
    raise AssertionError("the last rung returns")


def cheapest_third(game: Game) -> Played:
    """Train the cheapest third, take the most accurate."""
    return _best_of(game, game.cheap)


def random_cheap(size: int) -> Callable[[Game], Played]:
    """Train so many models, drawn from the cheapest third; take the most accurate."""

    def strategy(game: Game) -> Played:
        drawn = np.argsort(game.rng.random((len(game.choose), len(game.cheap))), axis=1)[:, :size]
        return _best_of(game, game.cheap[drawn])

    return strategy


def by_family(size: int) -> Callable[[Game], Played]:
    """Train so many cheap models, one of each family before a second of any; take the most accurate."""

    def strategy(game: Game) -> Played:
        order = trial_order(game.elsewhere[game.cheap], game.family[game.cheap])
        return _best_of(game, game.cheap[order[:size]])

    return strategy


def trial_order(rank: FloatArray, family: Sequence[str]) -> np.ndarray:
    """The order in which to try models: the best of each family by `rank` (lowest first), then each family's
    second, and so on; indices [models]."""
    best_first = np.argsort(rank, kind="stable")
    families = pd.Series(np.asarray(family)[best_first])
    round_of = families.groupby(families).cumcount().to_numpy()
    return best_first[np.argsort(round_of, kind="stable")]


def ranks_elsewhere(table: pd.DataFrame, data: str | None = None) -> pd.Series:
    """Mean rank of accuracy by model, over the pretrained settings of all data sets but `data`."""
    others = [name for name in SETTINGS if name != "derma" and name.split("_")[0] != data]
    wide = table[table["dataset"].isin(others)].pivot(
        index="model", columns="dataset", values=TEST_COLUMNS[-1]
    )
    return wide.rank(ascending=False).mean(axis=1)


def winner_elsewhere(game: Game) -> Played:
    """Train the one model with the best mean rank on the other data sets."""
    return _one(game, int(np.argmin(game.elsewhere)))


def best_on_imagenet(game: Game) -> Played:
    """Train the one model with the highest ImageNet accuracy."""
    return _one(game, int(np.nanargmax(game.imagenet)))


def cheapest(game: Game) -> Played:
    """Train the one cheapest model."""
    return _one(game, int(np.argmin(game.energy)))


STRATEGIES: dict[str, Callable[[Game], Played]] = {
    "full sweep": full_sweep,
    "PePR winner": pepr_winner,
    "successive halving": successive_halving,
    "cheapest third": cheapest_third,
    **{f"{size} random cheap": random_cheap(size) for size in SIZES},
    **{f"{size} cheap by family": by_family(size) for size in SIZES},
    "winner of other sets": winner_elsewhere,
    "best on ImageNet": best_on_imagenet,
    "cheapest alone": cheapest,
}


ONE_WAY = {
    "full sweep": "training everything, and keeping the most accurate",
    "PePR winner": "training everything, and keeping the best by PePR-E",
    "successive halving": f"training everything, going on with the best third after {RUNGS[0]} and {RUNGS[1]}"
    " epochs",
    "cheapest third": "training the cheapest third, and keeping the most accurate",
    "winner of other sets": "training the one model that does best on the other data sets",
    "best on ImageNet": "training the one model that is most accurate on ImageNet",
    "cheapest alone": "training the cheapest model alone",
}
"""Ways of choosing that have no size, as a page says them."""


def _energy_share(value: float) -> str:
    """A share in percent: whole from ten percent on, two digits below."""
    return percent(value) if value >= 0.1 else f"{100 * value:.2g}%"


def game_of(table: pd.DataFrame, setting: str, n_test: float, top1: pd.Series) -> Game:
    """One setting of a table of runs as a game of `n_test` images; `top1` is ImageNet's, by model."""
    group = table[table["dataset"] == setting]
    rng = np.random.default_rng(SEED)
    first, second = halves(group[list(TEST_COLUMNS)].to_numpy(np.float64), n_test, N_DRAWS, rng)
    return Game(
        setting=setting,
        choose=first[:, :, -1],
        judge=second[:, :, -1],
        choose_at=first,
        energy=group["energy"].to_numpy(np.float64),
        elsewhere=_known(ranks_elsewhere(table, setting.split("_")[0]), group["model"]),
        imagenet=group["model"].map(top1).to_numpy(np.float64),
        family=np.asarray(family_of(group["model"])),
        rng=rng,
    )


def _known(ranks: pd.Series, models: pd.Series) -> FloatArray:
    """Ranks by model, [models]; the last place where one is unknown."""
    return models.map(ranks).fillna(np.inf).to_numpy(np.float64)


def _best_of(game: Game, models: np.ndarray) -> Played:
    """Train `models` [n] or [draws, n]; take the most accurate of them on the choosing half."""
    draws = len(game.choose)
    models = np.broadcast_to(models, (draws, models.shape[-1]))
    seen = np.take_along_axis(game.choose, models, axis=1)
    chosen = np.take_along_axis(models, seen.argmax(axis=1)[:, None], axis=1)[:, 0]
    return chosen, game.energy[models].sum(axis=1)


def _one(game: Game, model: int) -> Played:
    draws = len(game.choose)
    return np.full(draws, model), np.full(draws, game.energy[model])
