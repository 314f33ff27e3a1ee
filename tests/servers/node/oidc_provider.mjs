// A real authorisation server for the tests: client credentials, JWT access tokens for one resource, DPoP, keys as given.
import { createServer } from 'node:http';
import Provider from 'oidc-provider';

const { port, resource, keys, clients } = JSON.parse(process.argv[2]);
const issuer = `http://127.0.0.1:${port}`;
const provider = new Provider(issuer, {
  jwks: { keys },
  clients: clients.map((client_id) => ({
    client_id,
    client_secret: `secret-of-${client_id}-0123456789abcdef0123456789abcdef`,
    grant_types: ['client_credentials'],
    redirect_uris: [],
    response_types: [],
    id_token_signed_response_alg: 'ES256',
  })),
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    dPoP: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => resource,
      getResourceServerInfo: (_context, indicator) => ({
        scope: 'call',
        audience: indicator,
        accessTokenFormat: 'jwt',
        accessTokenTTL: 300,
        jwt: { sign: { alg: 'ES256' } },
      }),
    },
  },
});
createServer(provider.callback()).listen(port, '127.0.0.1', () => console.log('ready'));
