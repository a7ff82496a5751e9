"""Reports: one file each, `render(run, verdict) -> str`. Pure."""
