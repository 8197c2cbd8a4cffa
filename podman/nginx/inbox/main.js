// The page: who is there, what arrived, and what is being sent.

import { Refused, ROOT, ask, clinicRoot } from './api.js';
import { chosen, dropped } from './choose.js';
import { draw, fits, make, upload } from './list.js';
import { SessionOver, arrive, leave, logOut } from './login.js';
import { sendAll } from './sending.js';
import { days, fill, say, size, states } from './words.js';

const CALM_MS = 5000;
const BUSY_MS = 1500;
const SAY_MS = 5000;
const MAX_PROBLEMS = 20;

const $ = id => document.getElementById(id);
const page = { asked: 0, clinic: '', listing: null, me: null, said: 0, sending: null, timer: 0 };

function speak(text) {
  $('said').textContent = text;
}

// Why something did not work: in the server's words, or that it did not answer.
const why = error => (error instanceof Refused ? error.message : say('unreachable'));

function tell(text, { login = false } = {}) {
  $('message').textContent = text;
  $('message').hidden = !text;
  $('log-in').hidden = !login;
}

function options(select, texts, value) {
  select.replaceChildren(
    ...Object.entries(texts).map(([key, text]) => Object.assign(make('option', { text }), { value: key })),
  );
  select.value = value;
}

// Asks what arrived, draws it, and does so again: sooner while something moves.
async function refresh() {
  clearTimeout(page.timer);
  page.asked += 1;
  const { asked } = page;
  let wait = CALM_MS;
  try {
    const listing = await ask(`${clinicRoot(page.clinic)}/submissions?days=${$('days').value}`);
    if (asked !== page.asked) {
      return;
    }
    page.listing = listing;
    tell('');
    show();
    wait = listing.uploads.length || listing.groups.some(group => group.files.waiting) ? BUSY_MS : CALM_MS;
  } catch (error) {
    if (asked !== page.asked) {
      return;
    }
    if (error instanceof SessionOver) {
      over();
      return;
    }
    tell(why(error));
  }
  if (!document.hidden) {
    page.timer = setTimeout(refresh, wait);
  }
}

function show() {
  const { groups, uploads } = page.listing;
  const [text, state] = [$('search').value.trim(), $('state').value];
  const fitting = groups.filter(group => fits(group, text, state));
  const notices = [
    ...(page.listing.archive_up ? [] : [say('archive_away')]),
    ...page.listing.warnings,
    ...(page.listing.unfinished ? [say('unfinished', { n: page.listing.unfinished })] : []),
  ];
  if (JSON.stringify(notices) !== $('notices').dataset.mark) {
    $('notices').replaceChildren(...notices.map(notice => make('li', { text: notice })));
    $('notices').dataset.mark = JSON.stringify(notices);
  }
  const isAll = !text && (state === 'all' || state === 'moving');
  $('uploads').replaceChildren(...(isAll ? uploads : []).map(upload));
  $('none').textContent = say(groups.length ? 'nothing_fits' : 'nothing');
  $('none').hidden = fitting.length > 0 || (isAll && uploads.length > 0);
  draw($('groups'), fitting, page.me.time_zone, page.me.brings ? retry : null);
}

async function retry(group, failure, button) {
  button.disabled = true;
  try {
    const { day, submission } = group;
    const asked = { day, reason: failure.reason, submission };
    const { left, retried: n } = await ask(`${clinicRoot(page.clinic)}/retry`, asked);
    speak(say(left ? 'retried_some' : 'retried', { left, n }));
    $('arrived').focus();
  } catch (error) {
    if (error instanceof SessionOver) {
      over();
      return;
    }
    button.disabled = false;
    tell(why(error));
  }
  await refresh();
}

async function start(finding) {
  let items;
  try {
    items = await finding;
  } catch {
    tell(say('unreadable'));
    return;
  }
  if (!items.length) {
    tell(say('no_files'));
    return;
  }
  if (page.sending) {
    page.sending.next.push(...items);
    return;
  }
  const control = new AbortController();
  page.sending = { control, next: [] };
  $('problems').replaceChildren();
  $('sending').hidden = false;
  await refresh();
  let round = items;
  while (round.length) {
    const next = round;
    round = [];
    $('sending-label').textContent = say('sending', { clinic: page.clinic, n: next.length });
    speak($('sending-label').textContent);
    const isGoing = await sendRound(next, control.signal);
    round = isGoing ? page.sending.next.splice(0) : [];
  }
  page.sending = null;
  $('sending').hidden = true;
  await refresh();
}

// Sends what was chosen at once; whether there may be more.
async function sendRound(items, signal) {
  const known = new Set(page.listing?.uploads.map(one => one.folder));
  try {
    const { problems, sent } = await sendAll(items, page.clinic, { known, signal, told: progress });
    for (const problem of problems.slice(0, MAX_PROBLEMS)) {
      $('problems').append(make('li', { text: say('problem', problem) }));
    }
    if (problems.length > MAX_PROBLEMS) {
      $('problems').append(make('li', { text: say('more_problems', { n: problems.length - MAX_PROBLEMS }) }));
    }
    const end = problems.length ? say('some_sent', { bad: problems.length, n: sent }) : say('all_sent', { n: sent });
    $('outcome').textContent = end;
    speak(end);
    return true;
  } catch (error) {
    if (error instanceof SessionOver) {
      over();
    } else {
      const text = error.name === 'AbortError' ? say('stopped') : why(error);
      $('outcome').textContent = text;
      speak(text);
    }
    return false;
  }
}

function progress({ bytes, done, files, lost, size: all }) {
  const told = { all: size(all), done, n: files, size: size(bytes) };
  const text = lost ? say('reconnecting') : say('sent', told);
  $('progress').value = all ? bytes / all : done / files;
  $('sending-state').textContent = text;
  // Aloud now and then only.
  if (Date.now() - page.said > SAY_MS) {
    page.said = Date.now();
    speak(text);
  }
}

function over() {
  clearTimeout(page.timer);
  tell(say('session_over'), { login: true });
  $('log-in').focus();
}

function listen() {
  $('log-in').addEventListener('click', leave);
  $('log-out').addEventListener('click', logOut);
  $('clinic').addEventListener('change', () => {
    page.clinic = $('clinic').value;
    refresh();
  });
  $('days').addEventListener('change', refresh);
  $('filter').addEventListener('submit', event => event.preventDefault());
  for (const id of ['search', 'state']) {
    $(id).addEventListener('input', () => {
      if (page.listing) {
        show();
        speak(say('shown', { n: $('groups').children.length }));
      }
    });
  }
  document.addEventListener('visibilitychange', () => document.hidden || !page.clinic || refresh());
  addEventListener('beforeunload', event => page.sending && event.preventDefault());
  for (const kind of ['folder', 'files']) {
    $(`choose-${kind}`).addEventListener('click', () => $(kind).click());
    $(kind).addEventListener('change', event => {
      const items = chosen(event.target.files);
      // So that the same may be chosen again.
      event.target.value = '';
      start(items);
    });
  }
  $('stop').addEventListener('click', () => page.sending?.control.abort());
  const zone = $('drop');
  for (const name of ['dragenter', 'dragover']) {
    zone.addEventListener(name, event => {
      event.preventDefault();
      zone.classList.add('over');
    });
  }
  zone.addEventListener('dragleave', () => zone.classList.remove('over'));
  zone.addEventListener('drop', event => {
    event.preventDefault();
    zone.classList.remove('over');
    start(dropped(event.dataTransfer));
  });
}

function enter(me) {
  page.me = me;
  page.clinic = me.clinics[0] ?? '';
  $('name').textContent = me.name;
  $('who').hidden = false;
  const isMany = me.clinics.length > 1;
  $('clinic-choice').hidden = !isMany;
  $('clinic-name').hidden = isMany;
  $('clinic-name').textContent = page.clinic;
  options($('clinic'), Object.fromEntries(me.clinics.map(clinic => [clinic, clinic])), page.clinic);
  options($('state'), states, 'all');
  options($('days'), days, '7');
  $('viewer').hidden = !me.reads;
  if (!page.clinic) {
    tell(say('no_clinic'));
    return;
  }
  $('send').hidden = !me.brings;
  $('arrived').hidden = false;
  refresh();
}

async function begin() {
  fill();
  listen();
  try {
    if (!(await arrive())) {
      await leave();
      return;
    }
    enter(await ask(`${ROOT}/me`));
  } catch (error) {
    const name = error.status === 403 ? 'not_allowed' : 'login_failed';
    const text = error instanceof Refused && error.status !== 403 ? error.message : say(name);
    tell(text, { login: true });
  }
}

begin();
