// A web site to look at: a page whose script opens a WebSocket, and writes what comes back into the page.
// The page's picture is held back until the page has said that it wrote, so that no browser, however slow the machine,
// takes the page for loaded before.
//
//   site.cjs PORT
'use strict';

const crypto = require('node:crypto');
const http = require('node:http');

const PAGE = `<!doctype html><html lang="en"><title>A site</title>
<h1 id="page">The page is here</h1><p id="echo">nothing yet</p>
<script>
  const socket = new WebSocket('wss://' + location.host + '/echo');
  const write = (text) => (document.getElementById('echo').textContent = text);
  socket.onopen = () => socket.send('hello from the browser');
  socket.onmessage = (message) => {
    write('came back: ' + message.data);
    socket.onmessage = null;
    socket.send('written');
  };
  socket.onerror = () => write('it failed');
</script><img src="/when-written" alt=""></html>`;

/// What a client of a WebSocket is to be told (RFC 6455, section 4.2.2).
const accepted = (key) =>
  crypto.createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');

/// Unmasks a short frame and sends it back (RFC 6455, section 5.2).
function echo(socket, frame) {
  const length = frame[1] & 0x7f;
  const mask = frame.subarray(2, 6);
  const text = frame.subarray(6, 6 + length).map((byte, at) => byte ^ mask[at % 4]);
  socket.write(Buffer.concat([Buffer.from([frame[0], length]), text]));
  if (Buffer.from(text).toString() === 'written') written.resolve();
}

const written = Promise.withResolvers();

http
  .createServer(async (request, response) => {
    if (request.url === '/when-written') {
      await written.promise;
      response.writeHead(204).end();
      return;
    }
    response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end(PAGE);
  })
  .on('upgrade', (request, socket) => {
    const accept = accepted(request.headers['sec-websocket-key']);
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
    );
    socket.on('data', (frame) => echo(socket, frame)).on('error', () => {});
  })
  .listen(Number(process.argv[2]), '127.0.0.1');
