"""A thin stand-in for ``coder server``: same environment, same API, seeded bugs on demand.

It is not Coder and its numbers say nothing about Coder. All its state lives in PostgreSQL, so that any number of
replicas can serve one deployment. Start it with ``python -m standin server``.
"""
