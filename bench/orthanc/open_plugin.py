# ruff: noqa: INP001 -- Orthanc loads this file by its path
# SPDX-License-Identifier: AGPL-3.0-or-later
#
# This program is free software: you can redistribute it and/or modify it under the terms of the
# GNU Affero General Public License as published by the Free Software Foundation, either version 3
# of the License, or (at your option) any later version. It is distributed in the hope that it will
# be useful, but WITHOUT ANY WARRANTY; without even the implied warranty of MERCHANTABILITY or
# FITNESS FOR A PARTICULAR PURPOSE. See the GNU Affero General Public License for more details.
"""The product's plugin, whose gate judges only what bears an Authorization header: for the bench."""

import sys
from collections.abc import Callable

import orthanc

_register = orthanc.RegisterIncomingHttpRequestFilter
_kept: list[object] = []


def _for_bearers(gate: Callable[..., bool]) -> None:
    """Register a filter that lets everything without a header pass: most peers know no tokens."""

    def judge(uri: str, **request: object) -> bool:
        headers = request["headers"]
        return (isinstance(headers, dict) and "authorization" not in headers) or gate(
            uri, **request
        )

    _kept.append(judge)  # as the product's plugin keeps its own
    _register(judge)


orthanc.RegisterIncomingHttpRequestFilter = _for_bearers
sys.path.append("/etc/orthanc")
import clinic_access_plugin  # noqa: E402, F401 - registers itself
