"""Small tables as people hand them in: honest and awkward ones, and the same kinds with a fault planted.

Each maker takes a random generator and gives a `Case`: the text of a table, and the models whose rows are
planted with a fault, with the checks that may say so. Honest makers plant nothing. Powers, times, noise and
table sizes are drawn anew for each case, so no case is an example that a check could be fitted to.
"""

from __future__ import annotations

import numpy as np
from faulty_tables import FAULTY
from honest_tables import HONEST
from makers import Case


def corpus(honest_tables: int = 220, faulty_tables: int = 220, seed: int = 1) -> list[Case]:
    """Cases in turn of every kind, each from a seed of its own."""
    cases = []
    for makers, count in ((HONEST, honest_tables), (FAULTY, faulty_tables)):
        names = list(makers)
        for number in range(count):
            rng = np.random.default_rng([seed, number, len(makers)])
            cases.append(makers[names[number % len(names)]](rng))
    return cases
