"""`response_format` as JSON in every shape: understood, or refused by name."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.apis.openai.response_format import parse_response_format
from gateway.errors import InvalidRequest

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=10,
)
SCHEMA = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["x", "a-b", ""]) | JSON,
        "schema": JSON,
        "description": JSON,
        "strict": JSON,
    },
)
FORMATS = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["text", "json_object", "json_schema"]) | JSON,
        "json_schema": SCHEMA | JSON,
    },
)


CODES = ("invalid_type", "missing_required_parameter", "unsupported_value")


@given(FORMATS)
def test_any_value_is_understood_or_refused_by_name(value: dict[str, Any]) -> None:
    refusal: InvalidRequest | None = None
    try:
        found = parse_response_format(value)
    except InvalidRequest as error:
        refusal = error
    if refusal is not None:
        assert (refusal.param or "").startswith("response_format.")
        assert refusal.code in CODES
    else:
        assert (found is None) == (value["type"] == "text")
        if found is not None and found.schema is not None:
            assert found.schema == value["json_schema"]["schema"]
