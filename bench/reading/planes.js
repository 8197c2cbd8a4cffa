// Opens a study in three planes and leaves it again, so many times, by the page alone: nobody listens to the browser
// meanwhile, which would keep answers for whoever does.
window.benchPlanes = async (viewer, shelf, slices, openings, stillMs) => {
  const PLANES = 3;
  const found = (window.benchFound = { drawn: [], whole: [] });
  const until = async isSo => {
    while (!isSo()) {
      await new Promise(resolve => setTimeout(resolve, 200));
    }
  };
  const go = path => {
    window.benchBegin();
    history.pushState({}, '', path);
    window.dispatchEvent(new PopStateEvent('popstate'));
  };
  document.title = 'bench 0';
  const now = () => performance.timeOrigin + performance.now();
  for (let opening = 0; opening < openings; opening += 1) {
    go(viewer);
    const seen = window.benchSeen;
    await until(() => seen.drawn.filter(Boolean).length >= PLANES);
    // Whole is a volume when all frames have come and no plane has changed for a while.
    await until(() => {
      const ends = window.benchFrames('/dicom-web/', 1).map(([, , ended]) => ended);
      return ends.length === slices && now() - Math.max(seen.changed, ...ends) > stillMs;
    });
    found.drawn.push((Math.max(...seen.drawn.slice(0, PLANES)) - seen.asked) / 1e3);
    found.whole.push((seen.changed - seen.asked) / 1e3);
    go(shelf);
    await until(() => window.benchSeen.list);
    // Chromium tells a page's title without anybody listening to it.
    document.title = `bench ${opening + 1}`;
  }
};
