"""Load on a whole stack: workstations that export, technicians who store, physicians who read, until told to stop."""

from __future__ import annotations

import os
import secrets
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import requests
from faults.submission import SECOND_CHUNK_PIXELS, Submission
from faults.upload import images
from harness.dicomweb import Reader
from harness.drop import remaining
from harness.people import People
from harness.wait import wait_until
from integration.test_store import END, HEAD, store, uids

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from faults.submission import File
    from harness.stack import Stack

WORKSTATIONS_EACH = 2
# What may wait in a clinic's inbox before its workstations pause.
WAITING_FILES = 30
EXPORT_INTERVAL_S = 0.2
RETRY_S = 0.5
READ_INTERVAL_S = 1.0
TOKEN_S = 60
END_TIMEOUT_S = 240
# Whatever a stack answers while it is killed: nobody is there, or it is not ready.
_PASSING = (429, 500, 502, 503, 504)
_SMALL_PIXELS = 63


@dataclass(slots=True)
class Delivery:
    """What a technician stores again and again until it is answered with success."""

    files: Submission
    attempts: int = 0
    is_answered: bool = False


@dataclass(slots=True)
class Load:
    """Who works on a stack, and what they were told; its clinics are its own."""

    stack: Stack
    people: People
    clinics: tuple[str, str]
    exports: list[Submission] = field(default_factory=list)
    # Folders that whoever wrote them has brought to disk.
    synced: set[str] = field(default_factory=set)
    deliveries: list[Delivery] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    reads: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Work until the end of the block; what was begun is brought to its end."""
        works = [
            (work, clinic)
            for clinic in self.clinics
            for work in (*[self._export] * WORKSTATIONS_EACH, self._store, self._read)
        ]
        threads = [threading.Thread(target=self._until_stopped, args=one) for one in works]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.stop.set()
            for thread in threads:
                thread.join(END_TIMEOUT_S)
        assert not any(thread.is_alive() for thread in threads), "somebody is still at work"

    def answered(self) -> list[Submission]:
        """Return what was answered with success so far."""
        return [one.files for one in list(self.deliveries) if one.is_answered]

    def in_inboxes(self) -> list[Path]:
        """Return what lies in the inboxes."""
        return [path for clinic in self.clinics for path in remaining(self.stack.inbox(clinic))]

    def await_progress(self) -> None:
        """Wait until more was answered and filed, and more is on its way."""
        before = self._progress()
        wait_until(
            lambda: all(now > then for now, then in zip(self._progress(), before, strict=True)),
            END_TIMEOUT_S,
            "the stack takes in what comes",
            lambda: f"{before} before, {self._progress()} now\n{self.stack.logs()}",
        )
        wait_until(self.in_inboxes, END_TIMEOUT_S, "something is on its way")

    def _progress(self) -> tuple[int, int, int]:
        filed = sum(
            len(remaining(self.stack.files / "processed" / clinic)) for clinic in self.clinics
        )
        return len(self.answered()), filed, self.reads

    def _until_stopped(self, work: Callable[[str], None], clinic: str) -> None:
        try:
            work(clinic)
        except Exception as error:  # noqa: BLE001 - a thread's edge: the test tells of it
            self.wrong.append(f"{work.__name__} of {clinic} ended: {error!r}")

    def _export(self, clinic: str) -> None:
        """Export folders; every second one is brought to disk, as a server for files may do."""
        number = 0
        while not self.stop.wait(EXPORT_INTERVAL_S):
            if len(remaining(self.stack.inbox(clinic))) > WAITING_FILES:
                continue
            one = _study(clinic, secrets.randbelow(4) + 1)
            number += 1
            self.exports.append(one)
            _write(self.stack.inbox(clinic) / one.folder, one.files, sync=number % 2 == 0)
            if number % 2 == 0:
                self.synced.add(one.folder)

    def _store(self, clinic: str) -> None:
        token = _Token(self.people, f"technician-{clinic}")
        while not self.stop.is_set():
            one = Delivery(_study(clinic, secrets.randbelow(3) + 1))
            body = b"".join(HEAD + file.content for file in one.files.files.values()) + END
            wanted = {file.sop_uid for file in one.files.files.values()}
            self.deliveries.append(one)
            until = time.monotonic() + END_TIMEOUT_S
            while not one.is_answered:
                assert time.monotonic() < until, f"{one.attempts} times without success"
                try:
                    bearer = token.get()
                    one.attempts += 1
                    answer = store(self.stack, bearer, body)
                except (requests.RequestException, AssertionError):
                    time.sleep(RETRY_S)  # a client's own pause
                    continue
                if answer.status_code == 200 and uids(answer) == wanted:
                    one.is_answered = True
                elif answer.status_code in (401, *_PASSING):
                    token.forget()
                    time.sleep(RETRY_S)
                else:
                    self.wrong.append(f"a technician was told {answer.status_code} {answer.text}")
                    return

    def _read(self, clinic: str) -> None:
        token = _Token(self.people, f"physician-{clinic}")
        while not self.stop.wait(READ_INTERVAL_S):
            own = [one for one in self.answered() if one.clinic == clinic]
            try:
                reader = Reader(self.stack, token.get())
                found = reader.study_uids()
                if own:
                    study = next(iter(own[-1].files.values())).study_uid
                    reader.search(f"/dicom-web/studies/{study}/instances")
            except (requests.RequestException, AssertionError):
                token.forget()
                continue
            self.reads += 1
            missing = {file.study_uid for one in own for file in one.files.values()} - found
            foreign = found & {
                file.study_uid
                for one in [*self.exports, *(one.files for one in self.deliveries)]
                if one.clinic != clinic
                for file in one.files.values()
            }
            if missing or foreign:
                self.wrong.append(f"{clinic} does not see {missing} and sees {foreign}")


@dataclass(slots=True)
class _Token:
    people: People
    name: str
    value: str = ""
    until: float = 0.0

    def get(self) -> str:
        if time.monotonic() > self.until:
            self.value = self.people.token(self.name, fresh=True)
            self.until = time.monotonic() + TOKEN_S
        return self.value

    def forget(self) -> None:
        self.until = 0.0


def load(stack: Stack) -> Load:
    """Make two clinics, with a technician and a physician each."""
    mark = secrets.token_hex(3)
    clinics = f"load-a-{mark}", f"load-b-{mark}"
    people = People(stack)
    for clinic in clinics:
        people.clinic(clinic, clinic)
        for role in ("technician", "physician"):
            people.person(f"{role}-{clinic}", role, clinic)
    return Load(stack, people, clinics)


def _study(clinic: str, slices: int) -> Submission:
    """Build a study; every third has slices that are sent in two pieces."""
    key = secrets.token_hex(6)
    size = SECOND_CHUNK_PIXELS if secrets.randbelow(3) == 0 else _SMALL_PIXELS
    return Submission(clinic, f"export-{key}", images(f"load {key}", slices, size))


def _write(folder: Path, files: dict[str, File], *, sync: bool) -> None:
    folder.mkdir()
    for name, file in files.items():
        with (folder / name).open("wb") as out:
            out.write(file.content)
            if sync:
                out.flush()
                os.fsync(out.fileno())
    for one in (folder, folder.parent) if sync else ():
        descriptor = os.open(one, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
