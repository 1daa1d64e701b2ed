import random
from typing import Any

import ormsgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain import events as ev
from orchestrator.domain.events import TAGS, ErrorInfo, Event
from orchestrator.domain.files import FileSeen
from orchestrator.domain.ids import TaskId
from orchestrator.domain.values import ValueRef
from orchestrator.errors import StoreDamaged, StoreIncompatible, UnstorableValue
from orchestrator.state.eventcodec import decode_events, encode_events
from orchestrator.state.records import Kind, encode_value, seal, unseal
from tests.unit.state.values import same

texts = st.sampled_from(["", "word", "\udce9", "é\n\0", "long " * 100])
reals = st.floats(allow_nan=False) | st.integers(0, 2**40)
ids = st.sampled_from([TaskId("a"), TaskId("load_flights"), TaskId("x" * 128)])
counts = st.integers(0, 10**6)
refs = st.sampled_from([encode_value(value).ref for value in (None, True, 0, "x" * 100, "x" * 5000, [1, (2,)])])
infos = st.builds(ErrorInfo, texts, texts, st.booleans(), texts)
plain = st.sampled_from([{}, {"a": (1, 2)}, {"\udce9": None}, {"x": {"y": [2**70, 1.5]}}])
opt_ref, opt_real, opt_info = st.none() | refs, st.none() | reals, st.none() | infos
labels = st.dictionaries(st.sampled_from(["a", "m:f", "é"]), texts, max_size=3)
seen = st.builds(FileSeen, texts, st.integers(-1, 2**40), counts, texts)
events = st.one_of(
    st.builds(ev.ExecutionCreated, reals, ids, opt_ref, refs, counts, texts),
    st.builds(ev.ExecutionStarted, reals, counts, texts, st.booleans(), plain),
    st.builds(ev.TaskClaimed, reals, ids, counts, opt_ref),
    st.builds(ev.TaskCompleted, reals, ids, counts, refs),
    st.builds(ev.TaskFailed, reals, ids, counts, infos, opt_real, st.booleans(), st.booleans()),
    st.builds(ev.TaskInterrupted, reals, ids, counts, texts, texts),
    st.builds(ev.TaskSkipped, reals, ids, texts),
    st.builds(ev.TasksReset, reals, st.lists(ids, max_size=5), texts, st.booleans()),
    st.builds(ev.TaskProgressed, reals, ids, counts, opt_real, opt_real, texts, opt_ref),
    st.builds(ev.CheckpointMade, reals, texts, st.none() | ids, plain, opt_ref),
    st.builds(ev.CancelRequested, reals, texts),
    st.builds(ev.ExecutionFinished, reals, texts, opt_ref, opt_info),
    st.builds(ev.TaskClaimed, reals, ids, counts, st.binary(min_size=32, max_size=32)),
    st.builds(ev.ToolsResolved, reals, st.lists(st.tuples(texts, st.none() | texts, texts, labels), max_size=3)),
    st.builds(ev.TaskTraced, reals, ids, counts, st.lists(seen, max_size=3), st.lists(seen, max_size=3), st.booleans()),
    st.builds(ev.TaskReused, reals, ids, refs, opt_ref, texts),
    st.builds(ev.TasksInvalidated, reals, st.lists(ids, max_size=5), texts),
    st.builds(ev.ResultSet, reals, ids, refs, texts, texts),
    st.builds(ev.DefinitionChanged, reals, refs, refs, counts, labels, texts, texts),
    st.builds(ev.ResumePlanned, reals, texts, texts, texts, plain, st.none() | st.lists(ids, max_size=5)),
    st.builds(ev.DefinitionLoaded, reals, texts, texts),
    st.builds(ev.ExecutionForked, reals, texts, st.lists(texts, max_size=3), texts, texts),
    st.builds(ev.DecisionMade, reals, ids, texts, counts, texts, labels),
    st.builds(ev.TaskExpanded, reals, ids, st.lists(texts, max_size=3), opt_ref, st.booleans(), texts, counts),
    st.builds(ev.TaskGathered, reals, ids, st.lists(texts, max_size=3)),
    st.builds(ev.ExecutionWaiting, reals, opt_real),
    st.builds(ev.SignalReceived, reals, texts, texts, refs, texts, reals),
    st.builds(ev.TaskWaiting, reals, ids, counts, texts, texts, opt_real, texts, refs),
    st.builds(ev.StageEntered, reals, texts, texts, st.lists(ids, max_size=3), st.none()),
)
NONE = encode_value(None).ref
ONE_OF_EACH: list[Event] = [
    ev.ExecutionCreated(1.0, "flights", encode_value("d" * 2000).ref, NONE, 3, "run"),
    ev.ExecutionStarted(2.0, 1, "host:1", False, {"retry_failed": True, "keys": (1, 2)}),
    ev.TaskClaimed(3.0, TaskId("a"), 1, None),
    ev.TaskCompleted(4.5, TaskId("a"), 1, NONE),
    ev.TaskFailed(5.0, TaskId("b"), 2, ErrorInfo("ValueError", "no 'caf\udce9'", True, "trace"), 9.5, False, False),
    ev.TaskInterrupted(6.0, TaskId("b"), 3, "rerun", "killed"),
    ev.TaskSkipped(7.0, TaskId("c"), "when is false"),
    ev.TasksReset(8.0, [TaskId("a"), TaskId("b")], "forced", True),
    ev.TaskProgressed(9.0, TaskId("a"), 1, 0.5, None, "half", encode_value([1]).ref),
    ev.CheckpointMade(10.0, "manual", None, {"nested": {"x": [None]}}, NONE),
    ev.CancelRequested(11.0, "somebody"),
    ev.ExecutionFinished(12.0, "failed", None, ErrorInfo("E", "m")),
    ev.ToolsResolved(13.0, [("python", "m:f", "1", {"m:f": "ab"}), ("shell", None, "2", {})]),
    ev.TaskTraced(14.0, TaskId("a"), 1, [FileSeen("x.csv", 3, 7, "d")], [FileSeen("caf\udce9", -1, 0, "")], True),
    ev.TaskReused(15.0, TaskId("a"), NONE, bytes(32), "e@7"),
    ev.TasksInvalidated(16.0, [TaskId("a")], "b runs again"),
    ev.ResultSet(17.0, TaskId("a"), NONE, "somebody", "typo"),
    ev.DefinitionChanged(18.0, encode_value("d" * 2000).ref, NONE, 3, {"new": "old"}, "p.yaml", "somebody"),
    ev.ResumePlanned(19.0, "ab12", "somebody", "why", {"rerun": ["a"]}, [TaskId("a")]),
    ev.DefinitionLoaded(20.0, "pipeline.yaml"),
    ev.ExecutionForked(21.0, "e@7", ["day"], "somebody", "why"),
    ev.DecisionMade(22.0, TaskId("a"), "while", 1, "true", {"last": "null"}),
    ev.TaskExpanded(22.0, TaskId("a"), ["k", "l"], encode_value([1, 2]).ref, False, "", 7),
    ev.TaskGathered(22.0, TaskId("a"), ["l"]),
    ev.ExecutionWaiting(22.0, 99.5),
    ev.SignalReceived(22.0, "sig_1", "paid", NONE, "Ann", 21.5),
    ev.TaskWaiting(22.0, TaskId("a"), 1, "signal", "paid", None, "for the signal 'paid'", NONE),
    ev.ExecutionLinked(22.0, "e", TaskId("a"), 1),
    ev.SignalReceived(22.0, "s1", "go", encode_value(1).ref, "me", 21.0),
    ev.TaskWaiting(22.0, TaskId("a"), 1, "signal", "go", None, "for the signal", encode_value({}).ref),
    ev.StageEntered(22.0, "undo", "failed", [TaskId("a.undo")], ev.ErrorInfo("timeout", "late", retryable=False)),
]  # fmt: skip


@given(st.integers(1, 2**50), st.lists(events, max_size=5))
@settings(max_examples=300, deadline=None)
def test_events_come_back_exactly(first: int, written: list[Event]) -> None:
    seq, back = decode_events(encode_events(first, written))
    assert seq == first
    assert same(back, written)


def test_every_event_has_its_types_again() -> None:
    assert {type(event) for event in ONE_OF_EACH} == set(TAGS)
    _, back = decode_events(encode_events(1, ONE_OF_EACH))
    assert back == ONE_OF_EACH
    assert isinstance(back[0].inputs, ValueRef)  # type: ignore[union-attr]
    assert isinstance(back[4].error, ErrorInfo)  # type: ignore[union-attr]
    assert back[1].strategy["keys"] == (1, 2)  # type: ignore[union-attr]


def test_on_disk_each_event_is_a_list_led_by_its_tag() -> None:
    rows = ormsgpack.unpackb(
        encode_events(5, [ev.TaskClaimed(3.0, TaskId("a"), 1, None), ev.TaskSkipped(4.0, TaskId("b"), "x")])
    )
    assert rows == [5, [3, 3.0, "a", 1, None], [7, 4.0, "b", "x"]]


def test_references_to_the_same_small_value_are_one_object() -> None:
    _, back = decode_events(encode_events(1, [ev.TaskCompleted(1.0, TaskId("a"), n, NONE) for n in range(3)]))
    assert back[0].value is back[2].value  # type: ignore[union-attr]


def test_a_dict_in_an_event_is_kept_faithfully_or_refused() -> None:
    with pytest.raises(UnstorableValue, match=r"metadata\.x: object"):
        encode_events(1, [ev.CheckpointMade(1.0, "manual", None, {"x": object()}, None)])


def rows_of(*rows: Any, first: Any = 1) -> bytes:
    return ormsgpack.packb([first, *rows])


def test_an_event_of_a_newer_version_is_incompatible() -> None:
    with pytest.raises(StoreIncompatible, match="journal x@1 holds an event of kind 99: a newer version"):
        decode_events(rows_of([99, 1.0]), name="journal x@1")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc0",
        b"\x90",
        b"\xc1",
        b"\x91\xd4\x07x",
        rows_of(first=0),
        rows_of(first=True),
        rows_of(first="1"),
        rows_of([]),
        rows_of("text"),
        rows_of(3),
        rows_of({"a": 1}),
        rows_of([0, 1.0]),
        rows_of([-1, 1.0]),
        rows_of(["3", 1.0]),
        rows_of([[], 1.0]),
        rows_of([3, 1.0, "a", 1]),
        rows_of([3, 1.0, "a", 1, None, None]),
        rows_of([3, "1.0", "a", 1, None]),
        rows_of([3, 1.0, b"a", 1, None]),
        rows_of([3, 1.0, "a", 1.0, None]),
        rows_of([3, 1.0, "a", True, None]),
        rows_of([4, 1.0, "a", 1, None]),
        rows_of([4, 1.0, "a", 1, [b"\xc0", 1]]),
        rows_of([4, 1.0, "a", 1, [b"\xc0", 2, True]]),
        rows_of([4, 1.0, "a", 1, ["\xc0", 1, True]]),
        rows_of([4, 1.0, "a", 1, [b"\xc0", 1, 1]]),
        rows_of([5, 1.0, "a", 1, ["k", "m", True], None, False, False]),
        rows_of([5, 1.0, "a", 1, ["k", "m", 1, ""], None, False, False]),
        rows_of([8, 1.0, "abc", "r", True]),
        rows_of([8, 1.0, ["a", 1], "r", True]),
        rows_of([2, 1.0, 1, "o", True, {"a": 1}]),
        rows_of([2, 1.0, 1, "o", True, b"\xc0"]),
        rows_of([2, 1.0, 1, "o", True, b"\xc1"]),
    ],
    ids=lambda payload: payload.hex()[:40],
)
def test_anything_else_is_damage(payload: bytes) -> None:
    with pytest.raises(StoreDamaged, match="no list of events"):
        decode_events(payload)


def test_mutated_payloads_are_events_or_errors() -> None:
    chance = random.Random(3)
    payload = encode_events(1, ONE_OF_EACH)
    for _ in range(5000):
        changed = bytearray(payload)
        for _ in range(chance.randrange(1, 4)):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        try:
            _, back = decode_events(bytes(changed))
        except (StoreDamaged, StoreIncompatible):
            continue
        assert all(type(event) in TAGS for event in back)


def test_every_flipped_bit_of_a_sealed_journal_record_is_noticed() -> None:
    record = seal(encode_events(1, ONE_OF_EACH[2:4]), kind=Kind.EVENTS, context=b"x")
    for bit in range(len(record) * 8):
        flipped = bytearray(record)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises((StoreDamaged, StoreIncompatible)):
            decode_events(unseal(bytes(flipped), kind=Kind.EVENTS, context=b"x", name="journal"))
