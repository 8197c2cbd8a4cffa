"""The realm in Keycloak: reconciled with the realm file, and its clinics and people."""

from dicom_importer.realm.command import main

__all__ = ["main"]
