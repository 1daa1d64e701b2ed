"""The small protocols that adapters fill, each with its whole contract."""
