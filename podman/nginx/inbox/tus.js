// Sends one file by the tus protocol 1.0.0, from wherever it was left: the server knows a file by its path, size and time.

import { SessionOver, refused, token } from './login.js';
import { Refused, clinicRoot } from './api.js';

// What a broken connection loses at most; smaller files go along with the request that announces them.
export const CHUNK_BYTES = 8 * 2 ** 20;
const FIRST_WAIT_MS = 500;
const MAX_WAIT_MS = 15_000;
const CONTENT = 'application/offset+octet-stream';
// The server is starting, busy, or another request of the same file has yet to end.
const PASSING = new Set([0, 408, 409, 423, 429, 500, 502, 503, 504]);

// Resolves when all of it is on the server's disk. `told` hears of bytes and of a connection that is lost; throws Refused,
// SessionOver, or AbortError.
export async function send(item, clinic, { announced, signal, told }) {
  const { file, path } = item;
  let place = null;
  let offset = 0;
  let wait = FIRST_WAIT_MS;
  while (place === null || offset < file.size) {
    const before = offset;
    let answer;
    if (place === null) {
      const along = !announced && file.size > 0 && file.size <= CHUNK_BYTES;
      answer = await request('POST', `${clinicRoot(clinic)}/uploads`, {
        body: along ? file : null,
        headers: {
          'Upload-Length': file.size,
          'Upload-Metadata': `filename ${text64(path)},modified ${text64(String(Math.trunc(file.lastModified)))}`,
        },
        signal,
        told: sent => told(sent),
      });
    } else {
      answer = await request('PATCH', place, {
        body: file.slice(offset, offset + CHUNK_BYTES),
        headers: { 'Upload-Offset': offset },
        signal,
        told: sent => told(before + sent),
      });
    }
    if (answer.ok) {
      place ??= answer.header('Location');
      offset = Number(answer.header('Upload-Offset'));
      wait = FIRST_WAIT_MS;
      told(offset);
      continue;
    }
    told(before, answer.status === 0);
    // What it had forgotten, or got meanwhile, it says when it is announced anew.
    place = null;
    if (answer.status !== 404 && !PASSING.has(answer.status)) {
      throw new Refused(answer.status, answer.words());
    }
    await pause(wait, signal);
    wait = Math.min(2 * wait, MAX_WAIT_MS);
  }
}

async function request(method, path, { body, headers, signal, told }) {
  for (let again = false; ; again = true) {
    let bearer;
    try {
      bearer = await token();
    } catch (error) {
      if (error instanceof SessionOver) {
        throw error;
      }
      return { ok: false, status: 0 };
    }
    const answer = await exchange(method, path, { body, bearer, headers, signal, told });
    if (answer.status !== 401) {
      return answer;
    }
    if (again) {
      throw new SessionOver();
    }
    refused();
  }
}

// By XMLHttpRequest, which alone tells how much went out.
function exchange(method, path, { body, bearer, headers, signal, told }) {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const xhr = new XMLHttpRequest();
    const abort = () => xhr.abort();
    signal.addEventListener('abort', abort, { once: true });
    xhr.open(method, path);
    xhr.setRequestHeader('Authorization', `Bearer ${bearer}`);
    xhr.setRequestHeader('Tus-Resumable', '1.0.0');
    for (const [name, value] of Object.entries(headers)) {
      xhr.setRequestHeader(name, value);
    }
    if (body) {
      xhr.setRequestHeader('Content-Type', CONTENT);
      xhr.upload.addEventListener('progress', event => told(event.loaded));
    }
    xhr.addEventListener('loadend', () => {
      signal.removeEventListener('abort', abort);
      if (signal.aborted) {
        reject(signal.reason);
      }
      resolve({
        header: name => xhr.getResponseHeader(name),
        ok: xhr.status >= 200 && xhr.status < 300,
        status: xhr.status,
        words: () => words(xhr),
      });
    });
    xhr.send(body);
  });
}

function words(xhr) {
  try {
    return JSON.parse(xhr.responseText).error;
  } catch {
    return `${xhr.status}`;
  }
}

function pause(time_ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, time_ms);
    signal.addEventListener('abort', () => {
      clearTimeout(timer);
      reject(signal.reason);
    }, { once: true });
  });
}

function text64(text) {
  return btoa(String.fromCharCode(...new TextEncoder().encode(text)));
}
