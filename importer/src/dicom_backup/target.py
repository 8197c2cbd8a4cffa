"""What a target elsewhere said when it did not do as it was asked: why, and what to do, in words for people."""

import re

_NO_BUCKET = ("specified bucket does not exist", "nosuchbucket")
_OTHER_HOST = """the server of {target} shows another host key{key} than BACKUP_HOST_KEY. Nothing was sent to it.
If that machine was set up anew, set BACKUP_HOST_KEY to the line in its /etc/ssh/ssh_host_ed25519_key.pub;
else it is not the one that you mean"""
_NOT_LET_IN = """the server of {target} does not let the backup in: the secret backup_ssh_key must hold a private key
whose public half stands in that account's .ssh/authorized_keys"""
_NO_S3 = """the server of {target} refuses the credentials:
give AWS_ACCESS_KEY_ID=… and AWS_SECRET_ACCESS_KEY=… in the secret backup_credentials"""
_NO_REST = """the server of {target} refuses the credentials:
give RESTIC_REST_USERNAME=… and RESTIC_REST_PASSWORD=… in the secret backup_credentials"""
_ONLY_ADDS = """the server of {target} does not let anything be removed:
set BACKUP_PRUNE=no, and remove older backups as docs/backup.md says"""
_UNKNOWN_AUTHORITY = """nobody that is trusted signed the certificate of the server of {target}. Nothing was sent to it.
Give the certificate of the authority that signed it in the secret backup_ca"""
_NOT_ITS_NAME = """the certificate of the server of {target} is not for that address, or its time is over.
Nothing was sent to it: give it another, or set the address that stands in it"""
_AWAY = """the server of {target} does not answer: is it on, is the address right, does the network let this machine
through? What was backed up before is whole, the next run goes on"""
# By kinds of targets, and what is said in any case. The first that fits counts.
_MEANINGS = (
    (("sftp",), ("host key verification failed",), _OTHER_HOST),
    (("sftp",), ("permission denied (",), _NOT_LET_IN),
    (
        ("s3",),
        (
            *("signature we calculated does not match", "signaturedoesnotmatch", "access denied"),
            *("access key id you provided does not exist", "invalidaccesskeyid"),
            "no credentials found",
        ),
        _NO_S3,
    ),
    (("rest",), ("401 unauthorized",), _NO_REST),
    (("rest", "s3"), ("certificate signed by unknown authority",), _UNKNOWN_AUTHORITY),
    (("rest", "s3"), ("x509:", "failed to verify certificate"), _NOT_ITS_NAME),
    (("rest", "s3"), ("403 forbidden",), _ONLY_ADDS),
    (
        ("rest", "s3", "sftp"),
        (
            *("connection refused", "no route to host", "network is unreachable"),
            *("connection reset", "could not resolve hostname", "no such host", "timeout"),
            *("timed out", "unexpected eof", "connection lost", "broken pipe"),
        ),
        _AWAY,
    ),
)
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/=]+")


def has_no_bucket(said: str) -> bool:
    """Tell whether an S3 server lacks the bucket: restic waits for it, and `init` makes it."""
    return any(mark in said.lower() for mark in _NO_BUCKET)


def why(target: str, said: str) -> str:
    """Return what is the matter with a target and what to do, nothing where `said` is about something else."""
    kind, lower = target.partition(":")[0], said.lower()
    shown = _FINGERPRINT.search(said)
    for kinds, marks, meaning in _MEANINGS:
        if kind in kinds and any(mark in lower for mark in marks):
            words = " ".join(meaning.split())
            return words.format(target=target, key=f" ({shown[0]})" if shown else "")
    return ""
