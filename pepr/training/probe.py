"""A fixed piece of work whose processor time tells how fast this machine is at the moment."""

from __future__ import annotations

import time

import torch

SIDE, PRODUCTS = 256, 300
VALUES, PASSES = 500_000, 300
"""Matrices that fit into a core's first caches, and vectors that fit into its second: what layers do, without
the main memory, whose pace other programs change far more than that of a training step."""


def speed_probe_s() -> float:
    """Seconds of one thread's processor time for the same products of matrices and passes over vectors: about
    an eighth of a second on a core of 2023. More of it means a slower machine: another clock, a core that is
    shared by its hardware threads, neighbours in the cache."""
    generator = torch.Generator().manual_seed(0)
    left, right = torch.rand(2, SIDE, SIDE, generator=generator)
    product = torch.empty(SIDE, SIDE)
    vector = torch.rand(VALUES, generator=generator)
    scaled = torch.empty(VALUES)
    torch.mm(left, right, out=product)
    torch.mul(vector, 1.5, out=scaled)
    began = time.thread_time()
    for _ in range(PRODUCTS):
        torch.mm(left, right, out=product)
    for _ in range(PASSES):
        torch.mul(vector, 1.5, out=scaled)
    return time.thread_time() - began
