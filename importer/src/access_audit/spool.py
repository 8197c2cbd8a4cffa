"""The lines that nginx writes: one request each, and who asked, by the payload of the token alone."""

import base64
import json
import re
from dataclasses import dataclass

from access_audit.record import Who, bounded

MAX_ROLES = 10
MAX_CLINICS = 100
# How nginx begins a line; it escapes quotes within one.
_BEGIN = b'{"time":'
_CLINIC = re.compile(r"[a-z0-9-]{1,32}", re.ASCII)
_UID = r"[0-9.]{1,64}"
_STUDY = re.compile(rf"(?:/orthanc)?/dicom-web/studies/({_UID})(?=/|$)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Request:
    """One request to the archive, `time_s` seconds since 1970; the study as the path names it.

    `seconds` is what it took from the first byte of the request to the last of the answer.
    """

    time_s: float
    id: str
    client: str
    method: str
    path: str
    study_uid: str
    status: int
    who: Who
    # Lines of before an upgrade do not tell.
    seconds: float | None = None


def parse(line: bytes) -> Request:
    """Read a line; raises ValueError for one that nginx did not write whole.

    What a power cut left of one stands before the next one in the same line.
    """
    try:
        fields = json.loads(line[max(0, line.rfind(_BEGIN)) :].decode(errors="replace"))
        path = fields["path"]
        study = _STUDY.match(path)
        return Request(
            time_s=float(fields["time"]),
            id=str(fields["id"]),
            client=bounded(fields["client"]),
            method=str(fields["method"]),
            path=path,
            study_uid=study[1] if study else bounded(fields["study"]),
            status=int(fields["status"]),
            # What the session check confirmed was signed by Keycloak and is of a living session.
            who=_who(fields["claims"], verified=fields["session"] == "200"),
            seconds=float(fields["seconds"]) if "seconds" in fields else None,
        )
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"no line of the audit: {type(error).__name__}") from error


def _who(payload: str, *, verified: bool) -> Who:
    """Read the payload of a token (RFC 7519); claims that nobody confirmed are a name at most."""
    claims = _claims(payload)
    name = bounded(claims.get("preferred_username"))
    if not verified:
        return Who(name=name)
    return Who(
        subject=bounded(claims.get("sub")),
        name=name,
        roles=tuple(bounded(role) for role in _texts(claims, "roles")[:MAX_ROLES]),
        clinic_ids=tuple(
            clinic
            for clinic in sorted(_texts(claims, "clinic_ids"))[:MAX_CLINICS]
            if _CLINIC.fullmatch(clinic)
        ),
        verified=True,
    )


def _claims(payload: str) -> dict[str, object]:
    try:
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _texts(claims: dict[str, object], name: str) -> list[str]:
    value = claims.get(name)
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []
