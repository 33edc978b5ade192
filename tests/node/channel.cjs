// A client with nothing of ours in it: fetches an access token over mutual ML-DSA TLS, then a file through CONNECT.
//
//   channel.cjs OPTIONS    options as JSON: port, name, key, certificate, anchors (PEM files), target, path, groups (to
//                          offer instead of the default), token (instead of fetching one)
//
// Prints JSON: the negotiated group, and for HTTP/1.1 (undici's ProxyAgent) and HTTP/2 the status and the SHA-256 of what came.
'use strict';

const crypto = require('node:crypto');
const fs = require('node:fs');
const http2 = require('node:http2');
const tls = require('node:tls');
const { ProxyAgent, request } = require('undici');

const options = JSON.parse(process.argv[2]);
const identity = {
  ...(options.key && { key: fs.readFileSync(options.key), cert: fs.readFileSync(options.certificate) }),
  ca: fs.readFileSync(options.anchors),
  servername: options.name,
  ...(options.groups && { ecdhCurve: options.groups }),
};
const sha256 = (bytes) => crypto.createHash('sha256').update(bytes).digest('hex');

async function collect(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/// An HTTP/2 session on a TLS connection of its own, once the handshake is done.
function connect() {
  return new Promise((resolve, reject) => {
    const socket = tls.connect({ host: '127.0.0.1', port: options.port, ...identity, ALPNProtocols: ['h2'] });
    socket.once('error', reject);
    socket.once('secureConnect', () => {
      const session = http2.connect(`https://${options.name}`, { createConnection: () => socket });
      session.once('error', reject);
      resolve({ session, socket });
    });
  });
}

function answer(stream) {
  return new Promise((resolve, reject) => {
    stream.once('response', (headers) => resolve(headers[':status']));
    stream.once('error', reject);
  });
}

async function accessToken(session) {
  const stream = session.request({ ':method': 'POST', ':path': '/v1/token', ':authority': options.name });
  stream.end();
  const status = await answer(stream);
  const body = await collect(stream);
  if (status !== 200) throw new Error(`POST /v1/token: ${status} ${body}`);
  return JSON.parse(body).access_token;
}

async function throughHttp2(session, token) {
  const stream = session.request({
    ':method': 'CONNECT',
    ':authority': options.target,
    'proxy-authorization': `Bearer ${token}`,
  });
  const status = await answer(stream);
  if (status !== 200) return { status, problem: String(await collect(stream)) };
  // Not ended with the request: nginx takes a client that has ended for one that has gone.
  stream.write(`GET ${options.path} HTTP/1.0\r\nHost: ${options.target}\r\n\r\n`);
  const received = await collect(stream);
  stream.end();
  return { status, sha256: sha256(received.subarray(received.indexOf('\r\n\r\n') + 4)) };
}

async function throughHttp1(token) {
  const proxy = new ProxyAgent({
    uri: `https://127.0.0.1:${options.port}`,
    token: `Bearer ${token}`,
    proxyTls: { ...identity, ALPNProtocols: ['http/1.1'] },
    proxyTunnel: true,
  });
  try {
    const response = await request(`http://${options.target}${options.path}`, { dispatcher: proxy });
    return { status: response.statusCode, sha256: sha256(Buffer.from(await response.body.arrayBuffer())) };
  } catch (error) {
    return { error: error.message };
  } finally {
    await proxy.close();
  }
}

async function main() {
  const { session, socket } = await connect();
  const group = socket.getEphemeralKeyInfo();
  const token = options.token ?? (await accessToken(session));
  const report = { group, protocol: socket.getProtocol(), token };
  report.http2 = await throughHttp2(session, token);
  report.http1 = await throughHttp1(token);
  session.destroy();
  console.log(JSON.stringify(report));
}

main().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
