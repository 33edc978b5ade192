"""An HTTP service behind Countersign that tells its callers their names, and answers nobody else.

    app.py --keys identity-keys.json --issuer spiffe://example.org --service wiki --port 8080

`--keys` is the gateway's file `identity.keys_file`, or https://NAME/.well-known/countersign/keys with this service's
public name. docs/identity.md says what is verified here, and why.
"""

import argparse
import base64
import json
import math
import sys
import threading
import time
import urllib.request
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyseto

HEADER = "Countersign-Identity"

# Seconds. A new key is published a day before it signs, so an hour is never too long.
KEPT_FOR = 60 * 60
ASKED_AGAIN_AFTER = 10
CLOCKS_DIFFER_BY = 5


class Refused(Exception):
    """The request is not known to come from the gateway."""


class Keys:
    """The gateway's public keys, by id, from a file or an `https://` URL."""

    def __init__(self, source):
        self._source = source
        self._lock = threading.Lock()
        self._keys = {}
        self._read_at = -math.inf

    def find(self, kid):
        with self._lock:
            age = time.monotonic() - self._read_at
            if age > KEPT_FOR or (kid not in self._keys and age > ASKED_AGAIN_AFTER):
                self._read()
            if kid not in self._keys:
                raise Refused("the gateway has published no key of this id")
            return self._keys[kid]

    def _read(self):
        self._read_at = time.monotonic()
        try:
            remote = self._source.startswith("https://")
            with urllib.request.urlopen(self._source, timeout=5) if remote else open(self._source, "rb") as file:
                document = json.load(file)
        except (OSError, ValueError) as error:
            # The keys that are here go on verifying what they signed.
            print(f"cannot read {self._source}: {error}", file=sys.stderr)
            return
        self._keys = {
            key["kid"]: pyseto.Key.from_paserk(key["paserk"])
            for key in document["keys"]
            if key["paserk"].startswith("k4.public.")
        }


class Verifier:
    """Verifies identity tokens for one service."""

    def __init__(self, keys, issuer, service):
        self._keys = keys
        self._issuer = issuer
        self._service = service
        self._paseto = pyseto.Paseto.new(leeway=CLOCKS_DIFFER_BY)

    def claims(self, headers):
        """What the gateway says of the caller."""
        tokens = headers.get_all(HEADER, [])
        if len(tokens) != 1:
            raise Refused(f"the request has {len(tokens)} {HEADER} headers")
        try:
            key = self._keys.find(key_id(tokens[0]))
            token = self._paseto.decode(key, tokens[0], deserializer=json, aud=self._service)
        except (ValueError, pyseto.PysetoError) as error:
            raise Refused(str(error)) from error
        claims = token.payload
        # pyseto checks what is there: a token of the gateway's has both.
        if claims.get("iss") != self._issuer or "exp" not in claims:
            raise Refused("the token is not one of this gateway's")
        return claims


def key_id(token):
    """Which key a token says that it was signed with; nobody has vouched for that yet."""
    parts = token.split(".")
    if len(parts) != 4:
        raise Refused("the token names no key")
    footer = parts[3] + "=" * (-len(parts[3]) % 4)
    footer = json.loads(base64.urlsafe_b64decode(footer))
    kid = footer.get("kid") if isinstance(footer, dict) else None
    if not isinstance(kid, str):
        raise Refused("the token names no key")
    return kid


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        try:
            claims = self.server.verifier.claims(self.headers)
        except Refused as refused:
            self.log_error("refused: %s", refused)
            self.answer(HTTPStatus.UNAUTHORIZED, "who are you?\n")
        else:
            self.answer(HTTPStatus.OK, f"you are {claims['sub']}\n")

    def answer(self, status, text):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keys", required=True, help="the gateway's public keys: a file, or an https:// URL")
    parser.add_argument("--issuer", required=True, help="spiffe:// and the trust domain")
    parser.add_argument("--service", required=True, help="this service's name at the gateway")
    parser.add_argument("--port", type=int, default=8080)
    options = parser.parse_args()
    server = ThreadingHTTPServer(("127.0.0.1", options.port), Handler)
    server.verifier = Verifier(Keys(options.keys), options.issuer, options.service)
    print(f"listening on {server.server_address[1]}", file=sys.stderr, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
