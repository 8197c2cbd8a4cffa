"""What people read in the site's language, for those programs that cannot read its file themselves."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from stack.settings import TOP

if TYPE_CHECKING:
    from pathlib import Path

    from stack.settings import Settings

LANGUAGES = TOP / "importer" / "src" / "dicom_importer" / "languages"
ENGLISH = "en"
_OF_THE_ALERT = {
    "end": ".EndsAt.Local.Format",
    "runbook": ".Annotations.runbook",
    "start": ".StartsAt.Local.Format",
    "value": ".Annotations.value",
}


def file(tag: str) -> Path:
    """Return the file of a language; one that has none reads English."""
    wanted = LANGUAGES / f"{tag}.json"
    return wanted if wanted.exists() else LANGUAGES / f"{ENGLISH}.json"


def words_tmpl(settings: Settings) -> str:
    """Return Alertmanager's templates of the language; modules/library.nix writes the same."""
    language = json.loads(file(settings.values["LANGUAGE_TAG"]).read_text())
    mail, alerts = language["mail"], language["alerts"]
    over = f'{{{{ if eq .Status "resolved" }}}}{mail["over"]}{{{{ end }}}}'
    since, until = (_filled(mail[name], mail["time"]) for name in ("since", "until"))
    made = {
        "over": over,
        "summary": _of_alerts(alerts, "summary"),
        "description": _of_alerts(alerts, "description"),
        "more": _filled(mail["more"], mail["time"]),
        "since": f'{{{{ if eq .Status "resolved" }}}}{until}{{{{ else }}}}{since}{{{{ end }}}}',
    }
    return "".join(
        f'{{{{ define "stack.{name}" }}}}{text}{{{{ end }}}}\n' for name, text in made.items()
    )


def _of_alerts(alerts: dict[str, dict[str, str]], kind: str) -> str:
    """Choose by the alert's name; what has no text keeps that of its rule, which is English."""
    known = "".join(
        f'{{{{ if eq .Labels.alertname "{name}" }}}}{_filled(alerts[name][kind], "")}{{{{ else }}}}'
        for name in sorted(alerts)
    )
    ends = "{{ end }}" * len(alerts)
    return f"{known}{{{{ .Annotations.{kind} }}}}{ends}"


def _filled(text: str, time: str) -> str:
    """Have {names} filled from the alert: its labels, its value, its times."""

    def field(match: re.Match[str]) -> str:
        place = _OF_THE_ALERT.get(match[1], f".Labels.{match[1]}")
        return f'{{{{ {place} "{time}" }}}}' if place.endswith("Format") else f"{{{{ {place} }}}}"

    return re.sub(r"\{(\w+)\}", field, text)
