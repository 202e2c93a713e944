"""Arguments behind a question mark: what each word means, and one clear sentence where it means nothing."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autobatch.cli.model_ref import parse_query
from autobatch.errors import ArgumentError

WORDS = st.text("abcxyzABC_-./:é ", min_size=1).map(str.strip).filter(bool)
SINGLE = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(), WORDS
)
VALUES = st.one_of(SINGLE, st.lists(SINGLE, min_size=1).map(tuple))
NAMES = st.from_regex(r"[a-z_][a-z0-9_]*", fullmatch=True)


def written(value):
    """A value as one may type it: text in quotes."""
    if isinstance(value, tuple):
        return ",".join(map(written, value)) + ("," if len(value) == 1 else "")
    if isinstance(value, str):
        return f"'{value}'" if "'" not in value else f'"{value}"'
    return str(value).lower() if value is None or isinstance(value, bool) else repr(value)


@pytest.mark.parametrize(
    ("query", "arguments"),
    [
        ("classes=10", {"classes": 10}),
        ("classes=10&input_shape=96,96,3", {"classes": 10, "input_shape": (96, 96, 3)}),
        ("alpha=0.5", {"alpha": 0.5}),
        ("rate=1e-3", {"rate": 1e-3}),
        ("half=.5&whole=2.", {"half": 0.5, "whole": 2.0}),
        ("depth=-2", {"depth": -2}),
        ("top=true&tail=False&pooling=none", {"top": True, "tail": False, "pooling": None}),
        ("pooling=avg", {"pooling": "avg"}),
        ("name='7'", {"name": "7"}),
        ('name="a&b=c,d"', {"name": "a&b=c,d"}),
        ("name=''", {"name": ""}),
        ("names='a,b',c", {"names": ("a,b", "c")}),
        ("shape=3,", {"shape": (3,)}),
        ("shape= 96, 96 ,3 ", {"shape": (96, 96, 3)}),
        ("path=a=b", {"path": "a=b"}),
        ("limit=inf&other=nan", {"limit": "inf", "other": "nan"}),
    ],
)
def test_a_value_is_what_it_looks_like(query, arguments):
    assert parse_query(query) == arguments


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("", "no name=value"),
        ("classes", "'classes' is no name=value"),
        ("=3", "no name=value"),
        ("a=1&", "no name=value"),
        ("&a=1", "no name=value"),
        ("a b=1", "no name=value"),
        ("1a=1", "no name=value"),
        ("a=", "a value is missing"),
        ("a=1,,2", "a value is missing"),
        ("a=1&a=2", "'a' is given twice"),
        ("a='x", "a quote is not closed"),
        ('a="x&b=2', "a quote is not closed"),
        ("shape=(8,8,3)", "write 8,8,3"),
        ("shape=[8]", "write 8,8,3"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason_and_an_example(query, says):
    with pytest.raises(ArgumentError, match=re.escape(says)) as caught:
        parse_query(query)
    assert f"Received: {query!r}" in str(caught.value)
    assert "classes=10" in str(caught.value)


@given(st.dictionaries(NAMES, VALUES, min_size=1))
def test_whatever_is_written_down_comes_back(arguments):
    """But for text with both kinds of quotes, which cannot be written."""
    texts = [item for value in arguments.values() for item in (value if isinstance(value, tuple) else (value,))]
    if any(isinstance(text, str) and "'" in text and '"' in text for text in texts):
        return
    query = "&".join(f"{name}={written(value)}" for name, value in arguments.items())
    assert parse_query(query) == arguments
    assert str(parse_query(query)) == str(arguments)  # 1 is not True, and 1.0 not 1


@given(st.text())
def test_any_text_is_read_or_refused(query):
    try:
        parsed = parse_query(query)
    except ArgumentError:
        return
    assert all(name.isidentifier() for name in parsed)
