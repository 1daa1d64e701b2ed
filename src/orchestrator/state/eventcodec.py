"""Events to bytes and back: the payload of a journal record.

A payload is ``[first seq, [tag, field, ...], ...]`` in MessagePack. Reading it yields exactly the events that were
written, or an error: every field is checked for its type, every list for its length.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import ormsgpack

from orchestrator.domain.events import (
    TAGS,
    CancelRequested,
    CheckpointMade,
    DecisionMade,
    DefinitionChanged,
    DefinitionLoaded,
    ErrorInfo,
    Event,
    ExecutionCreated,
    ExecutionFinished,
    ExecutionForked,
    ExecutionLinked,
    ExecutionStarted,
    ExecutionWaiting,
    ResultSet,
    ResumePlanned,
    SignalReceived,
    StageEntered,
    TaskClaimed,
    TaskCompleted,
    TaskExpanded,
    TaskFailed,
    TaskGathered,
    TaskInterrupted,
    TaskProgressed,
    TaskReused,
    TasksInvalidated,
    TaskSkipped,
    TasksReset,
    TaskTraced,
    TaskWaiting,
    ToolsResolved,
)
from orchestrator.domain.files import FileSeen
from orchestrator.domain.values import ValueRef
from orchestrator.errors import StoreDamaged, StoreIncompatible
from orchestrator.state import codec

_TEXT = 1  # ext type of a text that UTF-8 cannot hold: lone surrogates, as they occur in file names and error messages
_SHARED_SIZE = 16
_SHARED_LIMIT = 256
_new = tuple.__new__


class _Mismatch(ValueError):
    """A field is not what its event has there."""


# --- writing ----------------------------------------------------------------------------------------------------------


def encode_events(first_seq: int, events: Sequence[Event]) -> bytes:
    """Return the payload that holds ``events``, the first of which is number ``first_seq`` of its journal.

    Dicts inside events (``strategy``, ``metadata``) may hold what ``codec.encode`` keeps; raises UnstorableValue
    for anything else.
    """
    rows: list[Any] = [first_seq]
    for event in events:
        kind = type(event)
        if kind in _WITH_DICT:
            rows.append((TAGS[kind], *_dicts_encoded(event)))
        else:
            rows.append((TAGS[kind], *event))
    try:
        return ormsgpack.packb(rows, default=_fields)
    except TypeError:
        return ormsgpack.packb(_escaped(rows))


def _fields(part: Any) -> tuple[Any, ...]:
    if type(part) in _NESTED:
        return tuple(part)
    raise TypeError(f"an event holds a {type(part).__name__}")


def _dicts_encoded(event: Event) -> list[Any]:
    return [
        codec.encode(value, name=name) if name in _DICTS else value
        for name, value in zip(event._fields, event, strict=True)
    ]


def _escaped(item: Any) -> Any:
    """Rebuild rows with each text that UTF-8 cannot hold as an Ext."""
    if isinstance(item, str):
        try:
            item.encode()
        except UnicodeEncodeError:
            return ormsgpack.Ext(_TEXT, item.encode("utf-8", "surrogatepass"))
        return item
    if isinstance(item, list | tuple):
        return [_escaped(part) for part in item]
    if isinstance(item, dict):
        return {key: _escaped(part) for key, part in item.items()}  # keys are ids, or names of Python's
    return item


# --- reading ----------------------------------------------------------------------------------------------------------


def decode_events(payload: bytes, *, name: str = "events") -> tuple[int, list[Event]]:
    """Return what ``encode_events`` was given: the number of the first event, and the events.

    ``name`` is how errors call the record. Raises StoreIncompatible for an event of a kind that only a newer version
    knows, StoreDamaged for anything that is no list of events.
    """
    try:
        rows = ormsgpack.unpackb(payload, ext_hook=_text_of)
        first_seq, *rows = rows
        if type(first_seq) is not int or first_seq < 1:
            _mismatch("sequence number", first_seq)
        readers = _READERS
        return first_seq, [readers[row[0]](row) for row in rows]
    except KeyError as error:
        _refuse_tag(error.args[0], name, error)
    except codec.UnknownType as error:
        raise StoreIncompatible(f"record {name}: {error}") from error
    except (ValueError, TypeError, IndexError) as error:
        raise StoreDamaged(name, f"no list of events: {error}") from error


def _text_of(tag: int, data: bytes) -> str:
    if tag != _TEXT:
        _mismatch("extension", tag)
    return data.decode("utf-8", "surrogatepass")


def _refuse_tag(tag: Any, name: str, cause: Exception) -> NoReturn:
    if type(tag) is int and tag > max(TAGS.values()):
        raise StoreIncompatible(f"record {name} holds an event of kind {tag}: a newer version wrote it") from cause
    raise StoreDamaged(name, f"no list of events: no event has the tag {tag!r}") from cause


def _mismatch(what: str, found: Any) -> NoReturn:
    raise _Mismatch(f"{type(found).__name__} where a {what} belongs")


_shared: dict[bytes, ValueRef] = {}


def _ref(row: Any) -> ValueRef:
    """Rebuild a reference; the many that are small and alike (None, True, ...) become one object."""
    data, size, inline = row
    if type(data) is not bytes or type(size) is not int or type(inline) is not bool:
        _mismatch("value reference", row)
    if inline and size <= _SHARED_SIZE:
        found = _shared.get(data)
        if found is not None and found[1] == size:
            return found
        if len(_shared) < _SHARED_LIMIT:
            return _shared.setdefault(data, _checked(data, size, inline=True))
    return _checked(data, size, inline=inline)


def _checked(data: bytes, size: int, *, inline: bool) -> ValueRef:
    if inline and len(data) != size:
        raise _Mismatch("an inline value of another size than it declares")
    return _new(ValueRef, (data, size, inline))


def _error(row: Any) -> ErrorInfo:
    kind, message, retryable, trace = row
    return _new(ErrorInfo, (_str(kind), _str(message), _bool(retryable), _str(trace)))


def _str(value: Any) -> Any:
    return value if type(value) is str else _mismatch("text", value)


def _int(value: Any) -> Any:
    return value if type(value) is int else _mismatch("number", value)


def _real(value: Any) -> Any:
    return value if type(value) is float or type(value) is int else _mismatch("real number", value)


def _bool(value: Any) -> Any:
    return value if type(value) is bool else _mismatch("truth value", value)


def _strs(value: Any) -> Any:
    return [_str(item) for item in value] if type(value) is list else _mismatch("list of texts", value)


def _dict(value: Any) -> Any:
    found = codec.decode(value) if type(value) is bytes else None
    return found if type(found) is dict else _mismatch("mapping", value)


def _texts(value: Any) -> Any:
    if type(value) is not dict:
        _mismatch("mapping", value)
    return {_str(key): _str(item) for key, item in value.items()}


def _given(row: Any) -> Any:
    """Rebuild what a task was given: a reference, or the digest of what was too large to keep."""
    return row if type(row) is bytes else _ref(row)


def _call(row: Any) -> Any:
    tool, action, version, code = row
    return _str(tool), None if action is None else _str(action), _str(version), _texts(code)


def _calls(value: Any) -> Any:
    return [_call(item) for item in value] if type(value) is list else _mismatch("list of calls", value)


def _file(row: Any) -> FileSeen:
    path, size, modified, digest = row
    return _new(FileSeen, (_str(path), _int(size), _int(modified), _str(digest)))


def _files(value: Any) -> Any:
    return [_file(item) for item in value] if type(value) is list else _mismatch("list of files", value)


_Reader = Callable[[Any], Any]


def _or_none(read: _Reader) -> _Reader:
    return lambda value: None if value is None else read(value)


def _reader(kind: type[Event], *fields: _Reader) -> _Reader:
    """Make the reader of a row: the tag, then one reader per field."""

    def read(row: list[Any]) -> Event:
        return _new(kind, [field(value) for field, value in zip(fields, row[1:], strict=True)])

    if len(fields) != len(kind._fields):
        raise AssertionError(kind)
    return read


def _claimed(row: list[Any]) -> TaskClaimed:
    _, at, task, attempt, parameters = row
    if type(at) is not float:
        _real(at)
    if type(task) is not str or type(attempt) is not int:
        _mismatch("task or attempt", [task, attempt])
    return _new(TaskClaimed, (at, task, attempt, None if parameters is None else _given(parameters)))


def _completed(row: list[Any]) -> TaskCompleted:
    _, at, task, attempt, value = row
    if type(at) is not float:
        _real(at)
    if type(task) is not str or type(attempt) is not int:
        _mismatch("task or attempt", [task, attempt])
    return _new(TaskCompleted, (at, task, attempt, _ref(value)))


_opt_ref = _or_none(_ref)
_opt_real = _or_none(_real)
_opt_given = _or_none(_given)

_READERS: dict[Any, _Reader] = {
    TAGS[ExecutionCreated]: _reader(ExecutionCreated, _real, _str, _opt_ref, _ref, _int, _str),
    TAGS[ExecutionStarted]: _reader(ExecutionStarted, _real, _int, _str, _bool, _dict),
    TAGS[TaskClaimed]: _claimed,
    TAGS[TaskCompleted]: _completed,
    TAGS[TaskFailed]: _reader(TaskFailed, _real, _str, _int, _error, _opt_real, _bool, _bool),
    TAGS[TaskInterrupted]: _reader(TaskInterrupted, _real, _str, _int, _str, _str),
    TAGS[TaskSkipped]: _reader(TaskSkipped, _real, _str, _str),
    TAGS[TasksReset]: _reader(TasksReset, _real, _strs, _str, _bool),
    TAGS[TaskProgressed]: _reader(TaskProgressed, _real, _str, _int, _opt_real, _opt_real, _str, _opt_ref),
    TAGS[CheckpointMade]: _reader(CheckpointMade, _real, _str, _or_none(_str), _dict, _opt_ref),
    TAGS[CancelRequested]: _reader(CancelRequested, _real, _str),
    TAGS[ExecutionFinished]: _reader(ExecutionFinished, _real, _str, _opt_ref, _or_none(_error)),
    TAGS[ToolsResolved]: _reader(ToolsResolved, _real, _calls),
    TAGS[TaskTraced]: _reader(TaskTraced, _real, _str, _int, _files, _files, _bool),
    TAGS[TaskReused]: _reader(TaskReused, _real, _str, _ref, _opt_given, _str),
    TAGS[TasksInvalidated]: _reader(TasksInvalidated, _real, _strs, _str),
    TAGS[ResultSet]: _reader(ResultSet, _real, _str, _ref, _str, _str),
    TAGS[DefinitionChanged]: _reader(DefinitionChanged, _real, _ref, _ref, _int, _texts, _str, _str),
    TAGS[ResumePlanned]: _reader(ResumePlanned, _real, _str, _str, _str, _dict, _or_none(_strs)),
    TAGS[DefinitionLoaded]: _reader(DefinitionLoaded, _real, _str, _str),
    TAGS[ExecutionForked]: _reader(ExecutionForked, _real, _str, _strs, _str, _str),
    TAGS[DecisionMade]: _reader(DecisionMade, _real, _str, _str, _int, _str, _texts),
    TAGS[TaskExpanded]: _reader(TaskExpanded, _real, _str, _strs, _opt_ref, _bool, _str, _int),
    TAGS[TaskGathered]: _reader(TaskGathered, _real, _str, _strs),
    TAGS[ExecutionWaiting]: _reader(ExecutionWaiting, _real, _opt_real),
    TAGS[SignalReceived]: _reader(SignalReceived, _real, _str, _str, _ref, _str, _real),
    TAGS[TaskWaiting]: _reader(TaskWaiting, _real, _str, _int, _str, _str, _opt_real, _str, _ref),
    TAGS[StageEntered]: _reader(StageEntered, _real, _str, _str, _strs, _or_none(_error)),
    TAGS[ExecutionLinked]: _reader(ExecutionLinked, _real, _str, _str, _int),
}
_WITH_DICT = frozenset({ExecutionStarted, CheckpointMade, ResumePlanned})
_DICTS = frozenset({"strategy", "metadata", "request"})
_NESTED = frozenset({ValueRef, ErrorInfo, FileSeen})
