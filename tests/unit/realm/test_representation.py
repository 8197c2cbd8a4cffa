"""Representations: what differs from what is wanted, and what is sent then."""

import pytest
from dicom_importer.realm.representation import (
    RepresentationError,
    differences,
    merged,
    record,
    records,
    text,
    texts,
)


def test_what_the_server_adds_is_no_difference() -> None:
    assert differences({"a": "1"}, {"a": "1", "id": "x"}) == []


def test_a_changed_value_is_named_by_its_path() -> None:
    assert differences({"a": {"b": 2}, "c": True}, {"a": {"b": 1}, "c": True}) == ["a.b"]


def test_a_missing_object_is_named_by_each_of_its_keys() -> None:
    assert differences({"a": {"b": 1, "c": 2}}, {}) == ["a.b", "a.c"]


def test_the_order_of_a_list_is_no_difference() -> None:
    assert differences({"a": ["x", "y"]}, {"a": ["y", "x"]}) == []


def test_one_more_item_in_a_list_is_a_difference() -> None:
    assert differences({"a": ["x"]}, {"a": ["x", "y"]}) == ["a"]


def test_an_empty_list_is_wanted_and_found_as_nothing() -> None:
    assert differences({"a": []}, {}) == []


def test_false_is_not_the_same_as_nothing() -> None:
    assert differences({"a": False}, {}) == ["a"]


def test_an_item_that_is_to_go_is_a_difference() -> None:
    assert differences({"a": []}, {"a": ["x"]}) == ["a"]


def test_merging_keeps_what_is_not_wanted_otherwise() -> None:
    assert merged({"a": {"b": 2}}, {"a": {"b": 1, "c": 3}, "id": "x"}) == {
        "a": {"b": 2, "c": 3},
        "id": "x",
    }


def test_merging_leaves_no_difference_and_changes_neither_side() -> None:
    wanted, found = record({"a": ["x"], "b": {"c": "1"}}), record({"a": [], "b": {"d": "2"}})
    assert differences(wanted, merged(wanted, found)) == []
    assert found == {"a": [], "b": {"d": "2"}}


def test_what_is_no_text_is_refused_by_its_key() -> None:
    with pytest.raises(RepresentationError, match="'id' is no text: 3"):
        text({"id": 3}, "id")


def test_a_list_of_other_things_than_texts_is_refused() -> None:
    with pytest.raises(RepresentationError, match="no list of texts"):
        texts({"roles": ["a", 1]}, "roles")


def test_nothing_is_an_empty_list_of_objects() -> None:
    assert records(None) == []
