"""Benchmarks: ratios between this project and a named reference, measured in one run."""
