"""Benchmarks: figures side by side in one run. They fail on nothing; a person compares them with the goals."""
