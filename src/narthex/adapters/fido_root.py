"""Where FIDO publishes its metadata, and by whose signature it is known.

https://fidoalliance.org/metadata/ names the root: GlobalSign Root R46 since August 2026, GlobalSign Root CA - R3
before, so that a file of that time can be read too. Both are roots of a public web CA, hence the name of the signer.
The bytes are those that certifi and Debian carry; the tests hold them to their fingerprints.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificates

from narthex.base.errors import Malformed

FIDO_URL: Final = "https://mds3.fidoalliance.org/"
FIDO_SIGNER: Final = "mds.fidoalliance.org"


class MetadataRootUnusable(Malformed):
    """The certificates that may sign the metadata cannot be read."""

    code = "metadata-root-unusable"
    advice = "set NARTHEX_METADATA_ROOT to a file with PEM certificates, or unset it to use the root of FIDO"


@cache
def fido_roots() -> tuple[bytes, ...]:
    """DER of the certificates that vouch for FIDO's signer."""
    return _ders(resources.files(__package__).joinpath("fido_roots.pem").read_bytes())


def read_roots(path: Path) -> tuple[bytes, ...]:
    """DER of the certificates in an operator's own PEM file.

    Raises:
        MetadataRootUnusable: it cannot be read, or holds no certificate.
    """
    try:
        return _ders(path.read_bytes())
    except OSError as e:
        raise MetadataRootUnusable(f"the file `{path}` cannot be read: {e.strerror}") from e
    except ValueError as e:
        raise MetadataRootUnusable(f"the file `{path}` holds no certificate in PEM form") from e


def _ders(pem: bytes) -> tuple[bytes, ...]:
    return tuple(certificate.public_bytes(Encoding.DER) for certificate in load_pem_x509_certificates(pem))
