"""A small DICOMweb client for the tests, over the public address with a person's token."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pydicom

if TYPE_CHECKING:
    import requests

    from harness.stack import Stack

ANY_SYNTAX = 'multipart/related; type="application/dicom"; transfer-syntax=*'


@dataclass(frozen=True, slots=True)
class Reader:
    """One person's reading access to the archive."""

    stack: Stack
    token: str

    def get(self, path: str, accept: str = "*/*") -> requests.Response:
        """GET a path below the public address."""
        headers = {"Authorization": f"Bearer {self.token}", "Accept": accept}
        with self.stack.session() as session:
            return session.get(
                self.stack.url + path, headers=headers, allow_redirects=False, timeout=60
            )

    def search(self, path: str) -> list[dict[str, dict[str, list[object]]]]:
        """QIDO-RS search; returns the datasets of the answer, none for an empty one."""
        answer = self.get(path, "application/dicom+json")
        assert answer.status_code in (200, 204), f"{path}: {answer.status_code} {answer.text[:500]}"
        return list(answer.json()) if answer.content else []

    def study_uids(self) -> set[str]:
        """Return the StudyInstanceUIDs that this person finds."""
        return {
            str(item["0020000D"]["Value"][0])
            for item in self.search("/dicom-web/studies?limit=10000")
        }

    def instance(self, study: str, series: str, instance: str) -> pydicom.Dataset:
        """WADO-RS: retrieve one instance in the transfer syntax in which it is stored."""
        answer = self.get(
            f"/dicom-web/studies/{study}/series/{series}/instances/{instance}", ANY_SYNTAX
        )
        assert answer.status_code == 200, f"{instance}: {answer.status_code} {answer.text[:500]}"
        return pydicom.dcmread(io.BytesIO(single_part(answer)), force=True)


def single_part(answer: requests.Response) -> bytes:
    """Return the only part of a multipart/related answer."""
    found = re.search(r'boundary="?([^";]+)', answer.headers["Content-Type"])
    assert found, answer.headers["Content-Type"]
    boundary = b"--" + found[1].encode()
    body = answer.content
    start = body.index(b"\r\n\r\n", body.index(boundary)) + 4
    return body[start : body.rindex(b"\r\n" + boundary)]
