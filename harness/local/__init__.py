"""Parts of the local backend: one file for each kind of process it starts."""
