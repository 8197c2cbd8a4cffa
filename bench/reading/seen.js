// What a person sees of the viewer, and since when, in milliseconds since 1970: noted before each picture that the browser
// paints, whatever the program beneath does; and which frames came. It is given to the page before its own scripts.
(() => {
  const SIDE = 24; // A viewport is looked at as small as this.
  const SPREAD = 12; // Of 255: what differs by less is a blank one.
  const SAMPLE_MS = 50;
  const now = () => performance.timeOrigin + performance.now();
  const small = document.createElement('canvas');
  small.width = small.height = SIDE;
  const pen = small.getContext('2d', { willReadFrequently: true });
  let pictures = [];
  let sampled = 0;
  let frames = {};

  // From here on it is another study that is waited for.
  window.benchBegin = () => {
    pictures = [];
    frames = {};
    window.benchSeen = { asked: now(), changed: 0, drawn: [], list: 0 };
  };
  window.benchBegin();
  document.addEventListener('dblclick', window.benchBegin, true);

  // The viewer reads a frame until it has as many bytes as were promised, and no further: the network takes that for
  // broken off, and only the page's own timing says that all of it came.
  window.benchFrames = (above, size) =>
    Object.entries(frames)
      .filter(([path, [, , bytes]]) => path.startsWith(above) && bytes >= size)
      .map(([path, [began, ended]]) => [path, began, ended]);
  new PerformanceObserver(list => {
    for (const entry of list.getEntries()) {
      const path = new URL(entry.name).pathname;
      if (path.includes('/frames/') && entry.responseStatus === 200) {
        const [began, ended] = [entry.startTime, entry.responseEnd].map(moment => performance.timeOrigin + moment);
        if (began >= window.benchSeen.asked) {
          frames[path] = [began, ended, entry.decodedBodySize];
        }
      }
    }
  }).observe({ type: 'resource' });

  const lookAt = (canvas, pane) => {
    pen.clearRect(0, 0, SIDE, SIDE);
    pen.drawImage(canvas, 0, 0, SIDE, SIDE);
    const greys = pen.getImageData(0, 0, SIDE, SIDE).data.filter((_, at) => at % 4 === 0);
    if (Math.max(...greys) - Math.min(...greys) < SPREAD) {
      return;
    }
    const picture = greys.join();
    const seen = window.benchSeen;
    seen.drawn[pane] ??= now();
    if (picture !== pictures[pane]) {
      pictures[pane] = picture;
      seen.changed = now();
    }
  };
  const look = () => {
    requestAnimationFrame(look);
    const seen = window.benchSeen;
    // A row that names the bench's patient: while the list is fetched, and where it is empty, none does.
    if (!seen.list && [...document.querySelectorAll('tbody tr')].some(row => row.textContent.includes('Bench'))) {
      seen.list = now();
    }
    if (now() - sampled >= SAMPLE_MS) {
      sampled = now();
      document
        .querySelectorAll('[data-cy="viewport-pane"] canvas.cornerstone-canvas')
        .forEach((canvas, pane) => canvas.width && canvas.height && lookAt(canvas, pane));
    }
  };
  requestAnimationFrame(look);
})();
