"""Who sends: our importer, the floor, and the others that do the same work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

OURS = "importer"
FLOOR = "floor"
HTTP_URL = "http://orthanc:8042"
AT_A_TIME = 4  # what curl was fastest with, of 2, 4 and 8


@dataclass(frozen=True, slots=True)
class Peer:
    """A sender that runs in the bench's container: its command for a folder, and for none.

    What `idle` takes is start-up, which is taken off. `limit` files are enough for a rate.
    """

    name: str
    title: str
    command: Callable[[str], list[str]]
    idle: list[str]
    http: bool = True
    limit: int = 1_000_000


def _floor(folder: str) -> list[str]:
    return ["python", "/senders/floor.py", "orthanc", "8042", folder]


def _orthanc_tools(folder: str) -> list[str]:
    options = ["--errors_path=/tmp/errors", "--worker_threads_count=5", "--max_retries=1"]
    program = ["python", "-m", "orthanc_tools.orthanc_folder_importer"]
    return [*program, f"--url={HTTP_URL}", f"--folder_path={folder}", *options]


def _dicomweb(batch: int) -> Callable[[str], list[str]]:
    program = ["python", "/senders/dicomweb.py", f"{HTTP_URL}/dicom-web"]
    return lambda folder: [*program, folder, str(batch)]


def _curl(folder: str) -> list[str]:
    return ["curl", "-sS", "-Z", "--parallel-max", str(AT_A_TIME), "-K", f"{folder}.curl"]


def _curl_processes(folder: str) -> list[str]:
    one = "curl -sS -o /dev/null -X POST -H 'Content-Type: application/dicom' -H Expect: -T {}"
    each = f"xargs -0 -P {AT_A_TIME} -I {{}} {one} {HTTP_URL}/instances"
    return ["sh", "-c", f"find {folder} -type f -print0 | sort -z | {each}"]


def _dcmsend(folder: str) -> list[str]:
    return ["dcmsend", "-aec", "ORTHANC", "orthanc", "4242", "+sd", "+r", folder]


def _storescu(folder: str) -> list[str]:
    return ["python", "-m", "pynetdicom", "storescu", "orthanc", "4242", folder, "-r", "-cx"]


NOTHING = "/sets/nothing"
PEERS = (
    Peer(FLOOR, "the floor: plain STOW-RS, 2 connections", _floor, _floor(NOTHING)),
    Peer(
        "orthanc-tools",
        "orthanc-tools folder importer, 5 threads",
        _orthanc_tools,
        _orthanc_tools(NOTHING),
    ),
    Peer("curl", f"curl, {AT_A_TIME} connections, REST", _curl, ["curl", "--version"]),
    Peer(
        "curl-processes",
        f"curl, {AT_A_TIME} processes, REST",
        _curl_processes,
        ["curl", "--version"],
    ),
    Peer("dicomweb-client", "dicomweb-client, 1 a request", _dicomweb(1), _dicomweb(1)(NOTHING)),
    Peer(
        "dicomweb-client-50", "dicomweb-client, 50 a request", _dicomweb(50), _dicomweb(50)(NOTHING)
    ),
    Peer(
        "dcmsend",
        "DCMTK dcmsend, C-STORE",
        _dcmsend,
        ["dcmsend", "--version"],
        http=False,
        limit=100,
    ),
    Peer(
        "pynetdicom",
        "pynetdicom storescu, C-STORE",
        _storescu,
        ["python", "-m", "pynetdicom", "storescu", "--version"],
        http=False,
        limit=100,
    ),
)


def curl_config(files: list[str]) -> str:
    """Write curl's configuration: each file streamed to Orthanc's REST API, over kept connections."""
    head = 'request = "POST"\nheader = "Content-Type: application/dicom"\nheader = "Expect:"\n'
    one = 'upload-file = "{}"\nurl = "' + HTTP_URL + '/instances"\noutput = "/dev/null"\n'
    return head + "".join(one.format(file) for file in files)
