// Everything that the page says, in English; another language is another file of these.

const count = (number, one, many) => `${number.toLocaleString('en')} ${number === 1 ? one : many}`;
export const files = number => count(number, 'file', 'files');

export function size(bytes) {
  const units = ['B', 'kB', 'MB', 'GB'];
  let unit = 0;
  while (bytes >= 1000 && unit < units.length - 1) {
    bytes /= 1000;
    unit += 1;
  }
  return `${bytes.toFixed(unit > 1 && bytes < 100 ? 1 : 0)} ${units[unit]}`;
}

export const states = { all: 'All', moving: 'On its way', failed: 'Failed', filed: 'Filed' };
export const days = { 1: 'today', 7: '7 days', 30: '30 days', 400: 'all that is known' };

export const unnamed = { page: 'Uploaded files', 'stow-rs': 'Sent by a program', dicom: '', inbox: '' };
export const looseFiles = 'Single files';

// What a group is doing, from its state, its numbers and the seconds until it settles.
export function doing(group) {
  const waiting = files(group.files.waiting);
  if (group.state === 'settling') {
    return `${waiting} settling for another ${Math.ceil(group.due_s)} s`;
  }
  if (group.state === 'storing') {
    return group.cause ? `${waiting} waiting` : `${waiting} being stored`;
  }
  return group.state === 'failed' ? `${files(group.files.failed)} failed` : 'Filed';
}

// What became of the rest of it.
export function done({ filed, again, beside }) {
  const parts = [];
  if (filed) {
    parts.push(`${files(filed)} in the archive`);
  }
  if (again) {
    parts.push(`${files(again)} were there already`);
  }
  if (beside) {
    parts.push(`${files(beside)} kept beside the images`);
  }
  return parts.join(', ');
}

export const uploading = one =>
  `${files(one.files)} here${one.open ? `, ${one.open} on the way` : ''}; it is taken when all is here, or after a pause of ten minutes`;
export const arriving = 'Arriving';
export const lastTry = 'Why it waits:';
export const doThis = 'What to do:';
export const alike = number => `${files(number)}: `;
export const andMore = number => `and ${number.toLocaleString('en')} more`;
export const retry = 'Try again';
export const retryName = name => `Try again what failed of ${name}`;
export const lasting = 'Trying again does not change this.';
export const openStudy = number => (number === 1 ? 'Open the study' : 'Open the study: ');
export const nothing = 'Nothing arrived in this time.';
export const nothingFits = 'Nothing fits this search.';
export const shown = number => `${count(number, 'submission', 'submissions')} shown`;

export const archiveAway = 'The archive does not answer. What arrived waits and is stored once it does.';
export const unfinished = number =>
  `${files(number)} with the name of a copy in progress (.part, .tmp …) wait for their final name.`;

export const retried = ({ retried: number, left }) =>
  `${files(number)} will be tried again${left ? `, ${left} could not be moved` : ''}.`;

export const sendingTo = (number, clinic) => `Sending ${files(number)} to ${clinic}`;
export const sent = (done, all, bytes, allBytes) =>
  `${done.toLocaleString('en')} of ${files(all)}, ${size(bytes)} of ${size(allBytes)}`;
export const reconnecting = 'The connection is lost; it goes on by itself once it is back.';
export const allSent = number => `${files(number)} sent. They are being stored now.`;
export const someSent = (number, bad) => `${files(number)} sent, ${bad} not: see below.`;
export const stopped = 'Stopped. Choose the same files again to go on where it was.';
export const noFiles = 'There was no file in it.';
export const problem = (path, why) => `${path}: ${why}`;
export const moreProblems = number => `… and ${number.toLocaleString('en')} more.`;

export const noClinic = 'Your account belongs to no clinic. Please ask your administrator.';
export const sessionOver =
  'Your session has ended. Log in again; what was being sent goes on where it was when you choose the same files again.';
export const loginFailed = 'Logging in did not work. Please try again.';
export const notAllowed = 'Your account neither brings nor reads studies.';
export const unreachable = 'The server cannot be reached; this page tries again by itself.';
