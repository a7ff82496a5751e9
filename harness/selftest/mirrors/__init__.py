"""The harness broken on purpose, one way per file: whatever it then says, it must not be PASS. Found by looking."""
