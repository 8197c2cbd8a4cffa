"""The three failures, and the words that a clinic's IT person reads beside a failed file."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a file is in failed/: what was found, and what to do."""

    found: str
    advice: str


_UNPACK = "Unpack it, and export the folder that comes out."
_EXPORT_AGAIN = "Export the study again from the device that made it."
_ASK_VENDOR = "Export it again; if that ends the same, show this to the device's vendor."
_UNIQUE = (
    "DICOM identifiers are unique in the world, so one of the two is wrong. Have the device's"
    " vendor look at it, or ask the archive's administrator."
)

REASONS = {
    "empty": Reason(
        "The file is empty.",
        "Check that the workstation's disk and the network share are not full. " + _EXPORT_AGAIN,
    ),
    "not_dicom": Reason(
        "This is not a DICOM file.",
        "Export images in DICOM format. Other documents are kept only where images lie beside them in"
        " one folder.",
    ),
    "packed": Reason(
        "This is a packed file that is not unpacked: only zip files are, and none inside another.",
        _UNPACK,
    ),
    "packed_broken": Reason("The zip file is cut off or damaged.", "Export or pack it again."),
    "packed_encrypted": Reason("The zip file is encrypted.", "Pack it again without a password."),
    "packed_too_large": Reason("The zip file holds more than is unpacked from one.", _UNPACK),
    "packed_unsafe": Reason(
        "The zip file holds what no honest one does: paths that lead out of it, links, names or"
        " content used twice.",
        "Pack it again with another program. If it came from somebody else, ask who made it.",
    ),
    "dicomdir": Reason(
        "This file is the index of a CD or DVD (DICOMDIR); the images that it lists are imported"
        " by themselves.",
        "Nothing, if the images were copied along with it.",
    ),
    "truncated": Reason("The file ends before its content does: it was cut off.", _EXPORT_AGAIN),
    "malformed": Reason("The file breaks the rules of the DICOM format.", _ASK_VENDOR),
    "too_deep": Reason(
        "The file nests its content deeper than any device does on purpose.", _ASK_VENDOR
    ),
    "missing_attribute": Reason(
        "The file lacks an identifier that every DICOM image must have.", _ASK_VENDOR
    ),
    "invalid_uid": Reason("An identifier in the file is not a valid DICOM UID.", _ASK_VENDOR),
    "too_large": Reason(
        "The file is larger than the archive takes in one piece.",
        "Export it in smaller pieces (for example as single slices, or fewer frames).",
    ),
    "other_clinic": Reason(
        "The archive holds a study, series or image with the same identifier, and it does not"
        " belong to this clinic.",
        _UNIQUE,
    ),
    "other_patient": Reason(
        "The archive holds this study under another patient ID.",
        "If the patient ID was corrected, export the whole study and ask the archive's administrator"
        " to replace it.",
    ),
    "other_study": Reason(
        "The archive holds this series as part of another study.",
        _UNIQUE,
    ),
    "other_version": Reason(
        "The archive holds another version of this image: same identifier, other content.",
        "If this file is the right one, ask the archive's administrator to replace the other.",
    ),
    "deleted": Reason(
        "This study or series was deleted from the archive on purpose.",
        "If it should be there again, ask the archive's administrator to readmit it and then to retry"
        " this file.",
    ),
    "uncorrectable": Reason(
        "The patient of this study was corrected, and the corrected text has letters that this"
        " file's character set lacks.",
        "Ask the archive's administrator to correct the study again, in letters that it has.",
    ),
    "refused_unreadable": Reason("The archive cannot read this file.", _ASK_VENDOR),
    "refused": Reason("The archive refuses to store this file, and only this one.", _ASK_VENDOR),
    "not_held": Reason(
        "The archive took this file but does not hold what was sent.",
        "Ask the archive's administrator to look into it; the original is kept here.",
    ),
}


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
