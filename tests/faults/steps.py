"""Names the steps of the importer's flow in the system calls of a worker."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from harness.strace import Call

COPYING = "keep the archive's copy"
# What is done with a zip file only.
UNPACKING = (
    "create what is unpacked",
    "write what is unpacked",
    "sync what is unpacked",
    "show what is unpacked",
    "remove where it was unpacked",
)
# The first that fits names a call; calls without a name change nothing and are no step.
_CALLS = (
    ("", "", r'/pycache/|"/usr/lib/|<[^>]*\.pyc?[.>]'),
    ("fetch a token", "openat|read", r"orthanc_api_secret"),
    ("fetch a token", "connect", r""),
    ("fetch a token", "sendto", r'"(POST /auth/|grant_type=)'),
    (
        "ask the archive",
        "sendto",
        r'"(POST /tools/(?:find|lookup)|[0-9.]+"|GET /[a-z]+/[0-9a-f-]+)',
    ),
    ("begin to send", "sendto", r'"POST /dicom-web/studies'),
    ("end the body", "sendto", r'"\\r\\n--'),
    ("send the image", "sendto", r""),
    (COPYING, "openat|write|read|pread64", r"/state/spool"),
    (UNPACKING[0], "openat", r"O_WRONLY\|O_CREAT\|O_EXCL"),
    (UNPACKING[1], "write", r"/\.dicom-importer-unpacking/"),
    (UNPACKING[2], "fsync", r"/\.dicom-importer-unpacking[/>]"),
    (UNPACKING[3], "renameat2", r"/\.dicom-importer-unpacking>"),
    (UNPACKING[4], "unlinkat", r"/inbox/.*AT_REMOVEDIR"),
    ("open the file", "openat", r"/inbox/.*, O_RDONLY\|O_NONBLOCK"),
    ("read the file", "read|pread64", r"/inbox/"),
    ("write the journal", "pwrite64", r"journal\.sqlite"),
    ("sync the journal", "fdatasync|fsync", r"journal\.sqlite"),
    ("", "mkdirat", r"EEXIST"),
    ("make a folder", "mkdirat", r""),
    ("create the copy", "openat", r"\.copy\.part\", O_RDWR"),
    ("write the copy", "write", r"\.copy\.part>"),
    ("sync the copy", "fsync", r"\.copy\.part>"),
    ("compare the copy", "pread64", r"\.copy\.part>"),
    ("name the copy", "linkat", r"\.copy\.part\""),
    ("unlink the passing name", "unlinkat", r"\.copy\.part\""),
    ("create the reason", "openat", r"\.part\", O_WRONLY"),
    ("write the reason", "write", r"\.part>"),
    ("sync the reason", "fsync", r"\.part>"),
    ("name the reason", "renameat", r""),
    ("link the file", "linkat", r""),
    ("unlink the file", "unlinkat", r"/inbox/"),
    ("sync the original", "fsync", r"/inbox/.*\.(dcm|txt)>"),
    ("sync the inbox", "fsync", r"/inbox/"),
    ("sync the file", "fsync", r"/(processed|failed)/.*\.(dcm|txt)>"),
    ("sync a folder", "fsync", r"/(processed|failed)[/>]"),
    ("log the outcome", "write", r"^1<"),
    ("", "openat", r"O_DIRECTORY|/(processed|failed)/"),
    ("", "read|pread64|openat|getdents64", r"journal\.sqlite"),
    # What lies beside a file that is no image.
    ("", "getdents64|newfstatat|fstat", r"/inbox/"),
    # Whether an operator's command is replacing this study: read, and mostly not there.
    ("", "read|openat", r"/replacement/plan\.json"),
    # Why a file was put off, for explain: nothing waits for it.
    ("", "openat|read|pread64|pwrite64|fdatasync|fsync|unlink", r"delays\.sqlite"),
)
_ALL = (*dict.fromkeys(name for name, _, _ in _CALLS if name), "hear of the image")
# Only where processed/ lies on another file system.
COPY_NAMES = tuple(name for name in _ALL if name.endswith((" the copy", "passing name")))
NAMES = tuple(name for name in _ALL if name not in (*COPY_NAMES, *UNPACKING))
_QUESTIONS = ("fetch a token", "ask the archive")
_SENDING = ("begin to send", "send the image")
_SOURCE = re.compile(r'"([^"/]+)", O_RDONLY\|O_NONBLOCK')


@dataclass(frozen=True, order=True, slots=True)
class Step:
    """A step of the way: the file opened last, of a batch in step, what is done, the how-manieth time."""

    file: str
    name: str
    time: int

    def __str__(self) -> str:
        return f"{self.name} ({self.time}) of {self.file}"


def steps(calls: Iterable[Call]) -> dict[Step, list[Call]]:
    """Join calls that follow each other under one name."""
    return joined(_named(calls))


def joined(named: Iterable[tuple[str, str, Call]]) -> dict[Step, list[Call]]:
    """Join calls that follow each other for one file under one name; those without are left out."""
    result: dict[Step, list[Call]] = {}
    step = Step("", "", 0)
    for file, name, call in named:
        if name and (file, name) != (step.file, step.name):
            time = 1 + sum(one.file == file and one.name == name for one in result)
            step = Step(file, name, time)
        if name:
            result.setdefault(step, []).append(call)
    return result


def _named(calls: Iterable[Call]) -> Iterator[tuple[str, str, Call]]:
    file = before = asked = ""
    for call in calls:
        name = asked if call.name == "recvfrom" else _name(call)
        if call.name == "recvfrom" and before == COPYING:
            name = COPYING
        if call.name == "sendto":
            asked = name if name in _QUESTIONS else "hear of the image"
        if not name or (name == "read the file" and before in _SENDING):
            continue
        if name == "open the file" and (source := _SOURCE.search(call.arguments)):
            file = source[1]
        before = name
        yield file, name, call


def middle(calls: list[Call]) -> Call:
    """Return a step's call to be interrupted at, a steady one if there is one.

    An answer comes in one piece or in two, so that calls that receive are counted otherwise.
    """
    steady = [call for call in calls if call.name != "recvfrom"] or calls
    return steady[len(steady) // 2]


def _name(call: Call) -> str:
    for name, calls, pattern in _CALLS:
        if re.fullmatch(calls or ".*", call.name) and re.search(pattern, call.arguments):
            return name
    raise AssertionError(f"no step is known for {call}")
