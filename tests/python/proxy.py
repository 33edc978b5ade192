"""libcurl as `curl --proxy-http2 --proxytunnel` has it: fetches a file through CONNECT on HTTP/2.

    proxy.py OPTIONS    options as JSON: port, name, anchors (a PEM file), target, path, token (null: none)

Prints JSON: libcurl's version, what it said on the way, the answer's status, what went wrong, and the SHA-256 of what came.
"""

import hashlib
import io
import json
import sys

import pycurl

# CURLPROXY_HTTPS2 of curl/curl.h, which pycurl has no name for.
HTTP2_PROXY = 3


def prepared(options):
    curl = pycurl.Curl()
    proxy = f"{options['name']}:{options['port']}"
    curl.setopt(pycurl.URL, f"http://{options['target']}{options['path']}")
    curl.setopt(pycurl.PROXY, f"https://{proxy}")
    curl.setopt(pycurl.PROXYTYPE, HTTP2_PROXY)
    curl.setopt(pycurl.HTTPPROXYTUNNEL, True)
    curl.setopt(pycurl.NOPROXY, "")
    curl.setopt(pycurl.PROXY_CAINFO, options["anchors"])
    curl.setopt(pycurl.RESOLVE, [f"{proxy}:127.0.0.1"])
    curl.setopt(pycurl.TIMEOUT, 30)
    if options["token"]:
        curl.setopt(pycurl.PROXYHEADER, [f"Proxy-Authorization: Bearer {options['token']}"])
    return curl


def main(options):
    body, said, error = io.BytesIO(), [], None
    curl = prepared(options)
    curl.setopt(pycurl.DEBUGFUNCTION, lambda kind, line: kind == pycurl.INFOTYPE_TEXT and said.append(line.decode()))
    curl.setopt(pycurl.VERBOSE, True)
    curl.setopt(pycurl.WRITEDATA, body)
    try:
        curl.perform()
    except pycurl.error as failed:
        error = str(failed)
    report = {
        "curl": pycurl.version,
        "said": "".join(said),
        "status": curl.getinfo(pycurl.RESPONSE_CODE),
        "error": error,
        "sha256": hashlib.sha256(body.getvalue()).hexdigest(),
    }
    print(json.dumps(report))


main(json.loads(sys.argv[1]))
