"""Who may store into which clinic: what can be registered, and what is never mixed up."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from dicom_importer import received
from dicom_receiver import senders
from dicom_receiver.senders import Register, SenderError, add, address, find, read, remove, sender

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Provide the place of the senders, with one of each clinic."""
    path = tmp_path / "senders.json"
    add(path, sender("clinic-a", "CT01", "192.0.2.10"))
    add(path, sender("clinic-b", "US 1", "192.0.2.64/28"))
    return path


@pytest.mark.parametrize(
    ("ae_title", "caller", "clinic"),
    [
        ("CT01", "192.0.2.10", "clinic-a"),
        ("CT01", "::ffff:192.0.2.10", "clinic-a"),
        ("US 1", "192.0.2.70", "clinic-b"),
        ("CT01", "192.0.2.11", None),
        ("ct01", "192.0.2.10", None),
        ("US 1", "192.0.2.10", None),
        ("US 1", "2001:db8::1", None),
        ("", "192.0.2.10", None),
        ("../clinic-b", "192.0.2.10", None),
    ],
)
def test_title_and_address_together_name_the_clinic(
    file: Path, ae_title: str, caller: str, clinic: str | None
) -> None:
    found = find(read(file), ae_title, address(caller))
    assert (found.clinic if found else None) == clinic


@pytest.mark.parametrize(
    ("clinic", "ae_title", "where", "said"),
    [
        ("../clinic-b", "CT01", "192.0.2.10", "no clinic's id"),
        ("clinic-a", "../clinic-b", "192.0.2.10", "no AE title"),
        ("clinic-a", "A" * 17, "192.0.2.10", "no AE title"),
        ("clinic-a", " CT01", "192.0.2.10", "no AE title"),
        ("clinic-a", "", "192.0.2.10", "no AE title"),
        ("clinic-a", "CT\\01", "192.0.2.10", "no AE title"),
        ("clinic-a", "CT01", "ct.example.org", "no address"),
        ("clinic-a", "CT01", "", "no address"),
        ("clinic-a", "CT01", "192.0.2.10/24", "no address"),
    ],
)
def test_what_cannot_be_a_sender_is_refused_with_what_to_give(
    clinic: str, ae_title: str, where: str, said: str
) -> None:
    with pytest.raises(SenderError, match=said):
        sender(clinic, ae_title, where)


def test_one_device_is_of_one_clinic(file: Path) -> None:
    with pytest.raises(SenderError, match="stores into clinic clinic-a already"):
        add(file, sender("clinic-b", "CT01", "192.0.2.0/24"))
    add(file, sender("clinic-b", "CT01", "192.0.2.11"))
    add(file, sender("clinic-b", "CT01", "2001:db8::1"))
    add(file, sender("clinic-a", "CT01", "192.0.2.10"))
    assert len(read(file)) == 4


def test_a_sender_is_removed_by_title_and_by_address(file: Path) -> None:
    add(file, sender("clinic-a", "CT01", "192.0.2.12"))
    remove(file, "CT01", "192.0.2.12/32")
    assert find(read(file), "CT01", address("192.0.2.10"))
    remove(file, "CT01", "")
    assert [one.ae_title for one in read(file)] == ["US 1"]
    with pytest.raises(SenderError, match="there is no sender CT01"):
        remove(file, "CT01", "")


def test_a_change_counts_without_a_start_anew(file: Path) -> None:
    register = Register(file)
    assert len(register.known()) == 2
    add(file, sender("clinic-a", "MR01", "192.0.2.20"))
    assert len(register.known()) == 3
    file.unlink()
    assert register.known() == ()


@pytest.mark.parametrize("content", ["", "{}x", '[{"clinic": "clinic-a"}]', '["CT01"]'])
def test_a_file_that_is_no_list_lets_nobody_in(file: Path, content: str) -> None:
    register = Register(file)
    register.known()
    file.write_text(content)
    for _ in range(2):
        with pytest.raises(SenderError, match="no list of senders"):
            register.known()


def test_a_list_edited_by_hand_is_checked_as_a_command_is(file: Path) -> None:
    file.write_text(json.dumps([{"clinic": "../x", "ae_title": "A", "network": "192.0.2.1"}]))
    with pytest.raises(SenderError):
        read(file)


@pytest.mark.parametrize("ae_title", ["CT01", "US 1", "a_b-c.d+e"])
@pytest.mark.parametrize("caller", ["192.0.2.10", "2001:db8::1"])
def test_a_folder_tells_who_sent_what_lies_in_it(ae_title: str, caller: str) -> None:
    peer = received.Peer(ae_title, caller)
    name = received.name(datetime(2026, 11, 26, tzinfo=UTC), "0123abcd", peer)
    assert received.peer(name) == peer
    assert "/" not in name


@pytest.mark.parametrize(
    "name",
    ["export", "20261126-000000-0123abcd.stow", "20261126-000000-0123abcd-A/B@1.2.3.4.dimse"],
)
def test_another_folder_tells_nothing_of_the_kind(name: str) -> None:
    assert received.peer(name) is None


def test_the_senders_of_a_title_do_not_depend_on_their_order() -> None:
    known = (sender("clinic-b", "X", "192.0.2.2"), sender("clinic-a", "X", "192.0.2.1"))
    for listed in (known, known[::-1]):
        assert find(listed, "X", senders.address("192.0.2.1")) == known[1]
