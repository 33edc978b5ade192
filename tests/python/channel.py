"""A client with nothing of ours in it: fetches an access token over mutual ML-DSA TLS, then a file through CONNECT.

    channel.py OPTIONS    options as JSON: port, name, key, certificate, anchors (PEM files), target, path,
                          token (instead of fetching one; null: none)

Prints JSON: the negotiated group, and for HTTP/1.1 and HTTP/2 the status and the SHA-256 of what came.
"""

import hashlib
import json
import socket
import sys

import h2.config
import h2.connection
import h2.events
from OpenSSL import SSL
from cryptography import x509

TIME_LIMIT = 30


def connect(options, protocol):
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_verify(SSL.VERIFY_PEER)
    context.load_verify_locations(options["anchors"])
    context.set_alpn_protos([protocol])
    if options.get("key"):
        context.use_privatekey_file(options["key"])
        context.use_certificate_file(options["certificate"])
    tcp = socket.create_connection(("127.0.0.1", options["port"]), TIME_LIMIT)
    # pyOpenSSL answers "want read" on a socket with a time limit: block, and let the test bound the whole.
    tcp.settimeout(None)
    channel = SSL.Connection(context, tcp)
    channel.set_tlsext_host_name(options["name"].encode())
    channel.set_connect_state()
    channel.do_handshake()
    check_name(channel, options["name"])
    return channel


def check_name(channel, name):
    """pyOpenSSL checks the chain alone."""
    certificate = channel.get_peer_certificate(as_cryptography=True)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    if name not in names.get_values_for_type(x509.DNSName):
        raise EOFError(f"the certificate is not for {name}")


def received(channel):
    """What came next; nothing at the end."""
    try:
        return channel.recv(65536)
    except SSL.ZeroReturnError:
        return b""


class Http2:
    """One stream after the other on one channel."""

    def __init__(self, channel):
        self.channel = channel
        self.state = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.state.initiate_connection()
        self.flush()

    def flush(self):
        data = self.state.data_to_send()
        if data:
            self.channel.sendall(data)

    def open(self, headers, end):
        stream = self.state.get_next_available_stream_id()
        self.state.send_headers(stream, headers, end_stream=end)
        self.flush()
        return stream

    def events(self):
        data = received(self.channel)
        if not data:
            raise EOFError("the channel ended")
        events = self.state.receive_data(data)
        self.flush()
        return events

    def status(self, stream):
        """The answer's status, and the events that came with it."""
        while True:
            events = self.events()
            for event in events:
                if isinstance(event, h2.events.ResponseReceived) and event.stream_id == stream:
                    return int(dict(event.headers)[":status"]), events
                if isinstance(event, h2.events.StreamReset):
                    raise EOFError(f"the stream was reset: {event.error_code}")

    def body(self, stream, events):
        body = b""
        while True:
            for event in events:
                if isinstance(event, h2.events.DataReceived) and event.stream_id == stream:
                    body += event.data
                    self.state.acknowledge_received_data(event.flow_controlled_length, stream)
                if isinstance(event, h2.events.StreamReset):
                    raise EOFError(f"the stream was reset: {event.error_code}")
                if isinstance(event, h2.events.StreamEnded):
                    return body
            self.flush()
            events = self.events()


def access_token(http2, name):
    headers = [(":method", "POST"), (":scheme", "https"), (":path", "/v1/token"), (":authority", name)]
    stream = http2.open(headers, end=True)
    status, events = http2.status(stream)
    body = http2.body(stream, events)
    if status != 200:
        raise EOFError(f"POST /v1/token: {status} {body!r}")
    return json.loads(body)["access_token"]


def get(options):
    return f"GET {options['path']} HTTP/1.0\r\nHost: {options['target']}\r\n\r\n".encode()


def sha256_of_body(response):
    return hashlib.sha256(response.split(b"\r\n\r\n", 1)[1]).hexdigest()


def through_http2(http2, options, token):
    headers = [(":method", "CONNECT"), (":authority", options["target"])]
    if token:
        headers.append(("proxy-authorization", f"Bearer {token}"))
    stream = http2.open(headers, end=False)
    status, events = http2.status(stream)
    if status != 200:
        return {"status": status, "problem": http2.body(stream, events).decode()}
    # Not ended with the request: nginx takes a client that has ended for one that has gone.
    http2.state.send_data(stream, get(options))
    http2.flush()
    return {"status": status, "sha256": sha256_of_body(http2.body(stream, events))}


def through_http1(options, token):
    channel = connect(options, b"http/1.1")
    target = options["target"]
    credentials = f"Proxy-Authorization: Bearer {token}\r\n" if token else ""
    channel.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{credentials}\r\n".encode())
    head = b""
    while b"\r\n\r\n" not in head:
        data = received(channel)
        if not data:
            raise EOFError(f"the channel ended after {head!r}")
        head += data
    status = int(head.split()[1])
    if status != 200:
        return {"status": status}
    channel.sendall(get(options))
    response = head.split(b"\r\n\r\n", 1)[1]
    while data := received(channel):
        response += data
    return {"status": status, "sha256": sha256_of_body(response)}


def main(options):
    channel = connect(options, b"h2")
    group = channel.get_group_name()
    http2 = Http2(channel)
    token = options.get("token")
    if options.get("key") and "token" not in options:
        token = access_token(http2, options["name"])
    print(
        json.dumps(
            {
                "group": group,
                "protocol": channel.get_protocol_version_name(),
                "openssl": SSL.OpenSSL_version(SSL.OPENSSL_VERSION).decode(),
                "token": token,
                "http2": through_http2(http2, options, token),
                "http1": through_http1(options, token),
            }
        )
    )


try:
    main(json.loads(sys.argv[1]))
except (SSL.Error, EOFError, OSError) as error:
    print(f"{type(error).__name__}: {error}", file=sys.stderr)
    sys.exit(1)
