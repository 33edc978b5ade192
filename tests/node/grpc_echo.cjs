// A gRPC echo without generated code: messages are bytes.
//
//   grpc_echo.cjs serve PORT     one call and one bidirectional stream, both answer what they are sent; one call that fails
//   grpc_echo.cjs call PORT      uses the first two and checks the answers
//   grpc_echo.cjs come OPTIONS   uses all of them at a gateway, first as nobody and then with a token; options as JSON: port,
//                                name, anchors (a PEM file), bearer
'use strict';

const crypto = require('node:crypto');
const fs = require('node:fs');
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
const service = { once: method('Once', false), each: method('Each', true), fails: method('Fails', false) };

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
    fails: (call, answer) => {
      const metadata = new grpc.Metadata();
      metadata.set('reason', 'because');
      answer({ code: grpc.status.FAILED_PRECONDITION, details: 'not now', metadata });
    },
  });
  server.bindAsync(`127.0.0.1:${port}`, grpc.ServerCredentials.createInsecure(), (error) => {
    if (error) throw error;
  });
}

function once(client, metadata = new grpc.Metadata()) {
  const sent = crypto.randomBytes(MESSAGE_BYTES);
  return new Promise((resolve, reject) => {
    client.once(sent, metadata, (error, received) => {
      if (error) return reject(error);
      return sent.equals(received) ? resolve() : reject(new Error('another message came back'));
    });
  });
}

function each(client, metadata = new grpc.Metadata()) {
  const sent = Array.from({ length: MESSAGES }, () => crypto.randomBytes(MESSAGE_BYTES));
  const received = [];
  return new Promise((resolve, reject) => {
    const call = client.each(metadata);
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

/// The status of a call that fails, and what came with it.
const fails = (client, metadata) =>
  new Promise((resolve) => {
    client.fails(Buffer.of(), metadata, (error) => {
      resolve(`${grpc.status[error.code]}: ${error.details}, ${error.metadata.get('reason')}`);
    });
  });

async function come(options) {
  const { port, name, anchors, bearer } = JSON.parse(options);
  const Client = grpc.makeClientConstructor(service, 'Echo');
  const client = new Client(`127.0.0.1:${port}`, grpc.credentials.createSsl(fs.readFileSync(anchors)), {
    'grpc.ssl_target_name_override': name,
    'grpc.default_authority': name,
  });
  const refused = await once(client).catch((error) => grpc.status[error.code]);
  console.log(`nobody: ${refused}`);
  const known = new grpc.Metadata();
  known.set('authorization', `Bearer ${bearer}`);
  await once(client, known);
  console.log('unary ok');
  console.log(`stream ok: ${MESSAGES} messages, ${await each(client, known)} bytes`);
  console.log(await fails(client, known));
  client.close();
}

const [action, argument] = process.argv.slice(2);
({ serve, call, come })[action](argument);
