"""The merge patch between two statuses: applied to the first, it gives the second."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from finetune_operator.merge_patch import difference

values = st.recursive(
    st.integers() | st.text(max_size=3) | st.booleans() | st.lists(st.integers(), max_size=2),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
documents = st.dictionaries(st.sampled_from("abcd"), values, max_size=4)


def merged(before: Any, patch: Any) -> Any:
    """RFC 7386, as it stands there."""
    if not isinstance(patch, dict):
        return patch
    result = dict(before) if isinstance(before, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


@given(documents, documents)
def test_the_patch_leads_from_the_one_to_the_other(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert merged(before, difference(before, after)) == after


@given(documents)
def test_nothing_changed_is_an_empty_patch(document: dict[str, Any]) -> None:
    assert difference(document, document) == {}
