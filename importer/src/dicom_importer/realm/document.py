"""The realm file: read, with its placeholders filled and this deployment's mail and secrets."""

import json
import re
from collections.abc import Mapping

from dicom_importer.realm.config import Config, Mail
from dicom_importer.realm.representation import Json, Representation, record, records, text, texts

# Keycloak's own placeholders, such as ${username}, are lower-case.
PLACEHOLDER = re.compile(r"\$\{([A-Z][A-Z_]*)\}")
IMPLICIT_TLS_PORT = "465"


class DocumentError(ValueError):
    """The realm file and the settings do not fit."""


def load(config: Config) -> Representation:
    """Give the realm as it should be here; raises DocumentError."""
    document = record(json.loads(config.realm_file.read_text(encoding="utf-8")))
    realm = record(fill(document, config.placeholders))
    known = texts(realm, "supportedLocales")
    if (locale := text(realm, "defaultLocale")) not in known:
        raise DocumentError(f"Keycloak does not speak {locale}: use one of {', '.join(known)}")
    for client in records(realm["clients"]):
        if secret := config.client_secrets.get(text(client, "clientId")):
            client["secret"] = secret
    if config.mail:
        realm["smtpServer"] = smtp_server(config.mail)
        realm["resetPasswordAllowed"] = True
    return realm


def fill(value: Json, values: Mapping[str, str]) -> Json:
    """Replace ${NAME} in every text; raises DocumentError for a name without a value."""
    if isinstance(value, dict):
        return {key: fill(item, values) for key, item in value.items()}
    if isinstance(value, list):
        return [fill(item, values) for item in value]
    if not isinstance(value, str):
        return value
    for name in PLACEHOLDER.findall(value):
        if name not in values:
            raise DocumentError(f"the realm file asks for an unknown ${{{name}}}")
    return PLACEHOLDER.sub(lambda match: values[match[1]], value)


def smtp_server(mail: Mail) -> Representation:
    """Give Keycloak's mail settings: TLS from the first byte on port 465, else STARTTLS."""
    implicit = mail.port == IMPLICIT_TLS_PORT
    server: Representation = {
        "auth": "true" if mail.user else "false",
        "from": mail.sender,
        "host": mail.host,
        "port": mail.port,
        "ssl": "true" if implicit else "false",
        "starttls": "false" if implicit else "true",
    }
    if mail.user:
        server["user"] = mail.user
        server["password"] = mail.password
    return server
