"""What is read in an answer of the STOW-RS transaction (PS3.18 10.5.3)."""

from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any
from xml.etree import ElementTree as ET

from urllib3 import BaseHTTPResponse

from dicom_importer.reasons import Unavailable

_OUT_OF_RESOURCES = range(0xA700, 0xA800)
_DUPLICATE = 0x0111
_CANNOT_UNDERSTAND = range(0xC000, 0xD000)


class Refused(Exception):  # noqa: N818 - it is no failure yet
    """The archive did not store this instance; sure when its content can never be stored."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail


class SendingBroke(Unavailable):
    """The archive stopped answering while it was given this very instance."""


def read_answer(answer: BaseHTTPResponse, sop_uid: str) -> None:
    """Find this instance in the answer; raises Refused and Unavailable."""
    try:
        content = _from_xml(answer.data) if _is_xml(answer) else answer.json()
        whole = "00081199" in content
        stored = _entries(content, "00081199")
        failed = _entries(content, "00081198")
    except (ValueError, AttributeError, TypeError, KeyError, IndexError, ET.ParseError):
        whole, stored, failed = False, {}, {}
    if sop_uid in stored:
        return
    reason = failed.get(sop_uid)
    if reason == _DUPLICATE:
        return  # somebody else was quicker: whether it is the same is seen by what is held
    if reason is None:
        if whole and answer.status == HTTPStatus.BAD_REQUEST:
            # Orthanc names no instance that it cannot parse, it only answers 400.
            raise Refused("refused_unreadable", "")
        raise Refused("refused", f"no word of it in an answer {answer.status}")
    if reason in _OUT_OF_RESOURCES:
        raise Unavailable("the archive is full")
    if reason in _CANNOT_UNDERSTAND:
        raise Refused("refused_unreadable", f"failure reason {reason:04X}")
    raise Refused("refused", f"failure reason {reason:04X}")


def _is_xml(answer: BaseHTTPResponse) -> bool:
    return answer.data[:64].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")


def _from_xml(content: bytes) -> dict[str, Any]:
    """Turn the Native DICOM Model (PS3.19 A.1) into the DICOM JSON Model; ours is asked for."""
    if b"<!" in content:
        raise ValueError("no DICOM model declares a type or an entity")
    return _attributes(ET.fromstring(content))  # noqa: S314 - none declared, see above


def _attributes(parent: ET.Element) -> dict[str, Any]:
    return {
        one.attrib["tag"]: {
            "Value": [
                _attributes(child) if child.tag.endswith("Item") else (child.text or "").strip()
                for child in one
            ]
        }
        for one in parent
        if one.tag.endswith("DicomAttribute")
    }


def retry_after_s(answer: BaseHTTPResponse) -> float:
    """Read how long to wait, a number or a date (RFC 9110 10.2.3), 0 when it is not said."""
    wait = answer.headers.get("Retry-After", "").strip()
    if wait.isdecimal():
        return float(wait)
    try:
        until = parsedate_to_datetime(wait)
        since = parsedate_to_datetime(answer.headers["Date"])
        return max(0.0, (until - since).total_seconds())
    except (KeyError, TypeError, ValueError):
        return 0.0


def _entries(content: dict[str, Any], sequence: str) -> dict[str, int]:
    """Map SOP Instance UID (0008,1155) to Failure Reason (0008,1197), 0 when there is none."""
    entries: dict[str, int] = {}
    for item in content.get(sequence, {}).get("Value", []):
        reason = next(iter(item.get("00081197", {}).get("Value", [])), 0)
        entries[str(item["00081155"]["Value"][0])] = int(reason)
    return entries
