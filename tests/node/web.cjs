// Clients without an agent: undici on HTTP/1.1 and HTTP/2, and node:http2, each on a connection of its own.
//
//   web.cjs OPTIONS    options as JSON: port, name, anchors (a PEM file), bearer (may be null)
//
// Prints JSON: for each client its status and the body that came, and the key exchange group.
'use strict';

const fs = require('node:fs');
const http2 = require('node:http2');
const tls = require('node:tls');
const { Agent, request } = require('undici');

const options = JSON.parse(process.argv[2]);
const url = `https://${options.name}:${options.port}`;
const trust = { ca: fs.readFileSync(options.anchors), servername: options.name };
const fields = options.bearer ? { authorization: `Bearer ${options.bearer}` } : {};

/// Every name is this machine.
const lookup = (name, { all }, done) =>
  all ? done(null, [{ address: '127.0.0.1', family: 4 }]) : done(null, '127.0.0.1', 4);

async function withUndici(allowH2) {
  const dispatcher = new Agent({ allowH2, connect: { ...trust, lookup } });
  const response = await request(`${url}/`, { dispatcher, headers: fields });
  const body = await response.body.text();
  await dispatcher.close();
  return { client: `undici, h2 ${allowH2}`, status: response.statusCode, body };
}

async function withHttp2() {
  const socket = tls.connect({ host: '127.0.0.1', port: options.port, ...trust, ALPNProtocols: ['h2'] });
  await new Promise((resolve, reject) => socket.once('secureConnect', resolve).once('error', reject));
  const session = http2.connect(url, { createConnection: () => socket });
  const stream = session.request({ ':path': '/', ...fields });
  const status = await new Promise((resolve, reject) => {
    stream.once('response', (head) => resolve(head[':status'])).once('error', reject);
  });
  let body = '';
  for await (const chunk of stream) body += chunk;
  const group = socket.getEphemeralKeyInfo().name;
  session.close();
  return { client: 'node:http2', status, body, group };
}

(async () => {
  console.log(JSON.stringify([await withUndici(false), await withUndici(true), await withHttp2()]));
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
