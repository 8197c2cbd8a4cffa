"""The table: every route by every caller for an own study, one of another clinic, one of none and an absent one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

CALLERS = (
    "nobody",
    "expired",
    "other realm",
    "no-clinic",
    "technician-a",
    "physician-a",
    "physician-ab",
    "admin-x",
    "importer",
    "monitoring",
    "auditor",
)
PEOPLE = ("no-clinic", "technician-a", "physician-a", "physician-ab", "admin-x")
# Whose token is none for the archive: the auditor's is for Keycloak's events alone.
STRANGERS = ("expired", "other realm", "auditor")
OBJECTS = ("own", "other", "unowned", "absent")

# What a cell's word means: a status, and what the answer says in its body.
ANSWERS: Mapping[str, tuple[int, str]] = {
    "200": (200, ""),
    "none": (200, "[]"),
    "400": (400, '"This request is malformed."'),
    "401": (401, '"This needs a valid access token: please log in."'),
    "403": (403, '"role does not allow this"'),
    "404": (404, '"There is nothing here."'),
    "405": (405, '"This can only be read; studies are stored at /dicom-web/studies and '),
    # By the importer: who stores nothing, who is not of the archive at all, a UID that another clinic holds, and what a
    # physician may not (PS3.18 I.2.2).
    "closed": (403, '"This account stores nothing."'),
    "stranger": (401, '"This account stores nothing."'),
    "held": (409, '"00081197": {"vr": "US", "Value": [272]}'),
    "barred": (409, '"00081197": {"vr": "US", "Value": [292]}'),
    # By the importer's page: who is there, what arrived, who is nobody there, who may not, what is asked wrongly.
    "me": (200, '"clinics": ['),
    "arrived": (200, '"groups": ['),
    "outsider": (403, '"This account neither brings nor reads anything."'),
    "stranger there": (401, '"This account neither brings nor reads anything."'),
    "looks only": (403, '"This account only looks."'),
    "no question": (400, '"The body is no JSON object."'),
    "no protocol": (412, ""),
    "offered": (204, ""),
    "takes": (405, '"This takes '),
    # As a page for people.
    "inbox": (200, '<html lang="en">\n'),
    "words": (200, '"language": "en"'),
    "viewer": (200, "<title>"),
    "no page": (404, "<p>There is nothing here.</p>"),
    "no session": (401, "<p>This needs a valid access token: please log in.</p>"),
    "no way back": (403, "<p>Your account does not allow this.</p>"),
    "odd": (400, "<p>This request is malformed.</p>"),
    "read only": (405, "<p>This can only be read;"),
    "gone": (404, ""),
    "slash": (301, ""),
    # nginx's own, of what it could not read.
    "garbled": (400, "<center>nginx</center>"),
    # By Keycloak.
    "form": (400, "<html"),
    "login": (200, "<html"),
    "keys": (200, '"keys":['),
    "issuer": (200, '"issuer":'),
    "script": (200, ""),
    "who": (200, '"sub":'),
    "who?": (401, ""),
    "denied": (403, '"HTTP 403 Forbidden"'),
    "denied?": (401, '"HTTP 401 Unauthorized"'),
    "no get": (405, '"HTTP 405 Method Not Allowed"'),
    # Over plain HTTP.
    "ok": (200, "ok\n"),
    "moved": (307, ""),
}

Policy: TypeAlias = "Mapping[str, tuple[str, ...]]"


def policy(text: str) -> Policy:
    """Read a table of words by caller: a column for each object, or one where none is named."""
    lines = (line.split(":") for line in text.strip().splitlines())
    table = {caller.strip(): tuple(words.split()) for caller, words in lines}
    assert tuple(table) == CALLERS
    return table


def everyone(word: str) -> Policy:
    """Answer every caller alike."""
    return dict.fromkeys(CALLERS, (word,))


RETRIEVE = policy("""
    nobody:       401 401 401 401
    expired:      401 401 401 401
    other realm:  401 401 401 401
    no-clinic:    404 404 404 404
    technician-a: 403 403 403 403
    physician-a:  200 404 404 404
    physician-ab: 200 200 404 404
    admin-x:      200 200 200 404
    importer:     403 403 403 403
    monitoring:   403 403 403 403
    auditor:      401 401 401 401
""")
NUMBERLESS = {c: tuple(w.replace("200", "400") for w in words) for c, words in RETRIEVE.items()}
# A search of an absent study finds nothing, and so does one of what is another clinic's.
SEARCH = policy("""
    nobody:       401  401  401  401
    expired:      401  401  401  401
    other realm:  401  401  401  401
    no-clinic:    none none none none
    technician-a: 403  403  403  403
    physician-a:  200  none none none
    physician-ab: 200  200  none none
    admin-x:      200  200  200  none
    importer:     403  403  403  403
    monitoring:   403  403  403  403
    auditor:      401  401  401  401
""")
STORE = policy("""
    nobody:       401    401    401    401
    expired:      401    401    401    401
    other realm:  401    401    401    401
    no-clinic:    closed closed closed closed
    technician-a: 200    held   held   200
    physician-a:  barred barred barred barred
    physician-ab: barred barred barred barred
    admin-x:      closed closed closed closed
    importer:     closed closed closed closed
    monitoring:   closed closed closed closed
    auditor:      stranger stranger stranger stranger
""")
# Orthanc's own routes, by its own identifiers: for admins, and those that are nobody's from outside.
NATIVE = policy("""
    nobody:       401 401 401 401
    expired:      401 401 401 401
    other realm:  401 401 401 401
    no-clinic:    403 403 403 403
    technician-a: 403 403 403 403
    physician-a:  403 403 403 403
    physician-ab: 403 403 403 403
    admin-x:      200 200 200 404
    importer:     403 403 403 403
    monitoring:   403 403 403 403
    auditor:      401 401 401 401
""")


def of_page(word: str, reader: str = "", nobody: str = "no-clinic") -> Policy:
    """Answer who brings something into clinic A, who reads there (empty: alike), and nobody of it as absent."""
    reads = reader or word
    return {
        **dict.fromkeys(CALLERS[:3], ("401",)),
        "no-clinic": (word if nobody == "me" else "404",),
        "technician-a": (word,),
        "physician-a": (reads,),
        "physician-ab": (reads,),
        "admin-x": (word,),
        "importer": ("outsider",),
        "monitoring": ("outsider",),
        "auditor": ("stranger there",),
    }


OWN_PAGE = of_page("me", nobody="me")
ARRIVED = of_page("arrived")
INNER = {c: words if "401" in words else ("403",) * 4 for c, words in NATIVE.items()}
# What is not on the plugin's list does not exist, for anybody.
CLOSED = {c: words if "401" in words else ("404",) * 4 for c, words in NATIVE.items()}
ADMIN = {caller: words[:1] for caller, words in NATIVE.items()}
MONITORING = ADMIN | {"admin-x": ("403",), "monitoring": ("200",)}
READ_ONLY = dict.fromkeys(CALLERS, ("405",)) | {"nobody": ("401",)}
# Of a path that nginx answers for itself, once there is a token of any kind.
NOT_FOUND = dict.fromkeys(CALLERS, ("404",)) | {"nobody": ("401",)}
USERINFO = dict.fromkeys(CALLERS, ("who",)) | dict.fromkeys(CALLERS[:3], ("who?",))
# The other realm's token is the reconciler's, who administers this one.
CONSOLE_DATA = (
    dict.fromkeys(CALLERS, ("denied",))
    | dict.fromkeys(CALLERS[:2], ("denied?",))
    | {"other realm": ("200",)}
)
# What every account of the realm that administers anything is told, and the one thing that the auditor is there for.
CONSOLE_BASICS: Policy = {**CONSOLE_DATA, "auditor": ("200",)}


@dataclass(frozen=True, slots=True)
class Row:
    """One route: a request line with UIDs to fill in, and what it answers to whom."""

    path: str
    policy: Policy
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    # Send the object's file, as a store request does.
    is_store: bool = False
    # Over plain HTTP.
    is_plain: bool = False

    @property
    def name(self) -> str:
        """What a test calls it."""
        extra = "".join(f" {key}: {value}" for key, value in self.headers)
        return f"{self.method} {'http: ' if self.is_plain else ''}{self.path}{extra}"


SEARCHES = (
    "/dicom-web/studies?StudyInstanceUID={study}",
    "/dicom-web/studies/?StudyInstanceUID={study}",
    "/dicom-web/series?StudyInstanceUID={study}",
    "/dicom-web/instances?StudyInstanceUID={study}",
    "/dicom-web/series?SeriesInstanceUID={series}",
    "/dicom-web/instances?SOPInstanceUID={instance}",
    *("{S}/series", "{S}/series/", "{S}/instances", "{E}/instances", "{E}/instances/"),
)
RETRIEVALS = (
    *("{S}", "{S}/metadata", "{S}/rendered", "{S}/thumbnail"),
    *("{E}", "{E}/metadata", "{E}/rendered", "{E}/thumbnail"),
    *("{I}", "{I}/metadata", "{I}/rendered", "{I}/thumbnail"),
    *("{I}/frames/1", "{I}/frames/1/rendered", "{I}/frames/1/thumbnail"),
    "{I}/bulk/7FE00010",
    "{wado}",
)
NATIVES = ("patients/{patient_id}", "studies/{study_id}", "series/{series_id}")
INNERS = (
    *("studies/{study_id}/series", "studies/{study_id}/instances", "series/{series_id}/instances"),
    *(
        f"instances/{{instance_id}}/{end}"
        for end in (
            *("file", "tags", "simplified-tags", "metadata"),
            *(f"attachments/dicom/{what}" for what in ("data", "md5", "size")),
        )
    ),
)
CLOSED_PATHS = (
    *("/dicom-web/servers", "/dicom-web/servers/x", "/dicom-web/servers/x/qido"),
    *("/dicom-web/info", "/dicom-web/app/client/index.html", "/dicom-web/app/libs/axios.min.js"),
    *("/dicom-web/", "/dicom-web/patients", "{S}/", "{E}/", "{I}/", "{S}/pdf"),
    *("{S},2.25.9/metadata", "{S}/METADATA", "/dicom-web/Studies/{study}", "/dicom-web/studies/*"),
    *("{I}/frames/0", "{I}/frames/1,", "{I}/bulk/", "{I}/bulk/PixelData"),
    *("/wado", "/wado?", "/orthanc/", "/orthanc/nowhere", "/orthanc/wado", "/orthanc/WADO"),
    *("/orthanc/app/explorer.html", "/orthanc/webdav/", "/orthanc/orthanc/system"),
    *("/orthanc/plugins", "/orthanc/plugins/dicom-web", "/orthanc/auth/settings"),
)
VERBS = ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "PROPFIND", "LOCK", "GETS")
VERB_PATHS = (
    *("{S}/metadata", "{E}", "{I}", "{I}/frames/1", "{S}/series", "{wado}", "/dicom-web/servers/x"),
    *(
        "/orthanc/system",
        "/orthanc/studies/{study_id}",
        "/orthanc/instances",
        "/orthanc/tools/find",
    ),
    *("/orthanc/tools/execute-script", "/orthanc/clinic-search/studies"),
)
REALM = "/auth/realms/dicom"
CONNECT = f"{REALM}/protocol/openid-connect"

ROWS = (
    *(Row(f"{prefix}{path}", SEARCH) for path in SEARCHES for prefix in ("", "/orthanc")),
    *(Row(f"{prefix}{path}", RETRIEVE) for path in RETRIEVALS for prefix in ("", "/orthanc")),
    # Orthanc wants numbers; of another's it does not come to that.
    Row("{I}/frames", NUMBERLESS),
    Row("{I}", RETRIEVE, headers=(("Range", "bytes=0-9"),)),
    Row("{I}", RETRIEVE, headers=(("If-None-Match", "*"),)),
    *(
        Row(f"{prefix}/dicom-web/studies{end}", STORE, "POST", is_store=True)
        for prefix in ("", "/orthanc")
        for end in ("", "/", "/{study}")
    ),
    *(Row(f"/orthanc/{path}", NATIVE) for path in (*NATIVES, "instances/{instance_id}")),
    *(Row(f"/orthanc/{path}", ADMIN) for path in ("studies", "changes", "statistics", "system")),
    *(Row(f"/orthanc/{path}", INNER) for path in INNERS),
    *(Row(f"/orthanc/{path}", MONITORING) for path in ("tools/metrics-prometheus", "health")),
    *(Row(path, CLOSED) for path in CLOSED_PATHS),
    # What nginx and the importer ask the plugin is not asked from outside.
    *(
        Row(f"/orthanc/clinic-{path}", NOT_FOUND)
        for path in (
            "access/clinics",
            "access/files",
            "access/held",
            "access/refusal",
            "access/set-aside",
            "search/studies",
            "search/studies/{study}",
        )
    ),
    *(Row(path, READ_ONLY, verb) for path in VERB_PATHS for verb in VERBS),
    *(Row("{S}", READ_ONLY, verb) for verb in VERBS if verb != "POST"),
    *(Row("/dicom-web/studies", READ_ONLY, verb) for verb in VERBS if verb != "POST"),
    *(Row(path, everyone("read only"), "TRACE") for path in ("{I}", "/orthanc/system", "/")),
    *(
        Row(path, everyone("odd"))
        for path in (
            *("/dicom-web//studies", "//dicom-web/studies", "/orthanc/dicom-web/../system"),
            *("/dicom-web/%2e%2e/orthanc/system", "{S}%2fmetadata", "{S};a=b/metadata"),
            *("/orthanc/./system", "/orthanc/..", "/orthanc/%252e%252e/x"),
            *("/orthanc\\system", "{S}/metadata%5c", "/auth/..;/orthanc/system"),
        )
    ),
    *(Row(path, everyone("garbled")) for path in ("/orthanc/system%00", "/../orthanc/x")),
    # The viewer's server answers for all that is nobody else's.
    *(
        Row(path, everyone("viewer"))
        for path in (
            *("/", "/viewer?StudyInstanceUIDs={study}", "/callback", "/metrics", "/health"),
            *("/wado/", "/WADO", "/DICOM-WEB/studies", "/auth"),
            *("/clinic-access/clinics", "/clinic-access/refusal", "/clinic-access/held"),
            *("/clinic-access/aged", "/clinic-access/files", "/clinic-access/set-aside"),
            *("/tools/find", "/system"),
            *("/.well-known/acme-challenge/x", "/api/v1/query"),
        )
    ),
    *(Row(path, everyone("slash")) for path in ("/dicom-web", "/orthanc", "/inbox/api")),
    *(Row("/", everyone("read only"), verb) for verb in ("POST", "PUT", "DELETE", "OPTIONS")),
    *(Row(f"/{name}", everyone("gone")) for name in ("sw.js", "x.json", "silent-refresh.html")),
    *(
        Row(f"/{name}.js", everyone("script"))
        for name in ("app-config", "dental", "memory", "mends", "notices", "sentences")
    ),
    # The page of a clinic's inbox: its files for everyone, what it shows and takes for the clinic's own people.
    Row("/inbox/", everyone("inbox")),
    Row("/inbox/", everyone("read only"), "POST"),
    Row("/inbox/main.js", everyone("script")),
    Row("/inbox/words.json", everyone("words")),
    Row("/inbox", everyone("moved")),
    Row("/inbox/api/me", OWN_PAGE),
    Row("/inbox/api/me", {**OWN_PAGE, **dict.fromkeys(PEOPLE, ("takes",))}, "DELETE"),
    Row("/inbox/api/clinics/clinic-a/submissions", ARRIVED),
    Row(
        "/inbox/api/clinics/clinic-b/submissions",
        {**ARRIVED, "technician-a": ("404",), "physician-a": ("404",)},
    ),
    Row("/inbox/api/clinics/clinic-x/submissions", {**ARRIVED, **dict.fromkeys(PEOPLE, ("404",))}),
    *(
        Row(f"/inbox/api/clinics/clinic-a/{what}", of_page("no question", "looks only"), "POST")
        for what in ("retry", "drops")
    ),
    Row("/inbox/api/clinics/clinic-a/uploads", of_page("no protocol", "looks only"), "POST"),
    Row("/inbox/api/clinics/clinic-a/uploads", of_page("offered", "looks only"), "OPTIONS"),
    *(
        Row("/inbox/api/clinics/clinic-a/uploads/x", of_page("no protocol", "looks only"), verb)
        for verb in ("HEAD", "PATCH", "DELETE")
    ),
    *(
        Row(f"/inbox/api/{end}", {**ARRIVED, **dict.fromkeys(PEOPLE, ("404",))})
        for end in ("", "metrics", "health", "clinics/clinic-a/x", "clinics/clinic-a")
    ),
    # What has no door, and what is nginx's own.
    *(
        Row(path, everyone("no page"))
        for path in (
            *("/inbox/clinic-a", "/inbox/index.html"),
            *("/grafana", "/grafana/", "/grafana/metrics"),
            *("/clinic-search", "/clinic-search/studies", "/session-check"),
        )
    ),
    # The operator's pages are opened by a session of their own, which no token is: tests/integration has who gets one.
    *(
        Row(path, everyone("no session"))
        for path in (
            *("/operator/", "/operator/alerts.js", "/operator/pages.css"),
            *("/prometheus/", "/prometheus/graph", "/prometheus/config", "/prometheus/classic/x"),
            *(f"/prometheus/api/v1/{end}" for end in ("query?query=up", "targets", "status/flags")),
            *("/alertmanager/", "/alertmanager/api/v2/alerts", "/alertmanager/api/v2/silences"),
            *("/dashboards/vmui/", "/dashboards/api/v1/query?query=up"),
            *("/dashboards/prometheus/api/v1/query_range", "/dashboards/api/v1/status/tsdb"),
            *("/logs/select/vmui/", "/logs/select/logsql/query?query=*"),
        )
    ),
    *(
        Row(path, everyone("moved"))
        for path in (
            *("/operator", "/prometheus", "/alertmanager", "/dashboards", "/dashboards/"),
            *("/logs", "/logs/", "/operator/dashboards", "/operator/logs"),
        )
    ),
    Row("/operator/session/callback", everyone("no way back")),
    Row("/operator/session/sign_out", everyone("read only")),
    Row("/alertmanager/api/v2/silences", everyone("read only"), "POST"),
    *(
        Row(path, everyone("no page"))
        for path in (
            *("/operator/x", "/operator/session/auth", "/operator/session/check"),
            *("/operator/session/start", "/operator/session/userinfo", "/operator/operator.html"),
            "/operator/operator-grafana.html",
            *(f"/prometheus/{end}" for end in ("metrics", "-/ready", "federate", "debug/pprof/")),
            *(f"/prometheus/api/v1/{end}" for end in ("write", "admin/tsdb/snapshot")),
            *("/alertmanager/metrics", "/alertmanager/-/ready", "/alertmanager/api/v2/status"),
            *(f"/dashboards/{end}" for end in ("metrics", "flags", "snapshot/create", "federate")),
            *(f"/dashboards/api/v1/{end}" for end in ("write", "import", "export", "x")),
            "/dashboards/api/v1/admin/tsdb/delete_series",
            *(
                "/logs/metrics",
                "/logs/insert/jsonline",
                "/logs/delete/run_task",
                "/logs/internal/x",
            ),
        )
    ),
    Row("/prometheus/-/reload", everyone("no page"), "POST"),
    Row("/dashboards/api/v1/import", everyone("no page"), "POST"),
    Row("/logs/insert/loki/api/v1/push", everyone("no page"), "POST"),
    *(Row(f"/store{path}", everyone("404")) for path in ("/", "/dicom-web/studies", "/metrics")),
    Row("/store/dicom-web/studies", everyone("404"), "POST"),
    # The identity provider.
    Row(f"{REALM}/.well-known/openid-configuration", everyone("issuer")),
    Row(f"{CONNECT}/certs", everyone("keys")),
    Row(f"{CONNECT}/userinfo", USERINFO),
    Row(f"{CONNECT}/token", everyone("no get")),
    Row(f"{CONNECT}/revoke", everyone("no get")),
    Row(f"{CONNECT}/auth", everyone("form")),
    Row(f"{CONNECT}/logout", everyone("login")),
    *(
        Row(f"{CONNECT}/{path}", everyone("login"))
        for path in ("3p-cookies/step1.html", "login-status-iframe.html")
    ),
    Row(f"{REALM}/account/", everyone("login")),
    Row(f"{REALM}/login-actions/authenticate", everyone("form")),
    Row("/auth/resources/x", everyone("gone")),
    *(
        Row(path, everyone("no page"))
        for path in (
            *("/auth/", "/auth/metrics", "/auth/health", "/auth/health/ready", "/auth/management"),
            *("/auth/admin/", "/auth/admin/realms", "/auth/admin/realms/master", "/auth/js/x.js"),
            *("/auth/admin/master/console/", "/auth/realms/master", REALM, f"{REALM}/protocol"),
            *(f"/auth/realms/master/{end}" for end in ("account", "protocol/openid-connect/token")),
            *(f"{REALM}/{end}" for end in ("broker/x", "clients-registrations", "device")),
            *(f"{CONNECT}/{end}" for end in ("token/introspect", "registrations", "ext/ciba/auth")),
        )
    ),
    # From this machine, which ADMIN_NETWORKS names, the console's page; its data are for its own tokens.
    Row("/auth/admin/dicom/console/", everyone("login")),
    *(
        Row(f"/auth/admin/{path}", CONSOLE_BASICS)
        for path in (
            *("realms/dicom", "serverinfo"),
            *(f"realms/dicom/{what}" for what in ("events?max=1", "admin-events?max=1")),
            "realms/dicom/events/config",
        )
    ),
    *(
        Row(f"/auth/admin/realms/dicom/{path}", CONSOLE_DATA)
        for path in ("users", "groups", "clients", "roles", "components")
    ),
    # Over plain HTTP.
    Row("/healthz", everyone("ok"), is_plain=True),
    Row("/.well-known/acme-challenge/x", everyone("gone"), is_plain=True),
    *(
        Row(path, everyone("moved"), is_plain=True)
        for path in ("/", "/dicom-web/studies", "/orthanc/system", "/auth/", "/metrics")
    ),
)

# What Orthanc's plugin lets whom ask on the backend; all else is refused to all. The importer asks
# there, and nginx for everybody.
EVERYBODY = frozenset(CALLERS)
READERS = frozenset({"physician-a", "physician-ab", "admin-x", "importer"})
WITHIN: Mapping[tuple[str, str], frozenset[str]] = {
    **{("GET", path): READERS for path in (*RETRIEVALS[:-1], "/wado", "{I}/frames")},
    **{
        ("GET", f"/clinic-search/{path}"): READERS | {"no-clinic"}
        for path in (
            *("studies", "series", "instances", "studies/{study}/series"),
            *("studies/{study}/instances", "studies/{study}/series/{series}/instances"),
        )
    },
    **{
        ("GET", f"/{path}"): frozenset({"admin-x", "importer"})
        for path in (
            *(*NATIVES, "instances/{instance_id}"),
            *("studies", "changes", "statistics", "system"),
        )
    },
    **{("GET", f"/{path}"): frozenset({"importer"}) for path in INNERS},
    **{
        ("POST", path): frozenset({"importer"})
        for path in (
            *("/clinic-access/aged", "/clinic-access/files", "/clinic-access/set-aside"),
            *("/clinic-access/held", "/tools/lookup", "/dicom-web/studies", "{S}", "/instances"),
            "/instances/{instance_id}/attachments/dicom/verify-md5",
            "/studies/{study_id}/update-dicomweb-cache",
        )
    },
    ("DELETE", "/studies/{study_id}"): frozenset({"importer"}),
    ("DELETE", "/instances/{instance_id}"): frozenset({"importer"}),
    ("GET", "/tools/metrics-prometheus"): frozenset({"monitoring"}),
    ("GET", "/health"): frozenset({"monitoring"}),
    ("GET", "/clinic-access/clinics"): READERS - {"importer"} | {"no-clinic", "technician-a"},
    ("GET", "/clinic-access/refusal"): EVERYBODY,
}
