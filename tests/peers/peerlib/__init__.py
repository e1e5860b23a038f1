"""What the suites share: running cases, starting programs, building configs, raw HTTP clients."""
