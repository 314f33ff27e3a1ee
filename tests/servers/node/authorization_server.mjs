// A real authorisation server (oidc-provider) for the tests of OAuth leases. Its one argument is JSON: the clients' registrations.
// It prints one line of JSON: its URL, and access tokens of the person "alice" for the exchange (RFC 8693), which is written here
// with the library's own means since it has no such grant: `subject` is opaque; `signed` is a JWT for `gateway`, where one is given.
import { createServer } from 'node:http';
import { createLocalJWKSet, exportJWK, generateKeyPair, jwtVerify } from 'jose';
import { errors, Provider } from 'oidc-provider';

const { clients, life, gateway, agent } = JSON.parse(process.argv[2]);
const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const ACCESS = 'urn:ietf:params:oauth:token-type:access_token';
const server = createServer();
await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
const url = `http://127.0.0.1:${server.address().port}`;

const pair = await generateKeyPair('RS256', { extractable: true });
const key = { ...await exportJWK(pair.privateKey), kid: 'one', use: 'sig', alg: 'RS256' };
const known = createLocalJWKSet({ keys: [{ ...await exportJWK(pair.publicKey), kid: 'one', use: 'sig', alg: 'RS256' }] });

const provider = new Provider(url, {
  jwks: { keys: [key] },
  extraTokenClaims: (_, token) => token.besides,
  clients: clients.map((one) => ({ redirect_uris: [], response_types: [], ...one })),
  scopes: ['read', 'write', 'repo:shop/lamps'],
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  clientAuthMethods: ['client_secret_basic', 'client_secret_post', 'private_key_jwt'],
  enabledJWA: { clientAuthSigningAlgValues: ['ES256', 'RS256'] },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    introspection: { enabled: true, allowedPolicy: () => true },
    revocation: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => undefined,
      getResourceServerInfo: (_, resource) => {
        if (!resource.startsWith('https://api.test/')) throw new errors.InvalidTarget();
        return { scope: 'read write repo:shop/lamps', audience: resource, accessTokenFormat: 'opaque' };
      },
    },
  },
  ttl: { ClientCredentials: () => life, AccessToken: () => life, Grant: 3600 },
});

// A token of ours for a person: one we keep, or one we signed.
async function found(token) {
  if (!token.includes('.')) return provider.AccessToken.find(token);
  const { payload } = await jwtVerify(token, known, { issuer: url, audience: gateway }).catch(() => ({}));
  return payload && { accountId: payload.sub, isExpired: false };
}

provider.registerGrantType(EXCHANGE, async (ctx) => {
  const { client, params } = ctx.oidc;
  const subject = await found(params.subject_token);
  if (!subject || subject.isExpired || params.subject_token_type !== ACCESS) throw new errors.InvalidGrant('no such subject');
  const actor = params.actor_token && await provider.ClientCredentials.find(params.actor_token);
  if (params.actor_token && (!actor || params.actor_token_type !== ACCESS)) throw new errors.InvalidGrant('no such actor');
  // A grant of its own: this server ends a token's whole grant with the token, and the person's has to stay.
  const granted = new provider.Grant({ accountId: subject.accountId, clientId: client.clientId });
  granted.addOIDCScope(params.scope ?? '');
  const token = new provider.AccessToken({
    client,
    accountId: subject.accountId,
    scope: params.scope,
    grantId: await granted.save(),
    gty: 'exchange',
    aud: params.audience ?? params.resource,
  });
  token.besides = { act: { sub: actor ? actor.clientId : client.clientId } };
  token.expiresIn = life;
  ctx.body = {
    access_token: await token.save(),
    issued_token_type: ACCESS,
    token_type: 'Bearer',
    expires_in: life,
    scope: params.scope,
  };
}, ['subject_token', 'subject_token_type', 'requested_token_type', 'actor_token', 'actor_token_type', 'scope', 'audience', 'resource'],
['audience', 'resource']);

server.on('request', provider.callback());
const grant = new provider.Grant({ accountId: 'alice', clientId: clients[0].client_id });
grant.addOIDCScope('read');
const alice = new provider.AccessToken({
  client: await provider.Client.find(clients[0].client_id), accountId: 'alice', scope: 'read', grantId: await grant.save(), gty: 'test',
});
alice.expiresIn = life;
let signed = '';
if (gateway) {
  const person = new provider.AccessToken({
    client: await provider.Client.find(clients[0].client_id), accountId: 'alice', scope: '', grantId: alice.grantId, gty: 'test',
    aud: gateway,
  });
  person.besides = { may_act: { sub: agent } };
  person.resourceServer = new provider.ResourceServer(gateway, {
    audience: gateway, scope: '', accessTokenFormat: 'jwt', jwt: { sign: { alg: 'RS256' } },
  });
  person.expiresIn = life;
  signed = await person.save();
}
console.log(JSON.stringify({ url, subject: await alice.save(), signed }));
