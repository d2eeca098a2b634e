"""This machine: what it is, its GPUs, one meter; never imports torch."""
