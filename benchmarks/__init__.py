"""Measurements of Lictor beside what it stands in front of and beside its peers. `python -m benchmarks --help`."""
