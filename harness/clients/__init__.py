"""Clients: the only importers of httpx, toxiproxy, asyncpg. Their exceptions end here."""
