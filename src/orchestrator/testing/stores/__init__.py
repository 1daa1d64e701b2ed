"""The chapters of the store suite; ``orchestrator.testing.store_suite`` binds them together."""

from __future__ import annotations

import pytest

# So that a failing assert in them says what it compared; to be told before the first of them is imported.
pytest.register_assert_rewrite(
    *(
        f"{__name__}.{chapter}"
        for chapter in ("cache", "facts", "journal", "leases", "life", "lists", "queues", "values")
    )
)
