"""Answers the questions of crates/paseto-peers with pyseto, a line of JSON for a line of JSON."""

import base64
import hashlib
import json
import sys

from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from pyseto import Key, Paseto


def work(paserk):
    """As little as suits a test."""
    if paserk[:2] in ("k1", "k3"):
        return {"iteration": 1000}
    return {"memory_cost": 64, "time_cost": 1, "parallelism": 1}


def data(paserk):
    """The bytes after the header of a plain PASERK."""
    text = paserk.split(".")[2]
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


# Of X25519 and Ed25519: the field has this many elements.
ELEMENTS = 2**255 - 19


def public_pem(paserk):
    """The key to seal to, which this library takes as one of X25519 where PASERK has Ed25519 (RFC 7748 section 4.1)."""
    if paserk.startswith("k3"):
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP384R1(), data(paserk))
    else:
        y = int.from_bytes(data(paserk), "little") % 2**255
        u = (1 + y) * pow(1 - y, -1, ELEMENTS) % ELEMENTS
        key = x25519.X25519PublicKey.from_public_bytes(u.to_bytes(32, "little"))
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def secret_pem(paserk):
    if paserk.startswith("k3"):
        key = ec.derive_private_key(int.from_bytes(data(paserk), "big"), ec.SECP384R1())
    else:
        scalar = hashlib.sha512(data(paserk)[:32]).digest()[:32]
        key = x25519.X25519PrivateKey.from_private_bytes(scalar)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def plain(key):
    """The bytes of a key."""
    return {"bytes": data(key.to_paserk()).hex()}


def answer(question):
    about = question.get("key", question.get("paserk"))
    if about.startswith("k1.") and question["ask"] in ("seal", "unseal"):
        return {"unsupported": None}
    match question["ask"]:
        case "mint":
            footer, assertion = bytes.fromhex(question["footer"]), bytes.fromhex(question["assertion"])
            payload = bytes.fromhex(question["payload"])
            token = Paseto().encode(Key.from_paserk(about), payload, footer=footer, implicit_assertion=assertion)
            return {"text": token.decode()}
        case "open":
            token = Paseto().decode(
                Key.from_paserk(about), question["token"], implicit_assertion=bytes.fromhex(question["assertion"])
            )
            if token.footer != bytes.fromhex(question["footer"]):
                raise ValueError("another footer was expected")
            return {"bytes": token.payload.hex()}
        case "identify":
            return {"text": Key.from_paserk(about).to_paserk_id()}
        case "wrap":
            return {"text": Key.from_paserk(about).to_paserk(wrapping_key=data(question["with"]))}
        case "unwrap":
            return plain(Key.from_paserk(about, wrapping_key=data(question["with"])))
        case "protect":
            return {"text": Key.from_paserk(about).to_paserk(password=question["password"], **work(about))}
        case "unlock":
            return plain(Key.from_paserk(about, password=question["password"]))
        case "seal":
            return {"text": Key.from_paserk(about).to_paserk(sealing_key=public_pem(question["to"]))}
        case "unseal":
            return plain(Key.from_paserk(about, unsealing_key=secret_pem(question["with"])))
    return {"unsupported": None}


for line in sys.stdin:
    try:
        reply = answer(json.loads(line))
    except NotImplementedError:
        reply = {"unsupported": None}
    except Exception as error:  # whatever it raises is a refusal
        reply = {"refused": f"{type(error).__name__}: {error}"}
    print(json.dumps(reply), flush=True)
