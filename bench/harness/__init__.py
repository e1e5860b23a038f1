"""The measuring harness: cases, peers, load generators, process accounting, reports."""
