// A real authorisation server (oidc-provider) as a company runs one: MCP clients register themselves, people sign in, access tokens
// are JWTs for the resource that was asked for (RFC 8707), and carry the task that the company's own desk opened for the agent.
// Its one argument is JSON: {resource, clients, sign_in}. It prints its URL. POST /desk {"task": "…"} sets the task of tokens to come.
import { createServer } from 'node:http';
import { errors, Provider } from 'oidc-provider';

const { resource, clients = [], port = 0 } = JSON.parse(process.argv[2]);
const server = createServer();
await new Promise((ready) => server.listen(port, '127.0.0.1', ready));
const url = `http://127.0.0.1:${server.address().port}`;
let task;
let person = 'alice';

const provider = new Provider(url, {
  clients,
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, email: `${id}@corp.example` }) }),
  scopes: ['openid', 'offline_access'],
  claims: { openid: ['sub', 'email'] },
  conformIdTokenClaims: false,
  pkce: { required: () => true },
  responseTypes: ['code'],
  cookies: { keys: ['for tests only'] },
  enabledJWA: { clientAuthSigningAlgValues: ['ES256', 'RS256'] },
  extraTokenClaims: () => (task ? { lictor_task: task } : {}),
  features: {
    devInteractions: { enabled: false },
    registration: { enabled: true },
    rpInitiatedLogout: { enabled: false },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => undefined,
      useGrantedResource: () => true,
      getResourceServerInfo: (_, asked) => {
        if (asked !== resource) throw new errors.InvalidTarget();
        return { scope: '', audience: asked, accessTokenFormat: 'jwt', jwt: { sign: { alg: 'RS256' } } };
      },
    },
  },
  interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  ttl: { AccessToken: 600, AuthorizationCode: 60, Grant: 3600, Interaction: 600, Session: 3600, IdToken: 600 },
});

async function read(request) {
  let text = '';
  for await (const part of request) text += part;
  return text;
}

// The person signs in and agrees: what a page with two buttons would do.
async function interact(request, response) {
  const { prompt, params, grantId } = await provider.interactionDetails(request, response);
  if (prompt.name === 'login') {
    return provider.interactionFinished(request, response, { login: { accountId: person } }, { mergeWithLastSubmission: false });
  }
  const grant = grantId ? await provider.Grant.find(grantId) : new provider.Grant({ accountId: person, clientId: params.client_id });
  if (prompt.details.missingOIDCScope) grant.addOIDCScope(prompt.details.missingOIDCScope.join(' '));
  for (const [asked, scopes] of Object.entries(prompt.details.missingResourceScopes ?? {})) grant.addResourceScope(asked, scopes.join(' '));
  return provider.interactionFinished(request, response, { consent: { grantId: await grant.save() } }, { mergeWithLastSubmission: true });
}

const callback = provider.callback();
server.on('request', async (request, response) => {
  try {
    if (request.url === '/desk') {
      const said = JSON.parse(await read(request));
      task = said.task ?? task;
      person = said.person ?? person;
      response.end('{}');
    } else if (request.url.startsWith('/interaction/')) {
      await interact(request, response);
    } else {
      callback(request, response);
    }
  } catch (error) {
    response.statusCode = 500;
    response.end(String(error.stack));
  }
});
console.log(url);
