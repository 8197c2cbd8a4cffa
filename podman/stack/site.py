"""nginx's site.conf: the few lines that differ from site to site."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from stack import words
from stack.certificate import FILE

if TYPE_CHECKING:
    from stack.settings import Settings

CERTIFICATE = f"/etc/nginx/tls/{FILE}"

# A browser that has once seen this refuses plain HTTP and untrusted certificates for a year.
STRICT_TRANSPORT = "max-age=31536000"


def site_conf(settings: Settings, *, trusted: bool) -> str:
    """Return the text; strict transport only where browsers trust the certificate."""
    networks = "".join(f"    {network} 1;\n" for network in settings.networks("ADMIN_NETWORKS"))
    proxies = settings.networks("TRUSTED_PROXIES")
    tag = settings.values["LANGUAGE_TAG"]
    language = json.loads(words.file(tag).read_text())
    return (
        "# What differs from site to site; written from the settings.\n"
        + _constant("public_url", settings.public_url)
        + _constant("public_authority", settings.public_authority)
        + _constant("strict_transport_security", STRICT_TRANSPORT if trusted else "")
        + f"geo $admin_network {{\n    default 0;\n{networks}}}\n"
        + "".join(f"set_real_ip_from {network};\n" for network in proxies)
        + _constant("certificate", CERTIFICATE)
        + _constant("certificate_key", CERTIFICATE)
        + _constant("language", language["language"])
        + _constant("language_tag", tag)
        + _constant("site_name", settings.values["SITE_NAME"])
        + "".join(
            _constant(f"words_{name}", language["front"][name])
            for name in sorted(language["front"])
        )
    )


def _constant(name: str, value: str) -> str:
    return f'map "" ${name} {{\n    default "{value}";\n}}\n'
