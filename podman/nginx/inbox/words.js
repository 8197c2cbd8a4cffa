// Everything that the page says: the texts of the site's language, one file of them for each
// (importer/src/dicom_importer/languages/), by name, with numbers and plurals as that language has them.

const answer = await fetch('/inbox/words.json');
export const { language, page: texts } = await answer.json();

const numbers = new Intl.NumberFormat(language);
const plurals = new Intl.PluralRules(language);
const shown = value => (typeof value === 'number' ? numbers.format(value) : value);

// A text by its name; {names} in it are filled, and what has forms takes that of the number n.
export function say(name, values = {}) {
  const text = texts[name];
  const form = typeof text === 'string' ? text : (text[plurals.select(values.n)] ?? text.other);
  return form.replace(/\{(\w+)\}/g, (_, key) => shown(values[key]));
}

// Says what the page itself holds.
export function fill() {
  document.documentElement.lang = language;
  for (const element of document.querySelectorAll('[data-words]')) {
    element.textContent = say(element.dataset.words);
  }
}

export function size(bytes) {
  const units = ['B', 'kB', 'MB', 'GB'];
  let unit = 0;
  while (bytes >= 1000 && unit < units.length - 1) {
    bytes /= 1000;
    unit += 1;
  }
  const digits = unit > 1 && bytes < 100 ? 1 : 0;
  const form = { maximumFractionDigits: digits, minimumFractionDigits: digits };
  return `${bytes.toLocaleString(language, form)} ${units[unit]}`;
}

// A time (ISO 8601) in the site's zone, or a day alone.
export function when(time, day, timeZone) {
  return time
    ? new Date(time).toLocaleString(language, { dateStyle: 'medium', hourCycle: 'h23', timeStyle: 'short', timeZone })
    : new Date(day).toLocaleDateString(language, { dateStyle: 'medium', timeZone: 'UTC' });
}

const choice = (kind, keys) => Object.fromEntries(keys.map(key => [key, say(`${kind}_${key}`)]));
export const states = choice('state', ['all', 'moving', 'failed', 'filed']);
export const days = choice('days', ['1', '7', '30', '400']);

// The name of a group that its clinic gave none.
export const unnamed = by => (texts[`unnamed_${by}`] ? say(`unnamed_${by}`) : '');

// What a group is doing, from its state, its numbers and the seconds until it settles.
export function doing(group) {
  const n = group.files.waiting;
  if (group.state === 'settling') {
    return say('settling', { n, s: Math.ceil(group.due_s) });
  }
  if (group.state === 'storing') {
    return say(group.cause ? 'waiting' : 'storing', { n });
  }
  return group.state === 'failed' ? say('failed', { n: group.files.failed }) : say('state_filed');
}

// What became of the rest of it.
export const done = ({ filed, again, beside }) =>
  [
    ['in_archive', filed],
    ['there_already', again],
    ['kept_beside', beside],
  ]
    .filter(([, n]) => n)
    .map(([name, n]) => say(name, { n }))
    .join(', ');
