"""Digest passwords in the only form that is kept: their hashes with user and realm (RFC 7616 H(A1))."""

from simrack.controller.config.models import Digest, Sender
from simrack.sip import digest as sip_digest


def hide(sender: Sender, realm: str) -> Sender:
    """The sender with its password replaced by hashes that are good for `realm` only."""
    given = sender.digest
    if given is None or not given.password:
        return sender
    secret = sip_digest.hashed(given.user, realm, given.password).removeprefix(sip_digest.HASHED)
    hashes = dict(part.split("=", 1) for part in secret.split(","))
    hidden = Digest(
        user=given.user,
        ha1_md5=hashes["MD5"] if "MD5" in given.algorithms else None,
        ha1_sha256=hashes["SHA-256"] if "SHA-256" in given.algorithms else None,
        algorithms=given.algorithms,
    )
    return sender.model_copy(update={"digest": hidden})


def secret_text(digest: Digest) -> str:
    """What `sip.digest` compares with: stored hashes, or a password that was not hidden yet."""
    if digest.password:
        return digest.password
    hashes = {"MD5": digest.ha1_md5, "SHA-256": digest.ha1_sha256}
    return sip_digest.HASHED + ",".join(f"{name}={value}" for name, value in hashes.items() if value)
