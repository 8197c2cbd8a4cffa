# ruff: noqa: INP001 -- Orthanc loads this file by its path
# SPDX-License-Identifier: AGPL-3.0-or-later
#
# This program is free software: you can redistribute it and/or modify it under the terms of the
# GNU Affero General Public License as published by the Free Software Foundation, either version 3
# of the License, or (at your option) any later version. It is distributed in the hope that it will
# be useful, but WITHOUT ANY WARRANTY; without even the implied warranty of MERCHANTABILITY or
# FITNESS FOR A PARTICULAR PURPOSE. See the GNU Affero General Public License for more details.
"""Puts the gate of clinic_access before all that Orthanc serves, and answers QIDO-RS."""

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import TypedDict, Unpack
from urllib.request import ProxyHandler, build_opener

import orthanc
import psycopg2

sys.path.append("/etc/orthanc-lib")

from clinic_access import rules, storage
from clinic_access.gate import Collaborators, Gate, Request
from clinic_access.index import Connection, Index, IndexMissingError, parse_uids
from clinic_access.json_value import Json
from clinic_access.keys import KeyRing
from clinic_access.query import BadQueryError, Level, parse_query
from clinic_access.returning import Returning
from clinic_access.routes import parse, query_pairs
from clinic_access.search import Archive, Searcher, dump

KEYS_TIMEOUT_S = 3.0
INDEX_TIMEOUT_MS = 10_000
# Orthanc knows no 429, and nginx says of a 503 that it soon passes: nginx makes of these what they are.
STAND_INS = {rules.TOO_MANY: HTTPStatus.LOCKED, rules.RETURNING: HTTPStatus.GONE}
METHODS = {
    orthanc.HttpMethod.GET: "GET",
    orthanc.HttpMethod.POST: "POST",
    orthanc.HttpMethod.PUT: "PUT",
    orthanc.HttpMethod.DELETE: "DELETE",
}


class FilterArguments(TypedDict, total=False):
    """What Orthanc tells its filter of a request."""

    method: int
    ip: str
    headers: Mapping[str, str]
    get: Mapping[str, str]


class RestArguments(TypedDict, total=False):
    """What Orthanc tells a REST callback of a request."""

    method: str
    groups: tuple[str, ...]
    headers: Mapping[str, str]
    get: Mapping[str, str]
    body: bytes


def post(uri: str, body: Json) -> Json:
    """Ask Orthanc's own REST API, past the gate."""
    answer: Json = json.loads(orthanc.RestApiPost(uri, json.dumps(body)))
    return answer


def get_dicomweb(uri: str) -> Json:
    """Ask the DICOMweb plugin, past the gate."""
    answer: Json = json.loads(orthanc.RestApiGetAfterPlugins(uri))
    return answer


def find_owner(study: str) -> str | None:
    """Return the clinic of a study; None where there is none, or more than one such study."""
    found = post(
        "/tools/find",
        {
            "Level": "Study",
            "Query": {"StudyInstanceUID": study},
            "ResponseContent": ["MainDicomTags"],
            "Limit": 2,
        },
    )
    if not isinstance(found, list) or len(found) != 1:
        return None
    return found[0]["MainDicomTags"].get("InstitutionName") or None


def make_gate(settings: Mapping[str, str], returning: Returning) -> Gate:
    """Build the gate from the section ClinicAccess of Orthanc's configuration."""
    # The environment may name a proxy; the identity provider is on our own network.
    opener = build_opener(ProxyHandler({}))

    def fetch() -> bytes:
        with opener.open(settings["Keys"], timeout=KEYS_TIMEOUT_S) as answer:
            document: bytes = answer.read()
        return document

    return Gate(
        issuer=settings["Issuer"],
        keys=KeyRing(fetch, time.monotonic),
        ask=Collaborators(find_owner, time.time, time.monotonic, returning.lacks),
    )


def make_index(settings: Mapping[str, str]) -> Index:
    """Build the reader of Orthanc's index from the section PostgreSQL of its configuration."""

    def connect() -> Connection:
        connection = psycopg2.connect(
            settings["ConnectionUri"],
            application_name="clinic-access",
            options=f"-c default_transaction_read_only=on -c statement_timeout={INDEX_TIMEOUT_MS}",
        )
        connection.autocommit = True
        return connection

    return Index(connect, (psycopg2.Error,))


def refuse(output: orthanc.RestOutput, denial: rules.Deny) -> None:
    """Answer with a status and a reason; RFC 6750 3 asks for the challenge."""
    if denial.status == HTTPStatus.UNAUTHORIZED:
        output.SetHttpHeader("WWW-Authenticate", 'Bearer realm="dicom", error="invalid_token"')
    if denial.status == HTTPStatus.SERVICE_UNAVAILABLE:
        output.SetHttpHeader("Retry-After", "5")
    output.SetHttpHeader("Cache-Control", "no-store")
    output.SetHttpHeader("Content-Type", "application/json")
    body = {"status": denial.status, "error": denial.reason}
    output.SendHttpStatus(STAND_INS.get(denial, denial.status), json.dumps(body).encode())


@dataclass(frozen=True, slots=True)
class Hooks:
    """What Orthanc calls, from many threads at once."""

    gate: Gate
    index: Index
    # Of its own: whoever lists all that there is keeps no import waiting.
    lister: Index
    searcher: Searcher
    storage: Path

    def on_request(self, uri: str, /, **request: Unpack[FilterArguments]) -> bool:
        """Let a request through or not; Orthanc answers 403 to those that are not."""
        asked = Request(
            method=METHODS[request["method"]],
            path=uri,
            query=tuple(request.get("get", {}).items()),
            headers=request["headers"],
            address=request["ip"],
        )
        try:
            return self.gate.decide(asked) is None
        except orthanc.OrthancException:
            return False  # the owner could not be looked up, which on_refusal will find too

    def on_refusal(
        self, output: orthanc.RestOutput, uri: str, /, **request: Unpack[RestArguments]
    ) -> None:
        """Answer in place of a 403 with the status that fits."""
        asked = Request("GET", uri, (), request["headers"], "")
        try:
            denial = self.gate.explain(asked)
        except orthanc.OrthancException:
            denial = rules.ARCHIVE_MISSING
        refuse(output, denial)

    def on_search(
        self, output: orthanc.RestOutput, uri: str, /, **request: Unpack[RestArguments]
    ) -> None:
        """Answer QIDO-RS (PS3.18 10.6) for the clinics of the token."""
        caller = self.gate.caller(request["headers"])
        route = parse(request["method"], uri, ())
        if isinstance(caller, rules.Deny) or route is None:
            # The filter let it pass a moment ago: the token has ended since.
            return refuse(output, rules.NO_TOKEN)
        written = request["headers"].get("x-original-uri")
        pairs = query_pairs(written) if written else tuple(request["get"].items())
        level = next(level for level in Level if uri.endswith(level.plural))
        try:
            query = parse_query(level, route, pairs)
            page = self.searcher.page(query, rules.clinics_of(caller))
        except BadQueryError as error:
            return refuse(output, rules.Deny(HTTPStatus.BAD_REQUEST, str(error)))
        except (IndexMissingError, orthanc.OrthancException):
            return refuse(output, rules.ARCHIVE_MISSING)
        if page.is_cut:  # PS3.18 8.3.4.4
            output.SetHttpHeader("Warning", '299 - "additional results can be requested"')
        output.SetHttpHeader("Cache-Control", "no-store")
        return output.AnswerBuffer(dump(page), "application/dicom+json")

    def on_clinics(
        self, output: orthanc.RestOutput, _uri: str, /, **request: Unpack[RestArguments]
    ) -> None:
        """Tell the importer who brings something in, for which clinics they may, and what."""
        caller = self.gate.caller(request["headers"])
        if isinstance(caller, rules.Deny):
            return refuse(output, caller)
        output.SetHttpHeader("Cache-Control", "no-store")
        body = {
            "name": caller.name,
            "clinic_ids": caller.clinic_ids,
            "brings_all": rules.brings_all(caller),
            "brings_derived": rules.brings_derived(caller),
            "is_admin": rules.is_admin(caller),
        }
        return output.AnswerBuffer(json.dumps(body).encode(), "application/json")

    def on_held(
        self, output: orthanc.RestOutput, _uri: str, /, **request: Unpack[RestArguments]
    ) -> None:
        """Tell the importer which instances of these SOP Instance UIDs the archive holds."""
        try:
            found = self.index.held(parse_uids(request["body"]))
        except ValueError as error:
            return refuse(output, rules.Deny(HTTPStatus.BAD_REQUEST, str(error)))
        except IndexMissingError:
            return refuse(output, rules.ARCHIVE_MISSING)
        keys = ("sop_uid", "id", "md5", "clinic")
        body = [dict(zip(keys, one, strict=True)) for one in found]
        return output.AnswerBuffer(json.dumps(body).encode(), "application/json")

    def on_files(
        self, output: orthanc.RestOutput, _uri: str, /, **request: Unpack[RestArguments]
    ) -> None:
        """Tell the importer a page of the files that the storage should hold."""
        try:
            found = self.lister.files(*storage.parse_page(request["body"]))
        except ValueError as error:
            return refuse(output, rules.Deny(HTTPStatus.BAD_REQUEST, str(error)))
        except IndexMissingError:
            return refuse(output, rules.ARCHIVE_MISSING)
        return output.AnswerBuffer(f"[{','.join(found)}]".encode(), "application/json")

    def on_aged(
        self, output: orthanc.RestOutput, _uri: str, /, **request: Unpack[RestArguments]
    ) -> None:
        """Tell the importer a page of the studies from before a day."""
        try:
            found = self.lister.aged(*storage.parse_aged(request["body"]))
        except ValueError as error:
            return refuse(output, rules.Deny(HTTPStatus.BAD_REQUEST, str(error)))
        except IndexMissingError:
            return refuse(output, rules.ARCHIVE_MISSING)
        return output.AnswerBuffer(f"[{','.join(found)}]".encode(), "application/json")

    def on_set_aside(
        self, output: orthanc.RestOutput, _uri: str, /, **request: Unpack[RestArguments]
    ) -> None:
        """Move files of the storage that the index does not list into quarantine."""
        try:
            names = storage.parse_names(request["body"])
            moved = storage.set_aside(self.storage, names, self.lister.listed, time.time())
        except ValueError as error:
            return refuse(output, rules.Deny(HTTPStatus.BAD_REQUEST, str(error)))
        except (IndexMissingError, OSError):
            return refuse(output, rules.ARCHIVE_MISSING)
        return output.AnswerBuffer(json.dumps(moved).encode(), "application/json")

    def on_health(
        self, output: orthanc.RestOutput, _uri: str, /, **_request: Unpack[RestArguments]
    ) -> None:
        """Tell whether the database answers."""
        try:
            orthanc.RestApiGet("/changes?limit=1")
        except orthanc.OrthancException:
            refuse(output, rules.ARCHIVE_MISSING)
        else:
            output.AnswerBuffer(b'{"status": "ok"}', "application/json")


def register(hooks: Hooks) -> list[object]:
    """Put the gate and the routes of our own into Orthanc; returns what must stay referenced."""
    routes = {
        "/clinic-search/(.*)": hooks.on_search,
        "/clinic-access/aged": hooks.on_aged,
        "/clinic-access/clinics": hooks.on_clinics,
        "/clinic-access/files": hooks.on_files,
        "/clinic-access/held": hooks.on_held,
        "/clinic-access/refusal": hooks.on_refusal,
        "/clinic-access/set-aside": hooks.on_set_aside,
        "/health": hooks.on_health,
    }
    for pattern, callback in routes.items():
        orthanc.RegisterRestCallback(pattern, callback)
    gate = hooks.on_request
    orthanc.RegisterIncomingHttpRequestFilter(gate)
    return [gate, *routes.values()]


# At its end the Python plugin crashes on a callback that nobody else refers to.
settings = json.loads(orthanc.GetConfiguration())
registered = register(
    Hooks(
        make_gate(
            settings["ClinicAccess"],
            Returning(
                Path(settings["StorageDirectory"]), make_index(settings["PostgreSQL"]).files_below
            ),
        ),
        make_index(settings["PostgreSQL"]),
        make_index(settings["PostgreSQL"]),
        # Whoever searches keeps no import waiting.
        Searcher(
            Archive(
                get_dicomweb,
                post,
                make_index(settings["PostgreSQL"]),
                f"https://{settings['DicomWeb']['Host']}/dicom-web/studies",
            ),
            lambda: datetime.now(UTC).date(),
        ),
        Path(settings["StorageDirectory"]),
    )
)
