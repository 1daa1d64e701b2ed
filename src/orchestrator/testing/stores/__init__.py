"""The chapters of the store suite; ``orchestrator.testing.store_suite`` binds them together."""
