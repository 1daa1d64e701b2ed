"""Paths come back as they were, or are refused."""

from __future__ import annotations

from pathlib import PurePosixPath, PureWindowsPath

import pytest

from orchestrator.errors import UnstorableValue
from orchestrator.state import codec


def test_a_path_that_its_own_text_does_not_make_again_is_refused() -> None:
    odd = PureWindowsPath("//a/")
    if PureWindowsPath(str(odd)) == odd:
        pytest.skip("this Python puts it together as it was")
    with pytest.raises(UnstorableValue, match="does not make again"):
        codec.encode(odd)


@pytest.mark.parametrize("path", [PurePosixPath("/a/b"), PureWindowsPath("C:\\a"), PureWindowsPath("//host/share/a")])
def test_other_paths_come_back(path: PurePosixPath | PureWindowsPath) -> None:
    assert codec.decode(codec.encode(path)) == path
