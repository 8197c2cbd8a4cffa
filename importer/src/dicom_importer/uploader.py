"""Who brings studies in over HTTP: the archive's access plugin knows a token, and whose it is."""

from dataclasses import dataclass
from http import HTTPStatus

from urllib3 import BaseHTTPResponse, PoolManager, Timeout
from urllib3.exceptions import HTTPError

from dicom_importer.access import ANSWER_TIMEOUT_S, CONNECT_TIMEOUT_S
from dicom_importer.reasons import Unavailable

_CLINICS = "/clinic-access/clinics"
_REFUSAL = "/clinic-access/refusal"


@dataclass(frozen=True, slots=True)
class Uploader:
    """A person, the clinics that they store for, and what; any status but 200 is a refusal.

    An admin, who stores nothing by STOW-RS, sees every clinic at the page.
    """

    status: int
    name: str = ""
    clinics: tuple[str, ...] = ()
    brings_all: bool = False
    brings_derived: bool = False
    is_admin: bool = False


def ask(http: PoolManager, url: str, authorization: str) -> Uploader:
    """Ask who sent a request with this Authorization header; raises Unavailable."""
    headers = {"Authorization": authorization, "X-Original-URI": _CLINICS}
    answer = _get(http, url + _CLINICS, headers)
    if answer.status == HTTPStatus.FORBIDDEN:
        # The archive can say no but not why.
        answer = _get(http, url + _REFUSAL, headers)
    if answer.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND):
        return Uploader(answer.status)
    try:
        if answer.status != HTTPStatus.OK:
            raise Unavailable(f"whose token it is: status {answer.status}")
        found = answer.json()
        return Uploader(
            HTTPStatus.OK,
            str(found["name"]),
            tuple(map(str, found["clinic_ids"])),
            brings_all=found["brings_all"] is True,
            brings_derived=found["brings_derived"] is True,
            is_admin=found.get("is_admin") is True,
        )
    except (ValueError, KeyError, TypeError) as error:
        raise Unavailable("whose token it is: an answer is no JSON") from error


def _get(http: PoolManager, url: str, headers: dict[str, str]) -> BaseHTTPResponse:
    timeout = Timeout(connect=CONNECT_TIMEOUT_S, read=ANSWER_TIMEOUT_S)
    try:
        return http.request("GET", url, headers=headers, timeout=timeout, retries=False)
    except HTTPError as error:
        raise Unavailable(f"whose token it is: {type(error).__name__}") from error
