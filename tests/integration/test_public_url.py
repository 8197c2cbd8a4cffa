"""Another public address, language or time zone of the site needs its setting and `make up`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from harness.inbox_page import API, InboxPage
from harness.people import claims, login, open_login_form
from harness.stack import from_env_file, make, temporary_copy
from stack.words import file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.people import People
    from harness.stack import Stack


HERE = {"LANGUAGE_TAG": "de", "SITE_NAME": "Kliniken Süd", "TZ": "Europe/Berlin"}
# For two hours of a summer's day by UTC, as Alertmanager shows it to a template.
ALERT = {
    "status": "resolved",
    "labels": {"alertname": "ImportFailed", "clinic_id": "clinic-a"},
    "annotations": {"summary": "The rule's own."},
    "startsAt": "2026-07-01T10:00:00Z",
    "endsAt": "2026-07-01T12:00:00Z",
}


def new_address(stack: Stack) -> str:
    """Return the stack's address with another host name."""
    return f"https://127.0.0.1:{stack.podman_settings.ports[1]}"


@pytest.fixture(scope="module")
def moved(stack: Stack, people: People) -> Iterator[Stack]:
    """Provide the stack at another public address, in German, and move it back afterwards."""
    assert people.passwords
    original = stack.podman_settings.env_file
    changed = temporary_copy(original, PUBLIC_URL=new_address(stack), **HERE)
    make("up", changed)
    yield from_env_file(changed)
    make("up", original)
    changed.unlink()


def test_login_works_at_the_new_address_and_the_old_one_leads_there(
    moved: Stack, stack: Stack, people: People
) -> None:
    tokens = login(moved, "physician-a", people.passwords["physician-a"])
    assert claims(tokens["access_token"])["iss"] == f"{moved.url}/auth/realms/dicom"
    with moved.session() as session:
        bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
        found = session.get(f"{moved.url}/dicom-web/studies", headers=bearer)
        # The old name still leads here, but the certificate is for the new one.
        old_name = {"Host": stack.podman_settings.public_authority}
        old = session.get(moved.url, allow_redirects=False, headers=old_name)
    assert found.status_code in (200, 204)
    assert old.is_redirect
    assert old.headers["Location"].startswith(moved.url)


def test_people_read_the_sites_language_and_time(moved: Stack, people: People) -> None:
    german = json.loads(file("de").read_text())
    with moved.session() as session:
        form, _ = open_login_form(moved, session)
        viewer = session.get(f"{moved.url}/app-config.js").content.decode()
        refused = session.get(f"{moved.url}/dicom-web/studies")
        words = session.get(f"{moved.url}/inbox/words.json")
    assert 'lang="de"' in form.text
    assert "Passwort" in form.text
    assert HERE["SITE_NAME"] in form.text
    assert f"const siteName = '{HERE['SITE_NAME']}';" in viewer
    assert "const language = 'de';" in viewer
    assert (refused.status_code, refused.json()["error"]) == (401, german["front"]["401"])
    assert words.json() == german
    tokens = login(moved, "physician-a", people.passwords["physician-a"])
    page = InboxPage(moved, tokens["access_token"], "clinic-a")
    assert page.at(f"{API}/me").json()["time_zone"] == HERE["TZ"]
    absent = page.at(f"{API}/nothing")
    assert (absent.status_code, absent.json()["error"]) == (404, german["refusals"]["nothing_here"])


def test_alertmanager_tells_an_alert_in_the_sites_language_and_time(moved: Stack) -> None:
    shown = json.dumps({"status": "resolved", "alerts": [ALERT]})
    text = '{{ range .Alerts }}{{ template "stack.summary" . }} {{ template "stack.since" . }}{{ end }}'
    asked = (
        "amtool template render --template.glob=/etc/alertmanager/words.tmpl"
        ' --template.data=<(printf %s "$1") --template.text="$2"'
    )
    done = moved.exec("alertmanager", "bash", "-c", asked, "-", shown, text)
    assert done.stdout.strip() == (
        "Dateien der Klinik clinic-a konnten nicht importiert werden."
        " Von 01.07.2026, 12:00 CEST bis 01.07.2026, 14:00 CEST."
    ), done.stderr
