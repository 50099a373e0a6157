"""fewstep: turn any slow multi-step generator into one that needs 1 to 8 network calls."""
