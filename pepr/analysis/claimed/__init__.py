"""What surrounds a claim on our own runs: what is compared, what splits that share images are worth, words.

`cells`: the four settings that are compared, and the claims on networks in two of them. `overlap`: tests on
splits that are not taken for independent. `pairs`: each network pretrained against itself from scratch.
`numbers`: what prose may quote of claims. The claims themselves are in `analysis.claims`.
"""
