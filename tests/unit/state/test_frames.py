"""Arrays and frames, for each library that happens to be installed."""

import random
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import ormsgpack
import pytest

from orchestrator.errors import UnstorableValue
from orchestrator.state import exttypes, frames
from orchestrator.state.codec import CodecError, UnknownType, copy, decode, encode


def _installed(name: str) -> Any:
    return pytest.importorskip(name, reason=f"{name} is the user's choice and not installed here")


def test_no_library_is_imported_before_a_value_needs_it() -> None:
    code = """
import sys
from orchestrator.state import codec
codec.copy([1, (2,), {3: 4}])
print({"numpy", "pandas", "polars", "pyarrow", "pydantic"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
    assert frames.take(object()) is None


def test_a_value_of_a_library_that_is_not_here_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    stored = bytes([0xC7, 6, exttypes.ARRAY]) + b"\x94\xa3<f8"
    with pytest.raises(CodecError):
        decode(stored)
    whole = ormsgpack.packb(["<f8", [1], "C", bytes(8)])
    with pytest.raises(UnknownType, match="needs numpy, which is not installed"):
        decode(bytes([0xC7, len(whole), exttypes.ARRAY]) + whole)


def test_arrays() -> None:
    np = _installed("numpy")
    structured = np.dtype([("when", "<M8[ns]"), ("name", "<U5"), ("at", "<f4", (2,)), ("in", [("x", ">i2")])])
    for array in [
        np.arange(12).reshape(3, 4),
        np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        np.arange(24).reshape(2, 3, 4)[:, ::2, ::-1],
        np.array([np.nan, -0.0, np.inf]),
        np.array(5),
        np.zeros((0, 3), ">u2"),
        np.array(["a", "bcd"]),
        np.array([b"a", b"bc"]),
        np.array(["2024-01-01", "NaT"], "M8[D]"),
        np.array([1, 2], "m8[25s]"),
        np.array([1 + 2j], np.complex64),
        np.array([True, False]),
        np.zeros(3, structured),
        np.zeros(2, np.dtype([("a", "i1"), ("b", "i8")], align=True)),
        np.array([1.5], np.longdouble),
        np.array([1.5], np.float16),
    ]:
        back = copy({"a": [array]})["a"][0]
        assert type(back) is np.ndarray
        assert back.dtype == array.dtype
        assert back.shape == array.shape
        assert back.flags.f_contiguous == array.copy("K").flags.f_contiguous or array.ndim > 2
        assert back.tobytes() == array.tobytes()
        assert back.flags.writeable
        assert encode(back) == encode(array)


def test_scalars() -> None:
    np = _installed("numpy")
    for scalar in [
        np.float64(1.5), np.float32("nan"), np.int8(-1), np.uint64(2**64 - 1), np.bool_(1), np.str_("é"),
        np.datetime64("2024-01-01T00:00", "s"), np.timedelta64(3, "h"), np.complex128(1j), np.str_(""), np.bytes_(b""),
    ]:  # fmt: skip
        back = copy([scalar, (scalar,)])
        assert type(back[0]) is type(back[1][0]) is type(scalar)
        assert back[0].tobytes() == scalar.tobytes()
        assert back[0].dtype == scalar.dtype


def test_arrays_of_objects_are_refused() -> None:
    np = _installed("numpy")
    for array in [
        np.array([object()]),
        np.array([1, "a"], object),
        np.zeros(1, [("a", "i4"), ("b", object)]),
        np.ma.masked_array([1], [True]),
        np.zeros(2).view(np.recarray),
    ]:
        with pytest.raises(UnstorableValue, match=r"^result\.rows\[0\]: numpy"):
            encode({"rows": [array]})


@pytest.mark.parametrize(
    "row",
    [
        ["|O", [1], "C", bytes(8)],
        ["<f8", [2], "C", bytes(8)],
        ["<f8", [10**9], "C", bytes(8)],
        ["<f8", [-1, -1], "C", bytes(8)],
        ["<f8", [1], "K", bytes(8)],
        ["f8,O", [1], "C", bytes(16)],
        ["O", [0], "C", b""],
        [[[["a", "|O", [], 0]], 8, False], [1], "C", bytes(8)],
        [[[["a", "<f8", [], 4]], 8, False], [1], "C", bytes(8)],
        [[[["a", "<f8", [10**9], 0]], 8, False], [1], "C", bytes(8)],
        ["numpy.ndarray", [1], "C", bytes(8)],
    ],
    ids=str,
)
def test_hostile_arrays_are_refused(row: Any) -> None:
    _installed("numpy")
    data = ormsgpack.packb(row)
    with pytest.raises(CodecError):
        decode(bytes([0xC7, len(data), exttypes.ARRAY]) + data)


def test_pandas() -> None:
    pd = _installed("pandas")
    _installed("pyarrow")
    frame = pd.DataFrame(
        {
            "n": [1, 2],
            "x": [1.5, float("nan")],
            "s": ["a", None],
            "when": pd.to_datetime(["2024-01-01", None]).tz_localize("Europe/Berlin"),
            "kind": pd.Categorical(["a", "b"], ordered=True),
            "maybe": pd.array([1, None], "Int64"),
        }
    )
    for value in [frame, frame.set_index("n"), frame.iloc[:0], frame.set_index(["n", "s"]), frame[frame.n > 1]]:
        back = copy([value])[0]
        pd.testing.assert_frame_equal(back, value)
    for series in [frame.x, frame.kind.rename(None), frame.n.rename("other")]:
        pd.testing.assert_series_equal(copy(series), series)


def test_frames_that_would_change_are_refused() -> None:
    pd = _installed("pandas")
    _installed("pyarrow")
    for frame in [
        pd.DataFrame({"a": [object()]}),
        pd.DataFrame({"a": [1, "x"]}),
        pd.DataFrame({"a": [(1, 2)]}),
        pd.DataFrame({1: [1]}),
        pd.DataFrame({"a": [{1, 2}]}),
    ]:
        with pytest.raises(UnstorableValue, match=r"^result\[0\]: pandas"):
            encode([frame])


def test_polars() -> None:
    pl = _installed("polars")
    when = datetime(2024, 1, 1, tzinfo=UTC)
    frame = pl.DataFrame(
        {
            "a": [1, None],
            "b": ["x", "y"],
            "c": [[1], []],
            "d": [float("nan"), 0.0],
            "t": [when, None],
        }
    )
    back = copy({"frame": frame})["frame"]
    assert back.schema == frame.schema
    assert back.equals(frame)
    series = pl.Series("s", [1, 2, None], pl.Int8)
    assert copy(series).equals(series, check_names=True, check_dtypes=True)
    with pytest.raises(UnstorableValue, match="Python objects"):
        encode(pl.DataFrame({"a": [object()]}))


def test_arrow_tables() -> None:
    pa = _installed("pyarrow")
    table = pa.table({"a": [1, None], "b": [["x"], []]}).replace_schema_metadata({"k": "v"})
    back = copy((table,))[0]
    assert back.equals(table, check_metadata=True)


def test_mutated_frames_are_values_or_errors() -> None:
    pa = _installed("pyarrow")
    chance = random.Random(2)
    stored = encode(pa.table({"a": [1, 2, 3], "b": ["x", "y", None]}))
    for _ in range(300):
        changed = bytearray(stored)
        changed[chance.randrange(3, len(changed))] = chance.randrange(256)
        try:
            decode(bytes(changed))
        except CodecError:
            continue
