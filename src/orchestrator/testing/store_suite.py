"""The conformance suite for stores: whoever writes a store inherits it, and is told what is wrong.

::

    from orchestrator.testing.store_suite import StoreSuite

    class TestMyStore(StoreSuite):
        @pytest.fixture
        def make_store(self, tmp_path, clock, chance):
            return lambda: MyStore(tmp_path / "data", clock=clock, chance=chance)

Each call of what ``make_store`` returns opens a new handle onto the same data: the suite reopens stores and lets two
writers meet. Give ``clock`` (it stands still until a test moves it) and ``chance`` to every handle. Needs pytest and
pytest-asyncio.
"""

from __future__ import annotations

from orchestrator.testing.stores.cache import CacheTests
from orchestrator.testing.stores.journal import AdmissionTests, AppendTests, ReadTests
from orchestrator.testing.stores.leases import (
    BulkTests,
    FenceTests,
    GivingBackTests,
    LeaseExpiryTests,
    LeaseTests,
    RenewTests,
    RequestTests,
)
from orchestrator.testing.stores.life import ClosingTests, OddNameTests, UnknownTests
from orchestrator.testing.stores.lists import (
    CareTests,
    HiddenTests,
    ListTests,
    RemovalTests,
    SummaryTests,
)
from orchestrator.testing.stores.mail import DueTests, MailTests
from orchestrator.testing.stores.queues import PauseTests, PlaceTests, QueueSettingTests, TakeOverTests, TakeTests
from orchestrator.testing.stores.values import ReferredValueTests, SharedValueTests, ValueTests

__all__ = ["LeaseExpirySuite", "StoreSuite"]


class StoreSuite(
    AdmissionTests,
    AppendTests,
    ReadTests,
    ValueTests,
    SharedValueTests,
    ReferredValueTests,
    CacheTests,
    LeaseTests,
    GivingBackTests,
    FenceTests,
    RenewTests,
    RequestTests,
    BulkTests,
    PlaceTests,
    TakeTests,
    TakeOverTests,
    PauseTests,
    QueueSettingTests,
    MailTests,
    DueTests,
    SummaryTests,
    ListTests,
    HiddenTests,
    RemovalTests,
    CareTests,
    OddNameTests,
    UnknownTests,
    ClosingTests,
):
    """What every store must do."""


class LeaseExpirySuite(LeaseExpiryTests):
    """Besides, for stores in which the deadline alone tells that an owner is gone (no lock of the system's)."""
