"""Benchmarks: what is timed, how, and against whom."""
