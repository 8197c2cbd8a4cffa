"""One audit record: who did what to which study, from where, and what came of it."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime

from access_audit.codes import Code

MAX_TEXT_CHARS = 64


@dataclass(frozen=True, slots=True)
class Who:
    """A person or an account; unverified, it is only what somebody claimed to be."""

    subject: str = ""
    name: str = ""
    roles: tuple[str, ...] = ()
    clinic_ids: tuple[str, ...] = ()
    verified: bool = False


@dataclass(frozen=True, slots=True)
class What:
    """An event with its type, where it has one, and its action: C, R, U, D or E (PS3.15 A.5.2)."""

    event: Code
    action: str
    type: Code | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome (0 success, 4 or 8 failure), in words, and the HTTP status behind it."""

    outcome: int
    status: str
    reason: str = ""
    http_status: int = 0


@dataclass(frozen=True, slots=True)
class Record:
    """An event of `time_s` seconds since 1970, by a caller at an address (`client`)."""

    id: str
    time_s: float
    what: What
    who: Who
    result: Result
    client: str = ""
    study_uid: str = ""
    target: str = ""

    def as_json(self) -> dict[str, object]:
        """Give it as the files hold it; keys as in the importer's records."""
        code = self.what.type
        return {
            "id": self.id,
            "time": utc(self.time_s),
            "event": self.what.event.as_json(),
            **({"type": code.as_json()} if code else {}),
            "action": self.what.action,
            "outcome": self.result.outcome,
            "who": {
                "subject": self.who.subject,
                "name": self.who.name,
                "roles": list(self.who.roles),
                "verified": self.who.verified,
            },
            "client": self.client,
            "clinic_ids": list(self.who.clinic_ids),
            "study_instance_uid": self.study_uid,
            **({"object": self.target} if self.target else {}),
            "status": self.result.status,
            "reason": self.result.reason,
            **({"http_status": self.result.http_status} if self.result.http_status else {}),
        }


def identify(*parts: str) -> str:
    """Return the id of the record of what these parts make unique."""
    return hashlib.sha256(" ".join(parts).encode(errors="surrogatepass")).hexdigest()[:24]


def utc(time_s: float) -> str:
    """Write a time in seconds since 1970 as records have it."""
    written = datetime.fromtimestamp(time_s, UTC).isoformat(timespec="milliseconds")
    return written.replace("+00:00", "Z")


def bounded(value: object, limit: int = MAX_TEXT_CHARS) -> str:
    """Give a text of others short and printable; what is no text is none."""
    if not isinstance(value, str):
        return ""
    return "".join(char if char.isprintable() else "?" for char in value[:limit])
