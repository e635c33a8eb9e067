"""The keys of a campaign: whoever holds them may talk to its scheduler and workers, nobody else.

A Dask scheduler runs whatever it is sent. Its port can be reached by everybody on the network of
a cluster, so that without keys every user of the site could run programs as you. With them, each
side of every connection has to show the campaign's certificate (mutual TLS), which only those can
who read ``pool/tls/key.pem``.

On a shared file system this file is as good as your password for as long as the campaign has
workers: it is readable by you only (mode 0600, in a directory of mode 0700), and it is refused if
it is not. Who administers the file system can read it, as everything else of yours. Do not give
campaign directories to others with ``pool/tls`` in them: it can be deleted whenever nothing runs,
and comes back by itself.
"""

from __future__ import annotations

import datetime
import os
import shutil
import stat
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from daskhpo.exceptions import CampaignError
from daskhpo.store.disk import PARTIAL, disk_error, sync_directory

if TYPE_CHECKING:
    from distributed import Security

__all__ = ["campaign_security"]

VALID = datetime.timedelta(days=3650)
SPARE = datetime.timedelta(days=60)  # beyond the longest stay of a batch job in a queue and after
SLACK = datetime.timedelta(days=1)  # clocks of nodes may lag behind


def campaign_security(directory: str | os.PathLike[str]) -> Security:
    """Give the keys of a campaign, made at the first call.

    Parameters
    ----------
    directory : path
        The campaign's; the keys lie in its ``pool/tls``.

    Returns
    -------
    distributed.Security
        By file names, so that batch jobs can be told of it: for the scheduler, its workers and
        its clients.

    Raises
    ------
    CampaignError
        If the key that is there can be read by others, or belongs to somebody else.
    StoreError
        If the disk refuses.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     security = campaign_security(folder)
    ...     security.require_encryption, security.tls_worker_key.endswith("pool/tls/key.pem")
    (True, True)
    """
    from distributed import Security

    # Batch jobs start elsewhere: only absolute paths mean the same there.
    folder = Path(directory).resolve() / "pool" / "tls"
    try:
        if _expires(folder) < _now() + SPARE:
            _make(folder)
    except OSError as error:
        raise disk_error("write", folder, error) from error
    _refuse_open(folder)
    certificate, key = str(folder / "cert.pem"), str(folder / "key.pem")
    return Security(
        require_encryption=True,
        tls_ca_file=certificate,
        tls_scheduler_cert=certificate,
        tls_scheduler_key=key,
        tls_worker_cert=certificate,
        tls_worker_key=key,
        tls_client_cert=certificate,
        tls_client_key=key,
    )


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _expires(folder: Path) -> datetime.datetime:
    """When the certificate ends; long ago if there is none, or no key with it."""
    from cryptography import x509

    never = datetime.datetime.min.replace(tzinfo=datetime.UTC)
    try:
        if not (folder / "key.pem").is_file():
            return never
        certificate = x509.load_pem_x509_certificate((folder / "cert.pem").read_bytes())
    except (FileNotFoundError, ValueError):
        return never
    return certificate.not_valid_after_utc


def _make(folder: Path) -> None:
    """Both files appear together, by one rename of their directory."""
    certificate, key = _pair()
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".tls.{uuid.uuid4().hex[:12]}{PARTIAL}")
    partial.mkdir(mode=0o700)
    try:
        partial.chmod(0o700)  # whatever the umask says
        for name, content in (("cert.pem", certificate), ("key.pem", key)):
            handle = os.open(partial / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        if folder.exists():  # expired or damaged
            shutil.rmtree(folder)
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    sync_directory(folder.parent)


def _pair() -> tuple[bytes, bytes]:
    """A self-signed certificate and its key, as PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "daskhpo-campaign")])
    public = key.public_key()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_now() - SLACK)
        .not_valid_after(_now() + VALID)
        # It is its own authority; strict verifiers (Python 3.13) want to see all of this.
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("daskhpo-campaign")]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    return (
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


def _refuse_open(folder: Path) -> None:
    """Refuse keys that others can read, or could have put there."""
    for path in (folder, folder / "key.pem"):
        status = path.lstat()
        if status.st_uid != os.geteuid():
            raise CampaignError(
                f"pool.tls: {path} belongs to another user (uid {status.st_uid}, you are "
                f"{os.geteuid()}): delete {folder}, new keys are made then"
            )
        if stat.S_IMODE(status.st_mode) & 0o077:
            mode = "700" if path == folder else "600"
            raise CampaignError(
                f"pool.tls: others can read {path} (mode {stat.S_IMODE(status.st_mode):o}), and "
                f"may have: delete {folder}, new keys are made then (or chmod {mode} {path}, if "
                "nobody can have seen it)"
            )
