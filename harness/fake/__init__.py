"""Parts of the fake backend: a Coder deployment in memory, under whatever clock the event loop has."""
