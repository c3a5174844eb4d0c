"""Benchmarks: what is timed, against whom, and on which machine."""
