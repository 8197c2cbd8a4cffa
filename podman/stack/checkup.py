"""`make doctor` in the Podman form: what doctor.py looks at, and then what only this form has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stack import doctor, health, images, outdated, people
from stack.compose import images as wanted_images
from stack.compose import services
from stack.credentials import UIDS
from stack.doctor import Finding
from stack.settings import read_env
from stack.shell import CommandError, attempt, say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stack.images import Image
    from stack.settings import Settings

_HOLDS = """
while read -r name version; do echo "Pin $name $version"; done </usr/share/dicom-stack/versions
dpkg-query --show --showformat 'Has ${Package} ${Version}\\n'
"""


def show(settings: Settings) -> bool:
    """Print each finding; returns whether all is well."""
    return doctor.tell(_findings(settings), say)


def _findings(settings: Settings) -> Iterator[Finding]:
    yield from doctor.examine(_site(settings))
    states = health.states(settings, services(settings))
    for service, state in states.items():
        if state not in ("healthy", "done"):
            text = f"{service} is {state}: make logs S={service} says why, make up starts it"
            yield Finding(text, well=False)
    if states["keycloak"] == "healthy":
        try:
            yield from (Finding(text, well=False) for text in people.differences(settings))
        except CommandError as error:
            yield Finding(f"Keycloak: {error}", well=False)
    yield from _versions(settings)


def _site(settings: Settings) -> doctor.Site:
    values = settings.values
    secret = settings.data_dir / "secrets" / "smtp_password"
    server = doctor.Mail(values["SMTP_HOST"], int(values["SMTP_PORT"]), values["SMTP_USER"], secret)
    _, port = settings.ports
    authority = settings.data_dir / "tls" / "ca.crt"
    mail = server if server.host else None
    uid = UIDS["importer"]
    return doctor.Site(settings.host_name, port, authority, settings.data_dir, uid, mail)


def _versions(settings: Settings) -> Iterator[Finding]:
    low = [part for image in wanted_images(settings) for part in _low(settings, image)]
    for part in low:
        text = (
            f"{part.where}: {part.name} {part.version} is below {part.floor}, under which weak spots are known: "
            "make upgrade to a version of this stack that has it"
        )
        yield Finding(text, well=False)
    if not low:
        yield Finding("versions: none that runs is below its floor", well=True)


def _low(settings: Settings, image: Image) -> list[outdated.Part]:
    held = attempt(["podman", "exec", settings.container(image.name), "bash", "-c", _HOLDS])
    if held.returncode:
        # What does not run was said.
        return []
    floors = outdated.floors(image.recipe.read_text(), read_env(images.VERSIONS))
    return [p for p in outdated.of_image(image.name, held.stdout, floors) if outdated.is_low(p)]
