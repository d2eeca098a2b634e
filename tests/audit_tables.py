"""Tables of runs made for the audit's tests: sound ones, and ones with flaws planted at known rows."""

import numpy as np
import pandas as pd

N_TEST = {"a": 1984, "b": 608, "c": 3008}
EPOCHS = 10


def sound_table(
    n_models: int = 60, settings: tuple[str, ...] = ("a", "b", "c"), seed: int = 0
) -> pd.DataFrame:
    """Runs as an honest meter would record them, in the columns of the authors' tables.

    Energy follows time along a line with 2% noise; accuracies are counts of the setting's test set.
    """
    rng = np.random.default_rng(seed)
    size = np.exp(rng.uniform(np.log(1e6), np.log(1.3e8), n_models)).astype(int)
    parts = []
    for setting in settings:
        n = N_TEST.get(setting, 1500 + sum(map(ord, setting)) % 900)
        time = 2 + 60 * (size / 1.3e8) ** 0.7 * np.exp(rng.normal(0, 0.3, n_models))
        energy = (1.64e-3 * time - 4e-4) * np.exp(rng.normal(0, 0.02, n_models))
        level = rng.uniform(0.72, 0.93, n_models)[:, None] + 0.03 * np.log1p(np.arange(EPOCHS)) / np.log(
            EPOCHS
        )
        accuracy = rng.binomial(n, np.clip(level, 0, 0.99)) / n
        parts.append(
            pd.DataFrame(
                {
                    "model": [f"model_{i:06d}" for i in range(n_models)],
                    "dataset": setting,
                    "num_param": size,
                    "memA": size * 8e-9 * np.exp(rng.normal(0, 0.01, n_models)),
                    "memM": size * 9e-8 * np.exp(rng.normal(0, 0.01, n_models)),
                    "energy": energy,
                    "co2": energy * 53.5,
                    "train_time": time,
                    "inf_time": time * 0.07 * np.exp(rng.normal(0, 0.01, n_models)),
                    "tr_acc": np.clip(accuracy[:, -1] + 0.02, 0, 1),
                    **{f"test_{epoch:02d}": accuracy[:, epoch] for epoch in range(EPOCHS)},
                }
            )
        )
    return pd.concat(parts, ignore_index=True)
