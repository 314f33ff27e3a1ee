// The official JavaScript MCP client, left alone with a URL and an OAuth client: prints the number of tools it is shown.
// Its one argument is JSON: {url, client, redirect}. The person's browser follows redirects until the client's own address.
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { UnauthorizedError } from '@modelcontextprotocol/sdk/client/auth.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';

const { url, client, redirect } = JSON.parse(process.argv[2]);
const kept = {};
let code;
const provider = {
  redirectUrl: redirect,
  clientMetadata: { client_name: 'helper', redirect_uris: [redirect], token_endpoint_auth_method: 'none', scope: 'openid' },
  clientInformation: () => client,
  tokens: () => kept.tokens,
  saveTokens: (tokens) => { kept.tokens = tokens; },
  codeVerifier: () => kept.verifier,
  saveCodeVerifier: (verifier) => { kept.verifier = verifier; },
  redirectToAuthorization: async (target) => {
    const jar = new Map();
    let next = target.href;
    while (!next.startsWith(redirect)) {
      const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join('; ');
      const answer = await fetch(next, { redirect: 'manual', headers: cookie ? { cookie } : {} });
      for (const line of answer.headers.getSetCookie()) {
        const [, name, value] = /^([^=]+)=([^;]*)/.exec(line);
        jar.set(name, value);
      }
      next = new URL(answer.headers.get('location'), next).href;
    }
    code = new URL(next).searchParams.get('code');
    if (!code) throw new Error(`sent back with ${next}`);
  },
};
const connect = async () => {
  const transport = new StreamableHTTPClientTransport(new URL(url), { authProvider: provider });
  const found = new Client({ name: 'helper', version: '1' });
  try {
    await found.connect(transport);
  } catch (error) {
    if (!(error instanceof UnauthorizedError) || !code) throw error;
    await transport.finishAuth(code);
    return undefined;
  }
  return found;
};
const found = (await connect()) ?? (await connect());
console.log(JSON.stringify({ tools: (await found.listTools()).tools.length, scope: kept.tokens.scope ?? '' }));
await found.close();
