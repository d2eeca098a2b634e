"""What `make bench` runs: the study's own speed beside the least that its arithmetic needs."""
