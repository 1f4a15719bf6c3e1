// A certified OpenID provider (oidc-provider) with the users of a test. It takes any password on its own pages.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { pathToFileURL } from 'node:url';

const settings = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const { Provider } = await import(pathToFileURL(settings.library).href);

// Read at each login, so that a test can change users while the provider runs.
const users = () => JSON.parse(readFileSync(settings.users, 'utf8'));

const provider = new Provider(settings.issuer, {
  clients: [
    {
      client_id: settings.client,
      client_secret: settings.secret,
      redirect_uris: settings.redirects,
      response_types: ['code'],
      grant_types: ['authorization_code'],
    },
  ],
  claims: {
    openid: ['sub'],
    profile: ['preferred_username', 'given_name', 'family_name'],
    email: ['email', 'email_verified'],
    groups: ['groups'],
  },
  scopes: ['openid', 'groups'],
  conformIdTokenClaims: settings.lean,
  findAccount: (_, id) => (users()[id] ? { accountId: id, claims: () => ({ sub: id, ...users()[id] }) } : undefined),
  cookies: { keys: ['of a test'] },
  features: { devInteractions: { enabled: true } },
  pkce: { required: () => true },
});

createServer({ cert: readFileSync(settings.cert), key: readFileSync(settings.key) }, provider.callback()).listen(
  settings.port,
  '127.0.0.1',
);
