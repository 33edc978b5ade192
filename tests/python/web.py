"""Clients without an agent: pyOpenSSL (OpenSSL 4) on HTTP/1.1, and curl_cffi (BoringSSL, as Chrome) on HTTP/1.1 and HTTP/2.

    web.py OPTIONS    options as JSON: port, name, anchors (a PEM file), bearer (may be null)

Prints JSON: for each client its status and the body that came.
"""

import json
import socket
import sys

from curl_cffi import CurlHttpVersion, CurlOpt, requests
from OpenSSL import SSL


def with_pyopenssl(options, fields):
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_verify(SSL.VERIFY_PEER)
    context.load_verify_locations(options["anchors"])
    context.set_alpn_protos([b"http/1.1"])
    tcp = socket.create_connection(("127.0.0.1", options["port"]), 30)
    # pyOpenSSL answers "want read" on a socket with a time limit: block, and let the test bound the whole.
    tcp.settimeout(None)
    channel = SSL.Connection(context, tcp)
    channel.set_tlsext_host_name(options["name"].encode())
    channel.set_connect_state()
    channel.do_handshake()
    lines = [f"{name}: {value}\r\n" for name, value in fields.items()]
    head = f"GET / HTTP/1.1\r\nHost: {options['name']}\r\n{''.join(lines)}Connection: close\r\n\r\n"
    channel.sendall(head.encode())
    answer = b""
    try:
        while data := channel.recv(65536):
            answer += data
    except SSL.ZeroReturnError:
        pass
    head, body = answer.split(b"\r\n\r\n", 1)
    return {
        "client": "pyOpenSSL",
        "status": int(head.split()[1]),
        "body": body.decode(),
        "group": channel.get_group_name(),
    }


def with_boringssl(options, fields, version):
    resolve = [f"{options['name']}:{options['port']}:127.0.0.1"]
    with requests.Session(curl_options={CurlOpt.RESOLVE: resolve}) as session:
        answer = session.get(
            f"https://{options['name']}:{options['port']}/",
            headers={"accept": "*/*", **fields},
            http_version=version,
            impersonate="chrome",
            verify=options["anchors"],
            timeout=30,
        )
    return {"client": f"BoringSSL, {version.name}", "status": answer.status_code, "body": answer.text}


def main(options):
    fields = {"Authorization": f"Bearer {options['bearer']}"} if options["bearer"] else {}
    answers = [with_pyopenssl(options, fields)]
    for version in [CurlHttpVersion.V1_1, CurlHttpVersion.V2_0]:
        answers.append(with_boringssl(options, fields, version))
    print(json.dumps(answers))


main(json.loads(sys.argv[1]))
