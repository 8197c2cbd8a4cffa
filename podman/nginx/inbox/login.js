// Logs a person in at Keycloak: code flow with PKCE (RFC 7636). Tokens are in this module's memory and nowhere else; what
// must outlive the way to Keycloak and back, a secret of one use, lies in the session storage until then.

const REALM = '/auth/realms/dicom/protocol/openid-connect';
const CLIENT = 'ohif-viewer';
const HERE = `${location.origin}/inbox/`;
const KEPT = 'inbox-login';
const MARGIN_MS = 30_000;

let tokens = null;
let until = 0;
let renewing = null;

export class SessionOver extends Error {}

const text64 = bytes =>
  btoa(String.fromCharCode(...new Uint8Array(bytes))).replace(/\+/g, '-').replace(/\//g, '_').replace(/=+$/, '');
const random = () => text64(crypto.getRandomValues(new Uint8Array(32)));

// Leaves this page for Keycloak's.
export async function leave() {
  const kept = { state: random(), verifier: random() };
  sessionStorage.setItem(KEPT, JSON.stringify(kept));
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(kept.verifier));
  const query = new URLSearchParams({
    client_id: CLIENT,
    code_challenge: text64(digest),
    code_challenge_method: 'S256',
    redirect_uri: HERE,
    // The code comes behind the '#', which no server is told.
    response_mode: 'fragment',
    response_type: 'code',
    scope: 'openid',
    state: kept.state,
  });
  location.assign(`${REALM}/auth?${query}`);
}

// Whoever comes back from Keycloak gets tokens: true; false for who has yet to go there. Throws when it did not work.
export async function arrive() {
  const answer = new URLSearchParams(location.hash.slice(1));
  const kept = JSON.parse(sessionStorage.getItem(KEPT) ?? 'null');
  sessionStorage.removeItem(KEPT);
  if (!answer.has('state')) {
    return false;
  }
  history.replaceState(null, '', '/inbox/');
  if (!kept || answer.get('state') !== kept.state || !answer.has('code')) {
    throw new SessionOver(answer.get('error') ?? 'unasked');
  }
  await ask({
    code: answer.get('code'),
    code_verifier: kept.verifier,
    grant_type: 'authorization_code',
    redirect_uri: HERE,
  });
  return true;
}

// An access token that is good for a while yet.
export async function token() {
  if (!tokens) {
    throw new SessionOver();
  }
  if (Date.now() > until - MARGIN_MS) {
    // A refresh token is taken once: whoever comes meanwhile waits for the same answer.
    renewing ??= ask({ grant_type: 'refresh_token', refresh_token: tokens.refresh_token }).finally(() => {
      renewing = null;
    });
    await renewing;
  }
  return tokens.access_token;
}

// The access token was refused: the next one is asked for anew.
export function refused() {
  until = 0;
}

// Ends the session at Keycloak too, by a form: an address would keep the token.
export function logOut() {
  const form = document.createElement('form');
  form.method = 'post';
  form.action = `${REALM}/logout`;
  const fields = { id_token_hint: tokens?.id_token ?? '', post_logout_redirect_uri: HERE };
  for (const [name, value] of Object.entries(fields)) {
    const field = document.createElement('input');
    field.type = 'hidden';
    field.name = name;
    field.value = value;
    form.append(field);
  }
  document.body.append(form);
  tokens = null;
  form.submit();
}

async function ask(fields) {
  const answer = await fetch(`${REALM}/token`, {
    body: new URLSearchParams({ client_id: CLIENT, ...fields }),
    method: 'POST',
  });
  if (answer.status === 400 || answer.status === 401) {
    tokens = null;
    throw new SessionOver();
  }
  if (!answer.ok) {
    throw new Error(String(answer.status));
  }
  tokens = await answer.json();
  until = Date.now() + tokens.expires_in * 1000;
}
