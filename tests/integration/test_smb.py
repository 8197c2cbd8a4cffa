"""A clinic copies into its network share, with Samba's own client: into its own inbox, and nothing else."""

from __future__ import annotations

import json
import re
import secrets
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from harness import smb
from harness.drop import drop_files, put, settled
from harness.phantom import ct, panoramic
from harness.wait import wait_until
from stack.accounts import INBOX_GID, read
from stack.nt_hash import nt_hash
from stack.shell import attempt

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.dicomweb import Reader
    from harness.people import People
    from harness.smb import Account
    from harness.stack import Stack

SLICES = 500
CLINIC, OTHER = "clinic-share", "clinic-share-2"
BYTES_AT_CUT = 4_000_000
REFUSED = r"NT_STATUS_(ACCESS_DENIED|BAD_NETWORK_NAME)"


@pytest.fixture(scope="module")
def account(stack: Stack, people: People, tmp_path_factory: pytest.TempPathFactory) -> Account:
    """Provide the account of a clinic, beside one of another."""
    assert stack.value("SMB_PORT")
    folder = tmp_path_factory.mktemp("workstation")
    for clinic in (OTHER, CLINIC):
        people.clinic(clinic, f"Clinic of {clinic}")
        people.person(f"physician-{clinic}", "physician", clinic)
        made = smb.by_password(stack, clinic, folder)
    return made


def size(path: Path) -> int:
    """Return a file's size in bytes, 0 where there is none."""
    return path.stat().st_size if path.exists() else 0


def cut_off(stack: Stack, account: Account, content: bytes, folder: str, name: str) -> Path:
    """Copy a file under a name, cut the connection in its middle; returns it as it lies in the inbox."""
    there = stack.inbox(CLINIC) / folder / name
    # The client sends only when it has read 32 MB.
    lines = f"--command=iosize 65536; mkdir {folder}; cd {folder}; put - {name}"
    with account.connected(lines) as client:
        assert client.stdin
        client.stdin.write(content[: len(content) // 2])
        client.stdin.flush()
        wait_until(lambda: size(there) > BYTES_AT_CUT, 60, "the upload is in its middle")
        client.kill()
    assert size(there) < len(content)
    # The importer takes something that came later: it has then looked at this one, too.
    assert drop_files(stack, CLINIC, ct(seed=23, slices=1, size=63).files).processed
    assert there.exists()
    return there


def test_a_study_of_500_slices_arrives_and_its_physician_finds_it(
    stack: Stack, account: Account, reader: Callable[[str], Reader], tmp_path: Path
) -> None:
    study = ct(seed=21, slices=SLICES, size=63)
    folder = tmp_path / f"export-{secrets.token_hex(4)}"
    put(folder, study.files)
    done = account.upload(f"lcd {tmp_path}", "recurse on", "prompt off", f"mput {folder.name}")
    assert done.returncode == 0, done.stdout + done.stderr
    outcome = settled(stack, CLINIC, folder.name, timeout_s=120)
    assert {n: p.read_bytes() for n, p in outcome.processed.items()} == study.files
    found = reader(f"physician-{CLINIC}").search(
        f"/dicom-web/instances?StudyInstanceUID={study.uid}&limit=10000"
    )
    assert len(found) == SLICES
    assert study.uid not in reader(f"physician-{OTHER}").study_uids()


@pytest.mark.parametrize("suffix", ["", ".part"])
def test_an_upload_that_is_cut_is_not_taken_by_half_and_arrives_when_it_goes_on(
    stack: Stack, account: Account, tmp_path: Path, suffix: str
) -> None:
    study = panoramic(seed=22 + len(suffix), rows=6001, columns=6007)
    ((name, content),) = study.files.items()
    folder = f"export-{secrets.token_hex(4)}"
    there = cut_off(stack, account, content, folder, name + suffix)
    put(tmp_path, study.files)
    # As Windows does: from the beginning, over what is there. smbclient's own way to resume writes at the wrong place.
    rename = (f"rename {there.name} {name}",) if suffix else ()
    again = account.upload(f"lcd {tmp_path}", f"cd {folder}", f"put {name} {there.name}", *rename)
    assert again.returncode == 0, again.stdout + again.stderr
    outcome = settled(stack, CLINIC, folder)
    assert outcome.processed.keys() == study.files.keys(), outcome.reasons
    assert outcome.processed[name].read_bytes() == content


def test_a_share_is_seen_at_the_address_that_was_named_and_at_no_other(account: Account) -> None:
    assert account.upload("ls").returncode == 0
    refused = replace(account, address="127.0.0.2").upload("ls")
    assert "NT_STATUS_CONNECTION_REFUSED" in refused.stdout + refused.stderr


def test_another_clinics_share_is_neither_shown_nor_opened(account: Account) -> None:
    assert account.upload("ls").returncode == 0
    assert account.shares() - {"IPC$"} == {CLINIC}
    for share in (OTHER, "inbox", "root", "nobody", "clinic-share/../clinic-share-2"):
        refused = account.upload("ls", share=share)
        assert refused.returncode != 0, share
        assert re.search(REFUSED, refused.stdout), (share, refused.stdout)


def test_no_path_leads_out_of_the_share(stack: Stack, account: Account, tmp_path: Path) -> None:
    waiting = stack.inbox(OTHER) / "waiting.part"
    waiting.write_bytes(b"another clinic's")
    link, file_link = (stack.inbox(CLINIC) / name for name in ("leads-out", "leads-out.part"))
    # Made by somebody on the host; by the share none is.
    link.symlink_to(f"../{OTHER}")
    file_link.symlink_to(f"../{OTHER}/waiting.part")
    (tmp_path / "x.part").write_bytes(b"x")
    try:
        for way in (f"..\\{OTHER}", f"..\\..\\srv\\smb\\{OTHER}", f"../{OTHER}", link.name):
            for asked in (f"get {way}\\waiting.part got", f"put x.part {way}\\x.part"):
                refused = account.upload(f"lcd {tmp_path}", asked)
                assert "NT_STATUS_" in refused.stdout, (asked, refused.stdout)
        refused = account.upload(f"lcd {tmp_path}", f"get {file_link.name} got")
        assert "NT_STATUS_" in refused.stdout, refused.stdout
        made = account.upload("posix", "symlink /srv out")
        assert "NT_STATUS_" in made.stdout or made.returncode, made.stdout
        assert not (tmp_path / "got").exists()
        assert [path.name for path in waiting.parent.glob("*.part")] == [waiting.name]
        assert waiting.read_bytes() == b"another clinic's"
        assert not (stack.inbox(CLINIC) / "out").is_symlink()
    finally:
        for path in (waiting, link, file_link):
            path.unlink()


def test_what_other_doors_have_not_finished_is_none_of_the_shares(
    stack: Stack, account: Account, tmp_path: Path
) -> None:
    hidden = stack.inbox(CLINIC) / ".dicom-importer-uploading"
    hidden.mkdir(exist_ok=True)
    held = hidden / "held.part"
    held.write_bytes(b"somebody's upload")
    (tmp_path / "x.part").write_bytes(b"x")
    try:
        assert hidden.name not in account.upload("ls").stdout
        for asked in (
            f"get {hidden.name}\\held.part got",
            f"put x.part {hidden.name}\\x.part",
            f"rm {hidden.name}\\held.part",
            "mkdir .dicom-importer-unpacking",
        ):
            refused = account.upload(f"lcd {tmp_path}", asked)
            assert "NT_STATUS_" in refused.stdout, (asked, refused.stdout)
        assert [path.name for path in hidden.iterdir()] == [held.name]
        assert not (tmp_path / "got").exists()
    finally:
        held.unlink()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--max-protocol=SMB3_02",), "NT_STATUS_NOT_SUPPORTED"),
        (("--max-protocol=SMB2_10",), "NT_STATUS_NOT_SUPPORTED"),
        (
            ("--max-protocol=NT1", "--option=client min protocol=NT1"),
            "NT_STATUS_(CONNECTION|INVALID|NOT_SUPPORTED)",
        ),
    ],
)
def test_who_speaks_as_before_is_refused(
    account: Account, options: tuple[str, ...], reason: str
) -> None:
    assert account.upload("ls").returncode == 0
    refused = account.upload("ls", options=options)
    assert refused.returncode != 0
    assert re.search(reason, refused.stdout + refused.stderr), refused


@pytest.mark.parametrize("wish", ["off", "sign"])
def test_who_would_speak_in_the_clear_is_encrypted_and_signed_all_the_same(
    stack: Stack, account: Account, wish: str
) -> None:
    def sessions() -> list[dict[str, Any]]:
        asked = ("smbstatus", "--configfile=/etc/smb/smb.conf", "--json")
        return [*json.loads(stack.exec("smb", *asked).stdout)["sessions"].values()]

    wait_until(lambda: not sessions(), 20, "nobody is logged in")
    with account.connected(f"--client-protection={wish}"):
        (session,) = wait_until(sessions, 20, "somebody is logged in")
    assert session["session_dialect"] == "SMB3_11"
    assert session["encryption"]["degree"] == session["signing"]["degree"] == "full"


def test_nobody_comes_in_without_the_password(stack: Stack, account: Account) -> None:
    wrong = replace(account, password=f"wrong-{secrets.token_hex(8)}")
    assert "NT_STATUS_LOGON_FAILURE" in wrong.upload("ls").stdout
    assert account.upload("ls").returncode == 0
    place = f"//{account.address}/{CLINIC}"
    guest = ["smbclient", place, f"--port={account.port}", "--no-pass", "--user=%", "--command=ls"]
    refused = attempt(guest)
    assert refused.returncode != 0
    assert "NT_STATUS_ACCESS_DENIED" in refused.stdout
    said = stack.logs("smb", 10_000)
    assert '"status": "NT_STATUS_WRONG_PASSWORD"' in said
    assert f'"becameAccount": "{CLINIC}"' in said
    assert wrong.password not in said
    assert account.password not in said


def test_no_file_name_is_written_down(stack: Stack, account: Account, tmp_path: Path) -> None:
    patient = f"Doe^Jane-{secrets.token_hex(4)}.part"
    (tmp_path / patient).write_bytes(b"x")
    done = account.upload(f"lcd {tmp_path}", f'put "{patient}"', f'rm "{patient}"')
    assert done.returncode == 0, done.stdout
    assert "NT_STATUS_OBJECT_NAME_NOT_FOUND" in account.upload("get absent").stdout
    said = stack.logs("smb", 10_000)
    assert CLINIC in said
    assert "Doe" not in said
    assert "absent" not in said


def test_what_arrives_may_be_taken_by_the_inboxs_group_and_is_the_accounts(
    stack: Stack, account: Account, tmp_path: Path
) -> None:
    (tmp_path / "x.part").write_bytes(b"x")
    name = f"held-{secrets.token_hex(4)}"
    uid = read(stack.data_dir / "secrets" / "accounts")[CLINIC].uid
    # A CD's files bear the attribute; somebody would lock the importer out.
    lines = (f"put x.part {name}\\x.part", f"setmode {name}\\x.part +r", f"mkdir {name}\\below")
    done = account.upload(f"lcd {tmp_path}", f"mkdir {name}", *lines)
    assert done.returncode == 0, done.stdout
    folder = stack.inbox(CLINIC) / name
    found = {path.name: path.stat() for path in (folder, *folder.iterdir())}
    assert {n: (s.st_uid, s.st_gid, s.st_mode & 0o7777) for n, s in found.items()} == {
        name: (uid, INBOX_GID, 0o2770),
        "below": (uid, INBOX_GID, 0o2770),
        "x.part": (uid, INBOX_GID, 0o660),
    }
    gone = account.upload(f"rm {name}\\x.part", f"rmdir {name}\\below", f"rmdir {name}")
    assert gone.returncode == 0, gone.stdout
    assert not folder.exists()


def test_what_was_closed_or_renamed_is_on_the_disk_before_the_client_is_told(
    stack: Stack, account: Account, tmp_path: Path
) -> None:
    (tmp_path / "x.part").write_bytes(b"x" * 4096)
    name, trace = f"y-{secrets.token_hex(4)}.part", tmp_path / "trace"
    first = stack.main_process("smb")
    server, *_ = Path(f"/proc/{first}/task/{first}/children").read_text().split()
    words = ["strace", "-qq", "-f", "-yy", "-e", "trace=fsync,fdatasync", "-o", str(trace)]
    words += ["-p", server]
    with subprocess.Popen(words) as tracer:
        wait_until(
            lambda: f"TracerPid:\t{tracer.pid}" in Path(f"/proc/{server}/status").read_text(),
            20,
            "it is looked at",
        )
        done = account.upload(f"lcd {tmp_path}", "put x.part", f"rename x.part {name}")
        tracer.terminate()
    assert done.returncode == 0, done.stdout
    asked = trace.read_text()
    assert f"/{CLINIC}/x.part>" in asked, asked
    assert f"/{CLINIC}>" in asked, asked
    assert account.upload(f"rm {name}").returncode == 0


def test_a_renewed_account_ends_its_sessions_and_a_removed_one_opens_by_nothing(
    stack: Stack, people: People, account: Account, tmp_path: Path
) -> None:
    clinic = "clinic-share-gone"
    people.clinic(clinic, "Clinic that goes")
    first = smb.by_password(stack, clinic, tmp_path)

    def logins() -> int:
        return stack.logs("smb", 10_000).count(f'"becameAccount": "{clinic}"')

    before = logins()
    with first.connected() as session:
        wait_until(lambda: logins() > before, 20, "somebody is logged in")
        second = smb.by_password(stack, clinic, tmp_path)
        said = session.communicate(b"ls\n", timeout=smb.TIMEOUT_S)[0].decode()
    assert "NT_STATUS_" in said
    assert "NT_STATUS_LOGON_FAILURE" in first.upload("ls").stdout
    assert second.upload("ls").returncode == 0
    stack.operate("account-remove", CLINIC=clinic)
    wait_until(lambda: account.upload("ls").returncode == 0, 30, "the door is open", stack.logs)
    assert "NT_STATUS_LOGON_FAILURE" in second.upload("ls").stdout


def test_only_hashes_of_passwords_are_kept_and_root_alone_reads_them(
    stack: Stack, account: Account
) -> None:
    folder = stack.data_dir / "secrets" / "accounts"
    kept = folder / "smbpasswd"
    assert f"{CLINIC}:" in kept.read_text()
    assert nt_hash(account.password) in kept.read_text()
    texts = [path.read_text() for path in folder.rglob("*") if path.is_file()]
    assert not any(account.password in text for text in texts)
    for path in (kept, folder / "accounts.json"):
        status = path.stat()
        assert (status.st_uid, status.st_mode & 0o777) == (0, 0o600)
