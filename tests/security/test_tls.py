"""TLS as two scanners judge it: Mozilla's configuration by sslyze, known attacks by testssl."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from stack.shell import attempt

if TYPE_CHECKING:
    from pathlib import Path

    from harness.stack import Stack

GRAVE = {"MEDIUM", "HIGH", "CRITICAL", "FATAL"}
# The stack's own authority revokes nothing: who has its key has the host. A public one says where to ask.
# The page that is asked for is static: it holds no secret beside what somebody sends, which compression could tell of.
ACCEPTED = {"BREACH", "cert_revocation"}
# One of each part of the scan: protocols, ciphers, forward secrecy, certificate, preferences, headers, attacks.
SCANNED = {"TLS1_3", "cipherlist_AVERAGE", "PFS", "cert_keySize", "cipher_order", "HSTS", "LUCKY13"}


def place(stack: Stack) -> tuple[str, int]:
    """Return host and port of the public address."""
    parts = urlsplit(stack.url)
    return parts.hostname or "", parts.port or 443


def test_mozillas_intermediate_configuration_is_met(stack: Stack) -> None:
    # The stricter one is TLS 1.3 alone, which not every clinic's workstation has.
    host, port = place(stack)
    trusting = [f"--certinfo_ca_file={stack.ca_file}"] if stack.ca_file else []
    scan = ["sslyze", "--mozilla_config=intermediate", *trusting, f"{host}:{port}"]
    done = attempt([sys.executable, "-m", *scan], timeout_s=120)
    assert f"{host}:{port}: OK - Compliant." in done.stdout, done.stdout[-2000:] + done.stderr


def test_testssl_finds_nothing_above_low(stack: Stack, tmp_path: Path) -> None:
    host, port = place(stack)
    report = tmp_path / "report.json"
    trusting = [f"--add-ca={stack.ca_file}"] if stack.ca_file else []
    done = attempt(
        [
            *("testssl", "--quiet", "--color=0", "--warnings=off", "--nodns=min", "--ip=one"),
            *(*trusting, f"--jsonfile={report}"),
            *("--protocols", "--std", "--pfs", "--server-defaults", "--server-preference"),
            *("--headers", "--vulnerable", f"https://{host}:{port}"),
        ],
        timeout_s=300,
    )
    assert report.exists(), done.stdout[-2000:] + done.stderr
    findings = json.loads(report.read_text())
    # A header that is there is judged in parts.
    found = {"HSTS" if f["id"].startswith("HSTS_") else f["id"] for f in findings}
    assert found >= SCANNED
    grave = [f for f in findings if f["severity"] in GRAVE and f["id"] not in ACCEPTED]
    assert grave == []
