"""Containers of a Docker engine as parts of a stack: what the labels say, images made here, targets."""
