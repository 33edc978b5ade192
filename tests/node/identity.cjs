// Verifies an identity token with npm `paseto`, as a service behind the gateway would.
//
//   identity.cjs < QUESTION    JSON: keys (what the gateway publishes), token, service
//
// Prints the claims as JSON; ends with 1 and the reason on standard error if they are not to be believed.
'use strict';

const fs = require('node:fs');
const { InspectFooter, PublicProtocol } = require('paseto');
const { ImportPublicKeyFactory, VerifyFactory } = require('paseto/v4/public');

const v4 = new PublicProtocol(ImportPublicKeyFactory, VerifyFactory);
const { keys, token, service } = JSON.parse(fs.readFileSync(0, 'utf8'));

async function verified() {
  const { kid } = JSON.parse(Buffer.from(InspectFooter(token)).toString());
  const published = keys.keys.find((key) => key.kid === kid);
  if (!published) throw new Error(`the gateway has published no key ${kid}`);
  const key = await v4.ImportPublicKey(published.paserk);
  const { claims } = await v4.Verify(key, token, { audience: service, issuer: keys.issuer });
  return claims;
}

verified().then(
  (claims) => console.log(JSON.stringify(claims)),
  (error) => {
    console.error(error.message);
    process.exitCode = 1;
  },
);
