// Draws what arrived. Texts are set as text: names are the clinics' own, and may be anything.

import { doing, done, say, unnamed, when } from './words.js';

const drawn = new Map();

export function make(name, { className = '', text = '' } = {}, ...children) {
  const element = document.createElement(name);
  element.className = className;
  element.append(...(text ? [text] : []), ...children);
  return element;
}

export const stateOf = group => (group.state === 'filed' || group.state === 'failed' ? group.state : 'moving');

// Does a group fit what is searched for, and the state that is chosen?
export function fits(group, text, state) {
  const names = [group.name, ...group.failures.flatMap(failure => [...failure.examples, failure.found])];
  return (
    (state === 'all' || stateOf(group) === state || (state === 'failed' && group.files.failed > 0)) &&
    names.join('\n').toLowerCase().includes(text.toLowerCase())
  );
}

// Draws the groups into a list, and of those that changed only; whoever is at a button stays there.
export function draw(list, groups, zone, retry) {
  const keys = new Set();
  const focused = document.activeElement?.dataset?.key;
  const elements = groups.map(group => {
    const key = `${group.submission}\n${group.day}`;
    const mark = JSON.stringify(group);
    keys.add(key);
    const known = drawn.get(key);
    if (known?.mark === mark) {
      return known.element;
    }
    const element = item(group, key, zone, retry);
    drawn.set(key, { element, mark });
    return element;
  });
  for (const key of drawn.keys()) {
    if (!keys.has(key)) {
      drawn.delete(key);
    }
  }
  if (elements.length !== list.children.length || elements.some((one, at) => one !== list.children[at])) {
    list.replaceChildren(...elements);
  }
  if (focused && document.activeElement?.dataset?.key !== focused) {
    [...list.querySelectorAll('[data-key]')].find(one => one.dataset.key === focused)?.focus();
  }
}

// What is being uploaded, by whomever of the clinic.
export function upload(one) {
  const name = one.folder || say('loose_files');
  const state = make('span', { className: 'state', text: say('arriving') });
  return make(
    'li',
    { className: 'moving' },
    make('div', { className: 'line' }, make('h3', { text: name }), state),
    make('p', { className: 'quiet', text: say(one.open ? 'here_and_open' : 'here', { n: one.files, open: one.open }) }),
  );
}

function item(group, key, zone, retry) {
  const name = group.name || unnamed(group.by);
  const time = make('time', { text: when(group.last || group.first, group.day, zone) });
  const state = make('span', { className: 'state', text: doing(group) });
  const element = make('li', { className: stateOf(group) });
  element.append(make('div', { className: 'line' }, make('h3', { text: name }), state));
  element.append(make('div', { className: 'line' }, make('span', { className: 'quiet', text: done(group.files) }), time));
  if (group.cause) {
    element.append(make('p', { text: say('why_it_waits', { cause: group.cause }) }));
  }
  if (group.studies.length) {
    element.append(make('p', {}, ...links(group.studies)));
  }
  for (const failure of group.failures) {
    element.append(told(group, name, failure, `${key}\n${failure.reason}`, retry));
  }
  return element;
}

function links(studies) {
  const anchors = studies.map((study, at) => {
    const link = make('a', { text: studies.length === 1 ? say('open_study') : `${at + 1}` });
    link.href = `/viewer?StudyInstanceUIDs=${encodeURIComponent(study)}`;
    return link;
  });
  return studies.length === 1 ? anchors : [say('open_studies'), ...anchors.flatMap(link => [link, ' '])];
}

function told(group, name, failure, key, retry) {
  const box = make('div', { className: 'failure' });
  const { detail, files: n, found } = failure;
  const parts = [say('alike', { found, n }), ...(detail ? [say('detail', { detail })] : [])];
  box.append(make('p', { text: parts.join(' ') }));
  box.append(make('p', {}, make('strong', { text: say('what_to_do') }), ` ${failure.advice}`));
  const examples = failure.examples.map(path => make('li', { text: path }));
  if (failure.files > failure.examples.length) {
    examples.push(make('li', { text: say('and_more', { n: failure.files - failure.examples.length }) }));
  }
  box.append(make('ul', {}, ...examples));
  if (!failure.can_retry) {
    box.append(make('p', { className: 'quiet', text: say('lasting') }));
  } else if (retry) {
    const button = make('button', { text: say('retry') });
    button.type = 'button';
    button.dataset.key = key;
    button.setAttribute('aria-label', say('retry_of', { name }));
    button.addEventListener('click', () => retry(group, failure, button));
    box.append(button);
  }
  return box;
}
