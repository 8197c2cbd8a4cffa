"""The codes of an audit record (PS3.16 CID 400, 401 and 403; PS3.15 A.5.2)."""

from dataclasses import dataclass

SUCCESS = 0
MINOR_FAILURE = 4
SERIOUS_FAILURE = 8


@dataclass(frozen=True, slots=True)
class Code:
    """A coded concept of DICOM's own scheme."""

    code: str
    meaning: str

    def as_json(self) -> dict[str, str]:
        """Give it as records hold it."""
        return {"code": self.code, "system": "DCM", "meaning": self.meaning}


APPLICATION_ACTIVITY = Code("110100", "Application Activity")
AUDIT_LOG_USED = Code("110101", "Audit Log Used")
INSTANCES_ACCESSED = Code("110103", "DICOM Instances Accessed")
IMPORT = Code("110107", "Import")
QUERY = Code("110112", "Query")
SECURITY_ALERT = Code("110113", "Security Alert")
USER_AUTHENTICATION = Code("110114", "User Authentication")

APPLICATION_START = Code("110120", "Application Start")
APPLICATION_STOP = Code("110121", "Application Stop")
LOGIN = Code("110122", "Login")
LOGOUT = Code("110123", "Logout")
SECURITY_CONFIGURATION = Code("110129", "Security Configuration")
ROLES_CHANGED = Code("110136", "Security Roles Changed")
USER_CHANGED = Code("110137", "User Security Attributes Changed")

EVENTS = (
    APPLICATION_ACTIVITY,
    AUDIT_LOG_USED,
    INSTANCES_ACCESSED,
    IMPORT,
    QUERY,
    SECURITY_ALERT,
    USER_AUTHENTICATION,
)
