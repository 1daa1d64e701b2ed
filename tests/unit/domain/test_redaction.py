from __future__ import annotations

import base64
import html
import json
import string
from pathlib import PurePosixPath
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.events import ErrorInfo
from orchestrator.domain.redaction import Redactor
from orchestrator.domain.secret import SecretText, filled, named_in

SECRETS = st.text(string.printable + "äß→😀", min_size=6, max_size=40).filter(lambda text: len(set(text.strip())) > 3)


def knowing(*values: str) -> Redactor:
    redactor = Redactor()
    redactor.learn(values)
    return redactor


@settings(max_examples=60, deadline=None)
@given(secret=SECRETS, before=st.binary(max_size=4), after=st.binary(max_size=4))
def test_every_form_is_found_and_replaced(secret: str, before: bytes, after: bytes) -> None:
    redactor = knowing(secret)
    raw = secret.encode()
    for form in (
        secret,
        f"Bearer {secret}!",
        json.dumps({"token": secret}),
        json.dumps({"token": secret}, ensure_ascii=False),
        json.dumps(json.dumps(secret)),
        repr([secret]),
        ascii(secret),
        repr(raw),
        html.escape(secret),
        quote(secret),
        quote(secret, safe=""),
        quote_plus(secret),
        urlencode({"q": secret}),
        raw.hex(),
        raw.hex().upper(),
    ):
        assert "***" in redactor.text(form), form
        assert redactor.found_in(form.encode()), form
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        text = encode(before + raw + after).decode()
        clean = redactor.text(text)
        assert clean != text
        head, _, tail = clean.partition("***")
        assert len(head) + len(tail) <= len(text) - (len(raw) * 8 - 15) // 6


def test_values_are_cleaned_through_all_that_holds_others() -> None:
    redactor = knowing("s3cret-x", "line-one-of-it\nline-two-of-it")
    dirty = {
        "s3cret-x": ["a s3cret-x b", ("s3cret-x", 1, None, True, 2.5)],
        "raw": b"<s3cret-x>",
        "array": bytearray(b"s3cret-x"),
        "set": {"s3cret-x", frozenset({"s3cret-x!"})},
        "path": PurePosixPath("/x/s3cret-x/y"),
        "log": "it ended: line-two-of-it",
    }
    assert redactor.value(dirty) == {
        "***": ["a *** b", ("***", 1, None, True, 2.5)],
        "raw": b"<***>",
        "array": bytearray(b"***"),
        "set": {"***", frozenset({"***!"})},
        "path": PurePosixPath("/x/***/y"),
        "log": "it ended: ***",
    }
    assert redactor.error(ErrorInfo("s3cret-x", "no s3cret-x", trace="at s3cret-x")) == ErrorInfo(
        "***", "no ***", trace="at ***"
    )


def test_the_longest_value_goes_first_and_none_is_forgotten() -> None:
    redactor = knowing("secret")
    redactor.learn(["secret-and-more"])
    assert redactor.text("secret-and-more, secret") == "***, ***"
    assert not Redactor().active
    assert Redactor().text("secret") == "secret"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (SecretText(("", "TOKEN", "")), "{{ secrets.TOKEN }}"),
        (SecretText(("user:", "db-pass", "@host/", "N", "")), "user:{{ secrets['db-pass'] }}@host/{{ secrets.N }}"),
    ],
)
def test_a_text_with_secrets_shows_names_until_it_is_filled(text: SecretText, shown: str) -> None:
    assert str(text) == shown
    assert list(named_in({"a": [text, {"b": text}], "c": 1})) == [*text.names, *text.names]
    given = filled({"a": [text], "b": ("x", text), "c": {1}}, lambda name: f"<{name}>")
    assert given["a"][0] == given["b"][1] == "".join(f"<{p}>" if i % 2 else p for i, p in enumerate(text.parts))
    assert given["c"] == {1}
