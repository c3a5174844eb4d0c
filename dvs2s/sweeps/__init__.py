"""Sweeps: jobs that neither stop one another nor disappear, and what they add up to."""
