"""The pure heart: identities, the pipeline, events, the fold, the decisions. No clock, no I/O, no randomness."""
