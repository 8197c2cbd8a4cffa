// Sends what was chosen, some files at a time, and tells how far it is.

import { Refused, ask, clinicRoot } from './api.js';
import { SessionOver } from './login.js';
import { send } from './tus.js';
import { say } from './words.js';

const AT_ONCE = 3;
// The whole sending ends with these: no file would fare better.
const FOR_ALL = new Set([403, 507]);

const top = path => (path.includes('/') ? path.slice(0, path.indexOf('/')) : '');

// Resolves to what became of it: {sent, problems: [{path, why}]}; throws SessionOver and AbortError. `told` gets
// {done, files, bytes, size, lost}.
export async function sendAll(items, clinic, { known, signal, told }) {
  const state = { bytes: 0, done: 0, files: items.length, lost: false, size: 0 };
  const problems = [];
  const waiting = [...items].reverse();
  const folders = new Set();
  const stop = new AbortController();
  const both = AbortSignal.any([signal, stop.signal]);
  for (const { file } of items) {
    state.size += file.size;
  }
  const one = async item => {
    let counted = 0;
    const counts = bytes => {
      // What is sent of a request has its own frame; never more than the file.
      const now = Math.min(bytes, item.file.size);
      state.bytes += now - counted;
      counted = now;
    };
    try {
      await send(item, clinic, {
        announced: known.has(top(item.path)),
        signal: both,
        told: (bytes, lost = false) => {
          counts(bytes);
          state.lost = lost;
          told(state);
        },
      });
      counts(item.file.size);
      folders.add(top(item.path));
      state.done += 1;
    } catch (error) {
      if (error instanceof Refused) {
        counts(item.file.size);
        problems.push({ path: item.path, why: error.message });
        if (FOR_ALL.has(error.status)) {
          waiting.length = 0;
        }
      } else if (error instanceof SessionOver || error.name === 'AbortError') {
        waiting.length = 0;
        stop.abort(error);
        throw error;
      } else {
        // A file that went, or may not be read.
        counts(item.file.size);
        problems.push({ path: item.path, why: say('unreadable') });
      }
    }
    told(state);
  };
  const lane = async () => {
    while (waiting.length) {
      await one(waiting.pop());
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
  for (const folder of folders) {
    await deliver(clinic, folder, both);
  }
  return { problems, sent: state.done };
}

// Says that all of a folder is here, until it is heard.
async function deliver(clinic, folder, signal) {
  for (;;) {
    try {
      await ask(`${clinicRoot(clinic)}/drops`, { folder });
      return;
    } catch (error) {
      const passes = !(error instanceof SessionOver) && (!(error instanceof Refused) || error.status >= 500);
      if (!passes) {
        throw error;
      }
      await new Promise((resolve, reject) => {
        setTimeout(resolve, 1000);
        signal.addEventListener('abort', () => reject(signal.reason), { once: true });
      });
    }
  }
}
