"""What the security tests act on: a study of each clinic, one of none and none at all, asked for by every caller."""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass, field, replace
from io import BytesIO
from time import monotonic, time
from typing import TYPE_CHECKING

import pydicom
import requests
from harness import phantom
from harness.drop import put, settled
from harness.forging import Forger
from harness.own_importer import backend_url
from harness.people import claims, service_token
from harness.realm_key import BESIDE, master_token, realm_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from harness.people import People
    from harness.stack import Session, Stack

TOKEN_LIFETIME_S = 200  # the realm's is 300
SERVICES = {"importer": "orthanc-api", "monitoring": "monitoring", "auditor": "auditor"}
# What two answers may differ in without telling anything of the resource.
VOLATILE = {"date", "x-request-id"}
BOUNDARY = "part-of-the-test"
MULTIPART = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'


@dataclass(frozen=True, slots=True)
class Stored:
    """One object: its UIDs, its patient, and its file where it is stored or can be."""

    study: str
    series: str
    instance: str
    patient: str = "PHANTOM-1"
    content: bytes = b""

    @property
    def in_study(self) -> str:
        """The resource of its study (PS3.18 10.4)."""
        return f"/dicom-web/studies/{self.study}"

    @property
    def in_series(self) -> str:
        """The resource of its series."""
        return f"{self.in_study}/series/{self.series}"

    @property
    def path(self) -> str:
        """The object's resource."""
        return f"{self.in_series}/instances/{self.instance}"

    @property
    def wado_uri(self) -> str:
        """The object by WADO-URI (PS3.18 9.1)."""
        return (
            f"/wado?requestType=WADO&studyUID={self.study}&seriesUID={self.series}"
            f"&objectUID={self.instance}&contentType=application/dicom"
        )

    def fill(self, template: str) -> str:
        """Put this object's UIDs and Orthanc's identifiers into a path."""
        uids = {"study": self.study, "series": self.series, "instance": self.instance}
        places = {"S": self.in_study, "E": self.in_series, "I": self.path, "wado": self.wado_uri}
        names = list(uids.values())
        identifiers = {
            f"{level}_id": identifier(self.patient, *names[:depth])
            for depth, level in enumerate(("patient", "study", "series", "instance"))
        }
        return template.format_map(uids | places | identifiers)


def identifier(*parts: str) -> str:
    """Compute Orthanc's identifier: a SHA-1 over the patient's ID and the UIDs."""
    digest = hashlib.sha1("|".join(parts).encode(), usedforsecurity=False).hexdigest()
    return "-".join(digest[i : i + 8] for i in range(0, 40, 8))


def made(seed: int) -> Stored:
    """Make an object that is not stored yet, of a patient of its own."""
    patient = f"P-{secrets.token_hex(4)}"
    study = phantom.ct(seed, phantom.Identity(patient_id=patient, institution=""), slices=1, size=9)
    (content,) = study.files.values()
    uids = (study.uid, study.identity.uid("series"), study.identity.uid("instance", 0))
    return Stored(*uids, patient, content)


def changed(thing: Stored, **values: str | None) -> Stored:
    """Give an object other values of attributes, named by keyword; None takes one away."""
    dataset = pydicom.dcmread(BytesIO(thing.content))
    for keyword, value in values.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    content = BytesIO()
    dataset.save_as(content)
    return replace(thing, content=content.getvalue())


def dated(thing: Stored, day: str | None, at: str | None) -> Stored:
    """Give an object another study date and time (DA, TM); None takes them away."""
    return changed(thing, StudyDate=day, StudyTime=at)


def part(content: bytes) -> bytes:
    """Make the body of a store request for one object (PS3.18 10.5.1)."""
    head = f"\r\n--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    return head + content + f"\r\n--{BOUNDARY}--\r\n".encode()


def seen(answer: requests.Response) -> tuple[int, bytes, dict[str, str]]:
    """Return all that a client can see of an answer, but for the time."""
    headers = {k: v for k, v in answer.headers.items() if k.lower() not in VOLATILE}
    return answer.status_code, answer.content, headers


def bearer(token: str) -> dict[str, str]:
    """Make the header that brings a token, if there is one."""
    return {"Authorization": f"Bearer {token}"} if token else {}


@dataclass(slots=True)
class Scene:
    """Objects by whose they are from clinic-a's side, and requests by name of caller."""

    stack: Stack
    objects: Mapping[str, Stored]
    tokens: Tokens
    sessions: dict[str, Session] = field(default_factory=dict)

    def token(self, caller: str) -> str:
        """Return a caller's token; 'nobody' has none."""
        return self.tokens.get(caller) if caller != "nobody" else ""

    def forger(self, caller: str) -> Forger:
        """Return what signs with a key of the realm whatever is made of a caller's living token."""
        return self.tokens.forger(caller)

    def ask(
        self,
        caller: str,
        path: str,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> requests.Response:
        """Send a request with the path exactly as given."""
        named = bearer(self.token(caller)) | dict(headers or {})
        return self.send(caller, self.stack.url + path, method, named, body)

    def plainly(self, caller: str, path: str) -> requests.Response:
        """Ask over plain HTTP, where no token is of any use."""
        port = self.stack.settings.ports[0] if self.stack.settings else 80
        return self.send(caller, f"http://localhost:{port}{path}", "GET", {}, None)

    def inside(
        self, token: str, path: str, method: str = "GET", body: bytes | None = None
    ) -> requests.Response:
        """Ask Orthanc on the backend with a token, where nothing but its plugin decides."""
        headers = bearer(token) | {"Content-Type": MULTIPART}
        return self.send("inside", backend_url(self.stack, "orthanc") + path, method, headers, body)

    def send(
        self, caller: str, url: str, method: str, headers: Mapping[str, str], body: bytes | None
    ) -> requests.Response:
        """Send a request over the caller's own connections."""
        session = self.sessions.setdefault(caller, self.stack.session())
        named = {"Accept": "*/*", **headers}
        request = requests.Request(method, self.stack.url, named, data=body)
        prepared = session.prepare_request(request)
        prepared.url = url
        return session.send(prepared, verify=session.verify, allow_redirects=False, timeout=60)

    def rows(self, caller: str, path: str) -> list[dict[str, dict[str, list[object]]]]:
        """Search, and return the rows."""
        answer = self.ask(caller, path)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text[:300]}"
        assert answer.headers["Content-Type"].startswith("application/dicom+json")
        return list(answer.json())

    def drop(self, things: Sequence[tuple[str, Stored]]) -> None:
        """Put objects into the archive through the inboxes of their clinics."""
        folder = f"export-{secrets.token_hex(4)}"
        for clinic, thing in things:
            put(self.stack.inbox(clinic) / folder, {f"{thing.instance}.dcm": thing.content})
        for clinic in {clinic for clinic, _ in things}:
            outcome = settled(self.stack, clinic, folder)
            assert not outcome.failed, outcome.reasons

    @property
    def own(self) -> Stored:
        """A study of clinic-a."""
        return self.objects["own"]

    @property
    def other(self) -> Stored:
        """A study of clinic-b."""
        return self.objects["other"]

    @property
    def absent(self) -> Stored:
        """A study that nobody stored."""
        return self.objects["absent"]


def setting(stack: Stack, people: People) -> Iterator[Scene]:
    """Store a study of each clinic and one of none, which goes again at the end."""
    objects = {name: made(n) for n, name in enumerate(("own", "other", "unowned"), 81)}
    objects["absent"] = made(84)
    with realm_key(stack, BESIDE) as (key, kid):
        tokens = Tokens(stack, people, lambda held: Forger(key, kid, held, int(time())))
        scene = Scene(stack, objects, tokens)
        unowned = objects["unowned"]
        scene.drop([("clinic-a", objects["own"]), ("clinic-b", objects["other"])])
        importer = tokens.get("importer")
        stored = scene.inside(importer, "/dicom-web/studies", "POST", part(unowned.content))
        assert stored.status_code == 200, stored.text
        try:
            yield scene
        finally:
            importer = tokens.get("importer")
            scene.inside(importer, unowned.fill("/studies/{study_id}"), "DELETE")
            for session in scene.sessions.values():
                session.close()


@dataclass(slots=True)
class Tokens:
    """Everybody's token, made anew before it ends; forge signs any claims with a key of the realm."""

    stack: Stack
    people: People
    forge: Callable[[dict[str, object]], Forger]
    made: dict[str, tuple[float, str]] = field(default_factory=dict)

    def get(self, caller: str) -> str:
        """Return a caller's token."""
        ends, token = self.made.get(caller, (0.0, ""))
        if ends < monotonic():
            token = self._make(caller)
            self.made[caller] = (monotonic() + TOKEN_LIFETIME_S, token)
        return token

    def _make(self, caller: str) -> str:
        if caller in SERVICES:
            return service_token(self.stack, SERVICES[caller])
        if caller == "other realm":
            return master_token(self.stack)
        if caller == "expired":
            forger = self.forger("physician-a")
            return forger.signed(iat=forger.now_s - 600, exp=forger.now_s - 300)
        return self.people.token(caller, fresh=True)

    def forger(self, caller: str) -> Forger:
        """Return what signs changes of a caller's living token."""
        return self.forge(claims(self.get(caller)))


def reason(answer: requests.Response) -> str:
    """Return the reason that a refusal gives, and nothing else."""
    said = json.loads(answer.text)
    assert said.keys() == {"status", "error"}
    assert said["status"] == answer.status_code
    return str(said["error"])
