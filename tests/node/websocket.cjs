// A WebSocket echo on HTTP/2 (RFC 8441), and its clients: undici's WebSocket on HTTP/1.1, and node:http2. undici on HTTP/2 asks for
// a Sec-WebSocket-Accept, which is not sent there (section 5.1).
//
//   websocket.cjs serve PORT     sends back what comes; where `/break` is asked for, the first message resets the stream
//   websocket.cjs come OPTIONS   is both clients; options as JSON: port, name, anchors (a PEM file)
'use strict';

const fs = require('node:fs');
const http2 = require('node:http2');
const { Agent, WebSocket } = require('undici');

/// The short frames that are whole in `bytes`, unmasked, and what is left (RFC 6455, section 5.2).
function frames(bytes) {
  const whole = [];
  while (bytes.length >= 6 && bytes.length >= 6 + (bytes[1] & 0x7f)) {
    const length = bytes[1] & 0x7f;
    const mask = bytes.subarray(2, 6);
    const text = bytes.subarray(6, 6 + length).map((byte, at) => byte ^ mask[at % 4]);
    whole.push(Buffer.concat([Buffer.from([bytes[0], length]), text]));
    bytes = bytes.subarray(6 + length);
  }
  return [whole, bytes];
}

/// The first byte of a whole message, and of a close (section 5.2).
const TEXT = 0x81;
const CLOSE = 0x88;

function serve(port) {
  const server = http2.createServer({ settings: { enableConnectProtocol: true } });
  server.on('stream', (stream, head) => {
    if (head[':method'] !== 'CONNECT' || head[':protocol'] !== 'websocket') {
      stream.respond({ ':status': 404 }, { endStream: true });
      return;
    }
    stream.on('error', () => {});
    stream.respond({ ':status': 200 });
    let rest = Buffer.alloc(0);
    stream.on('data', (bytes) => {
      if (head[':path'] === '/break') return stream.close(http2.constants.NGHTTP2_CANCEL);
      let whole;
      [whole, rest] = frames(Buffer.concat([rest, bytes]));
      for (const frame of whole) {
        stream.write(frame);
        // A frame of the same code answers a close (section 5.5.1).
        if (frame[0] === CLOSE) stream.end();
      }
    });
  });
  server.listen(Number(port), '127.0.0.1');
}

/// Every name is this machine.
const lookup = (name, { all }, done) =>
  all ? done(null, [{ address: '127.0.0.1', family: 4 }]) : done(null, '127.0.0.1', 4);

/// What comes back to undici, and the code that the WebSocket ends with.
async function withUndici(host, trust, path) {
  const dispatcher = new Agent({ connect: { ...trust, lookup } });
  const socket = new WebSocket(`wss://${host}${path}`, { dispatcher });
  let heard = null;
  socket.onopen = () => socket.send('hello');
  socket.onmessage = (message) => {
    heard = message.data;
    socket.close(1000);
  };
  const code = await new Promise((resolve) => {
    socket.onclose = (end) => resolve(end.code);
  });
  await dispatcher.destroy();
  return `${heard}, ${code}`;
}

/// A frame with a mask that changes nothing.
const frame = (code, bytes) =>
  Buffer.concat([Buffer.from([code, 0x80 | bytes.length, 0, 0, 0, 0]), Buffer.from(bytes)]);

/// What comes back to node:http2, and the code that the stream ends with.
async function withHttp2(host, trust, path) {
  const session = http2.connect(`https://${host}`, { ...trust, lookup });
  await new Promise((resolve, reject) => session.once('remoteSettings', resolve).once('error', reject));
  const stream = session.request({
    ':method': 'CONNECT',
    ':protocol': 'websocket',
    ':path': path,
    'sec-websocket-version': '13',
  });
  stream.on('error', () => {});
  stream.write(frame(TEXT, 'hello'));
  let heard = Buffer.alloc(0);
  stream.on('data', (bytes) => {
    heard = Buffer.concat([heard, bytes]);
    if (heard.length === 'hello'.length + 2) stream.end(frame(CLOSE, [0x03, 0xe8]));
  });
  await new Promise((resolve) => stream.once('close', resolve));
  session.destroy();
  return `${heard.toString('hex')}, ${stream.rstCode}`;
}

async function come(options) {
  const { port, name, anchors } = JSON.parse(options);
  const trust = { ca: fs.readFileSync(anchors), servername: name };
  for (const client of [withUndici, withHttp2]) {
    for (const path of ['/echo', '/break']) {
      console.log(`${client.name} ${path}: ${await client(`${name}:${port}`, trust, path)}`);
    }
  }
}

const [action, argument] = process.argv.slice(2);
({ serve, come })[action](argument);
