"""Backends: one file each, found by looking; `open(request, context)` is an async context of a Stack."""
