"""The page's questions as a browser asks them, with a person's token: what arrived, and uploads by the tus protocol."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import requests

    from harness.stack import Stack

API = "/inbox/api"
CONTENT = "application/offset+octet-stream"


@dataclass(frozen=True, slots=True)
class InboxPage:
    """One person's view of a clinic's inbox."""

    stack: Stack
    token: str
    clinic: str

    def ask(
        self, path: str, method: str = "GET", body: object = None, **headers: str
    ) -> requests.Response:
        """Send a request below the clinic's address; underscores in headers' names stand for hyphens."""
        return self.at(f"{API}/clinics/{self.clinic}/{path}", method, body, **headers)

    def at(
        self, path: str, method: str = "GET", body: object = None, **headers: str
    ) -> requests.Response:
        """Send a request to a path; bytes are an upload's content, anything else is JSON."""
        named = {"Authorization": f"Bearer {self.token}", "Tus-Resumable": "1.0.0"}
        named |= {key.replace("_", "-"): value for key, value in headers.items()}
        content = {"data": body} if isinstance(body, bytes) else {"json": body}
        if isinstance(body, bytes):
            named["Content-Type"] = CONTENT
        with self.stack.session() as session:
            return session.request(
                method, self.stack.url + path, headers=named, allow_redirects=False, **content
            )

    def announce(self, name: str, size: int, body: bytes | None = None) -> requests.Response:
        """Announce a file of so many bytes, maybe with its beginning."""
        said = f"filename {base64.b64encode(name.encode()).decode()}"
        return self.ask("uploads", "POST", body, Upload_Length=str(size), Upload_Metadata=said)

    def groups(self) -> list[dict[str, Any]]:
        """Return what arrived."""
        answer = self.ask("submissions")
        assert answer.status_code == 200, answer.text
        return list(answer.json()["groups"])

    def group(self, submission: str) -> dict[str, Any]:
        """Return one submission, as far as it arrived."""
        return next((one for one in self.groups() if one["submission"] == submission), {})
