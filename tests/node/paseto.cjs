// Answers the questions of crates/paseto-peers with npm `paseto`, a line of JSON for a line of JSON.
'use strict';

const { createInterface } = require('node:readline');
const { LocalProtocol, PublicProtocol } = require('paseto');

/// Each version and purpose with all that it can do; an operation that it has not is `undefined`.
const protocols = {};
for (const version of [1, 2, 3, 4]) {
  protocols[`k${version}.local`] = protocol(LocalProtocol, require(`paseto/v${version}/local`));
  protocols[`k${version}.public`] = protocol(PublicProtocol, require(`paseto/v${version}/public`));
}

function protocol(Protocol, module) {
  const factories = Object.entries(module).filter(([name]) => name.endsWith('Factory'));
  return new Protocol(...factories.map(([, factory]) => factory));
}

class Unsupported extends Error {}

/// The function `name` of a protocol, or the answer that there is none.
function has(protocol, name) {
  if (typeof protocol[name] !== 'function') throw new Unsupported(name);
  return (...given) => protocol[name](...given);
}

const extractable = { extractable: true };

function options(question, version) {
  const implicitAssertion = Buffer.from(question.assertion, 'hex');
  return {
    footer: Buffer.from(question.footer, 'hex'),
    addIssuedAt: false,
    ...(version > 2 && { implicitAssertion }),
  };
}

async function answer(question) {
  const [paserk, kind] = (question.key ?? question.paserk).split('.');
  const version = Number(paserk.slice(1));
  const local = protocols[`${paserk}.local`];
  const signed = protocols[`${paserk}.public`];
  const secret = kind.startsWith('secret');
  switch (question.ask) {
    case 'mint': {
      const claims = JSON.parse(Buffer.from(question.payload, 'hex'));
      const token = secret
        ? await has(signed, 'Sign')(await signed.ImportSecretKey(question.key), claims, options(question, version))
        : await has(local, 'Encrypt')(await local.ImportKey(question.key), claims, options(question, version));
      return { text: token };
    }
    case 'open': {
      const opened = kind === 'public'
        ? await has(signed, 'Verify')(await signed.ImportPublicKey(question.key), question.token, options(question, version))
        : await has(local, 'Decrypt')(await local.ImportKey(question.key), question.token, options(question, version));
      return bytes(Buffer.from(JSON.stringify(opened.claims)));
    }
    case 'identify': {
      const identify = { local: [local, 'KeyID'], public: [signed, 'PublicKeyID'], secret: [signed, 'SecretKeyID'] }[kind];
      return { text: await has(...identify)(question.key) };
    }
    case 'wrap': {
      const text = secret
        ? await has(signed, 'WrapSecretKey')(await signed.ImportSecretKey(question.key, extractable), await signed.ImportWrappingKey(data(question.with)))
        : await has(local, 'WrapKey')(await local.ImportKey(question.key, extractable), await local.ImportWrappingKey(data(question.with)));
      return { text };
    }
    case 'unwrap':
      return secret
        ? exported(signed, 'ExportSecretKey', await has(signed, 'UnwrapSecretKey')(question.paserk, await signed.ImportWrappingKey(data(question.with)), extractable))
        : exported(local, 'ExportKey', await has(local, 'UnwrapKey')(question.paserk, await local.ImportWrappingKey(data(question.with)), extractable));
    case 'protect': {
      const password = Buffer.from(question.password);
      const work = version % 2 === 1 ? { iterations: 1000 } : { memory: 65536, passes: 1 };
      const text = secret
        ? await has(signed, 'WrapSecretKeyWithPassword')(await signed.ImportSecretKey(question.key, extractable), password, work)
        : await has(local, 'WrapKeyWithPassword')(await local.ImportKey(question.key, extractable), password, work);
      return { text };
    }
    case 'unlock': {
      const password = Buffer.from(question.password);
      return secret
        ? exported(signed, 'ExportSecretKey', await has(signed, 'UnwrapSecretKeyWithPassword')(question.paserk, password, extractable))
        : exported(local, 'ExportKey', await has(local, 'UnwrapKeyWithPassword')(question.paserk, password, extractable));
    }
    case 'seal': {
      const key = await local.ImportKey(question.key, extractable);
      return { text: await has(local, 'SealKey')(key, await has(local, 'ImportSealingPublicKey')(data(question.to))) };
    }
    case 'unseal': {
      const recipient = await has(local, 'ImportSealingSecretKey')(data(question.with));
      return exported(local, 'ExportKey', await has(local, 'UnsealKey')(question.paserk, recipient, extractable));
    }
    default:
      throw new Unsupported(question.ask);
  }
}

/// The bytes of a key.
async function exported(protocol, name, key) {
  return bytes(data(await protocol[name](key)));
}

/// The bytes in a plain PASERK.
const data = (paserk) => Buffer.from(paserk.split('.')[2], 'base64url');

const bytes = (given) => ({ bytes: given.toString('hex') });

async function main() {
  for await (const line of createInterface({ input: process.stdin })) {
    const reply = await answer(JSON.parse(line)).catch((error) =>
      error instanceof Unsupported ? { unsupported: null } : { refused: `${error.name}: ${error.message}` });
    process.stdout.write(`${JSON.stringify(reply)}\n`);
  }
}

main();
