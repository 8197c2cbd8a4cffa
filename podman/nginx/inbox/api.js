// Asks the importer, with the person's token.

import { SessionOver, refused, token } from './login.js';

export class Refused extends Error {
  constructor(status, words) {
    super(words);
    this.status = status;
  }
}

export const ROOT = '/inbox/api';
export const clinicRoot = clinic => `${ROOT}/clinics/${encodeURIComponent(clinic)}`;

// Returns the answer's JSON; throws Refused with the server's words, SessionOver, or TypeError without a connection.
export async function ask(path, body) {
  for (let again = false; ; again = true) {
    const options = { headers: { Authorization: `Bearer ${await token()}` } };
    if (body) {
      options.method = 'POST';
      options.body = JSON.stringify(body);
    }
    const answer = await fetch(path, options);
    if (answer.ok) {
      return answer.json();
    }
    if (answer.status !== 401) {
      throw new Refused(answer.status, await words(answer));
    }
    if (again) {
      throw new SessionOver();
    }
    refused();
  }
}

async function words(answer) {
  try {
    return (await answer.json()).error;
  } catch {
    return `${answer.status}`;
  }
}
