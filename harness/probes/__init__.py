"""Probes: what the meter process does to see a deployment from outside.

`python -m harness.probes.meter` is a process of its own. It sends one small request per slot in an open loop (`lanes`),
holds long-lived sessions (`sessions`), watches its own fitness (`selfcheck`) and writes records, nothing else: what the
numbers mean is decided by whoever reads them.
"""
