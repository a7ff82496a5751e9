"""What keeps a run from leaving anything behind: the keeper process, undo steps, registrations and locks."""
