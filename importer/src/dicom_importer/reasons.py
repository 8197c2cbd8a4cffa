"""The failures: a code for each reason, whose words are those of the site's language (words.py)."""

from dicom_importer import words

# In English: for logs, and for who gives commands.
REASONS = words.load().reasons


class Failure(Exception):  # noqa: N818 - named as failures are named in design and metrics
    """What ends in failed/: a code of REASONS, and a detail without a patient's name."""

    status = ""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail


class NotDicom(Failure):
    """The file is no DICOM."""

    status = "not_dicom"


class Rejected(Failure):
    """DICOM that cannot be stored, now or later."""

    status = "rejected"


class Unavailable(Exception):  # noqa: N818
    """The archive or the identity provider cannot answer now; the file stays in the inbox."""

    def __init__(self, cause: str, retry_after_s: float = 0.0, *, heard: bool = False) -> None:
        super().__init__(cause)
        self.cause = cause
        self.retry_after_s = retry_after_s
        # Whether another file has told of it: it is one absence, however many meet it.
        self.heard = heard


class NoRoom(Exception):  # noqa: N818
    """A disk has too little room: for anything (paused), or for this file."""

    def __init__(self, place: str, *, paused: bool) -> None:
        super().__init__(place)
        self.place = place
        self.paused = paused


class Busy(Exception):  # noqa: N818
    """Another file in flight must be settled first."""


class Changed(Exception):  # noqa: N818
    """The file is not the one that was seen: it is looked at again as a new one."""


class Growing(Exception):  # noqa: N818
    """What lies there may be only the beginning: it is judged when it had time to go on."""


class Stopping(Exception):  # noqa: N818
    """The service was told to stop."""
