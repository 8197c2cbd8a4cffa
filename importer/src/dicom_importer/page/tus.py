"""Resumable uploads: tus 1.0.0, its core with creation, creation-with-upload and termination (tus.io)."""

import base64
import binascii
import re
from collections.abc import Mapping

from dicom_importer.page import names
from dicom_importer.page.drops import Drops, account_key, owner_of
from dicom_importer.page.messages import Answer, Refused, Request
from dicom_importer.page.parts import Part, Wanted

VERSION = "1.0.0"
EXTENSIONS = "creation,creation-with-upload,termination"
PUBLIC = "/inbox/api"
_CONTENT = "application/offset+octet-stream"
_NAME = re.compile(r"([0-9a-f]{16}-[0-9a-f]{16})\.([0-9a-f]{32})", re.ASCII)
_MAX_DIGITS, _MAX_TIME_MS = 15, 1 << 43


def answer(drops: Drops, request: Request, account: str, clinic: str, name: str) -> Answer:
    """Answer a request about uploads (name: empty) or one of them; raises Refused and OSError."""
    if request.method == "OPTIONS":
        return _answer(204, {"Tus-Max-Size": str(drops.max_file_bytes), **_OFFERED})
    if request.headers.get("tus-resumable") != VERSION:
        return _answer(412, _OFFERED)
    if not name:
        return _create(drops, request, account, clinic)
    match = _NAME.fullmatch(name)
    # Another account's is as absent as none.
    if match is None or not match[1].startswith(f"{account_key(account)}-"):
        raise Refused(404, "no_upload")
    upload = match[1], match[2]
    if request.method == "HEAD":
        part = drops.find(clinic, *upload)
        if part is None:
            raise Refused(404, "no_upload")
        length = str(part.wanted.size_bytes)
        return _answer(200, {"Upload-Offset": str(part.offset), "Upload-Length": length})
    if request.method == "DELETE":
        drops.remove(account, clinic, upload)
        return _answer(204)
    _check_content(request.headers)
    offset = _number(request.headers, "upload-offset")
    part = drops.append(account, clinic, upload, offset, request.chunks)
    return _answer(204, {"Upload-Offset": str(part.offset)})


_OFFERED = {"Tus-Version": VERSION, "Tus-Extension": EXTENSIONS}


def _create(drops: Drops, request: Request, account: str, clinic: str) -> Answer:
    """Begin with an upload, or say how far the same file came before."""
    said = _metadata(request.headers.get("upload-metadata", ""))
    try:
        path = names.judge(said.get("filename", ""))
    except names.BadNameError as error:
        raise Refused(422, str(error)) from None
    modified = said.get("modified", "0")
    modified_ms = int(modified) if modified.isdecimal() and len(modified) <= _MAX_DIGITS else 0
    size_bytes = _number(request.headers, "upload-length")
    wanted = Wanted(path, size_bytes, min(modified_ms, _MAX_TIME_MS))
    owner = owner_of(account, clinic, path)
    part = drops.begin(owner, wanted)
    if _brings(request, part):
        part = drops.append(account, clinic, (owner.id, wanted.id), 0, request.chunks)
    location = f"{PUBLIC}/clinics/{clinic}/uploads/{owner.id}.{wanted.id}"
    return _answer(201, {"Location": location, "Upload-Offset": str(part.offset)})


def _brings(request: Request, part: Part) -> bool:
    """Say whether the upload's beginning comes along, and is wanted."""
    is_content = request.headers.get("content-type", "") == _CONTENT
    return is_content and part.offset == 0 and part.wanted.size_bytes > 0


def _check_content(headers: Mapping[str, str]) -> None:
    if headers.get("content-type", "") != _CONTENT:
        raise Refused(415, "content_type", type=_CONTENT)


def _metadata(text: str) -> dict[str, str]:
    """Read Upload-Metadata: keys with values in Base64, separated by commas."""
    found = {}
    for pair in filter(None, text.split(",")):
        key, _, value = pair.strip().partition(" ")
        try:
            found[key] = base64.b64decode(value, validate=True).decode()
        except (binascii.Error, ValueError):
            raise Refused(400, "bad_metadata") from None
    return found


def _number(headers: Mapping[str, str], name: str) -> int:
    value = headers.get(name, "")
    if not (value.isascii() and value.isdecimal()) or len(value) > _MAX_DIGITS:
        raise Refused(400, "bad_number", header=name.title())
    return int(value)


def _answer(status: int, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(status, {"Tus-Resumable": VERSION, **(headers or {})})
