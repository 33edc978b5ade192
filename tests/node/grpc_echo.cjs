// A gRPC echo without generated code: messages are bytes.
//
//   grpc_echo.cjs serve PORT     one call and one bidirectional stream, both answer what they are sent
//   grpc_echo.cjs call PORT      uses both and checks the answers
'use strict';

const crypto = require('node:crypto');
const grpc = require('@grpc/grpc-js');

const bytes = (value) => Buffer.from(value);
const method = (name, streamed) => ({
  path: `/echo.Echo/${name}`,
  requestStream: streamed,
  responseStream: streamed,
  requestSerialize: bytes,
  requestDeserialize: bytes,
  responseSerialize: bytes,
  responseDeserialize: bytes,
});
const service = { once: method('Once', false), each: method('Each', true) };

const MESSAGES = 100;
const MESSAGE_BYTES = 16384;

function serve(port) {
  const server = new grpc.Server();
  server.addService(service, {
    once: (call, answer) => answer(null, call.request),
    each: (call) => {
      call.on('data', (message) => call.write(message));
      call.on('end', () => call.end());
    },
  });
  server.bindAsync(`127.0.0.1:${port}`, grpc.ServerCredentials.createInsecure(), (error) => {
    if (error) throw error;
  });
}

function once(client) {
  const sent = crypto.randomBytes(MESSAGE_BYTES);
  return new Promise((resolve, reject) => {
    client.once(sent, (error, received) => {
      if (error) return reject(error);
      return sent.equals(received) ? resolve() : reject(new Error('another message came back'));
    });
  });
}

function each(client) {
  const sent = Array.from({ length: MESSAGES }, () => crypto.randomBytes(MESSAGE_BYTES));
  const received = [];
  return new Promise((resolve, reject) => {
    const call = client.each();
    call.on('data', (message) => received.push(message));
    call.on('error', reject);
    call.on('end', () => {
      const equal = Buffer.concat(sent).equals(Buffer.concat(received));
      return equal ? resolve(Buffer.concat(received).length) : reject(new Error('other bytes came back'));
    });
    sent.forEach((message) => call.write(message));
    call.end();
  });
}

async function call(port) {
  const Client = grpc.makeClientConstructor(service, 'Echo');
  const client = new Client(`127.0.0.1:${port}`, grpc.credentials.createInsecure());
  await once(client);
  console.log('unary ok');
  console.log(`stream ok: ${MESSAGES} messages, ${await each(client)} bytes`);
  client.close();
}

const [action, port] = process.argv.slice(2);
({ serve, call })[action](Number(port));
