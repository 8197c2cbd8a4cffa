"""The floor: a plain STOW-RS sender that streams files from disk as they are, and verifies nothing."""

import http.client
import os
import queue
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

CONNECTIONS = 2
CHUNK_BYTES = 1 << 18
BOUNDARY = "instance"
HEAD = f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
TAIL = f"\r\n--{BOUNDARY}--\r\n".encode()


def body(path: Path) -> Iterator[bytes]:
    """Yield a request's body."""
    yield HEAD
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
    yield TAIL


def send(host: str, port: int, paths: "queue.SimpleQueue[Path]", refused: list[int]) -> None:
    """Send files one by one over one connection until none is left."""
    connection = http.client.HTTPConnection(host, port, timeout=600)
    while True:
        try:
            path = paths.get_nowait()
        except queue.Empty:
            return
        length = len(HEAD) + path.stat().st_size + len(TAIL)
        headers = {
            "Accept": "application/dicom+json",
            "Content-Length": str(length),
            "Content-Type": f"multipart/related; type=application/dicom; boundary={BOUNDARY}",
        }
        try:
            connection.request("POST", "/dicom-web/studies", body(path), headers)
            answer = connection.getresponse()
            answer.read()
        except OSError:
            connection.close()
            refused.append(0)
            continue
        if answer.status != http.HTTPStatus.OK:
            refused.append(answer.status)


def main() -> int:
    """Send every file below a folder; returns 1 when one was refused."""
    host, port, folder = sys.argv[1:]
    paths: queue.SimpleQueue[Path] = queue.SimpleQueue()
    for root, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            paths.put(Path(root, name))
    refused: list[int] = []
    threads = [
        threading.Thread(target=send, args=(host, int(port), paths, refused))
        for _ in range(CONNECTIONS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
