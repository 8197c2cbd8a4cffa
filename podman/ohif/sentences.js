// Where a viewport would stay black, a sentence that says why: an extension of the viewer, in the viewer's own format.

const LOOK_EVERY_MS = 500;
// It covers what may be drawn, and lets the mouse through: the next image may be well.
const STYLE = {
  alignItems: 'center',
  background: 'black',
  color: 'white',
  display: 'flex',
  inset: '0',
  justifyContent: 'center',
  padding: '2rem',
  pointerEvents: 'none',
  position: 'absolute',
  textAlign: 'center',
  zIndex: '1',
};

const write = (pane, text) => {
  let said = pane.querySelector(':scope > [data-cy=sentence]');
  // Told at the second look: what is being loaded is gone by then.
  const isSettled = pane.dataset.why === text;
  pane.dataset.why = text;
  if (!text) {
    said?.remove();
    return;
  }
  if (!said) {
    if (!isSettled) {
      return;
    }
    said = Object.assign(document.createElement('p'), { role: 'status' });
    said.dataset.cy = 'sentence';
    Object.assign(said.style, STYLE);
    pane.append(said);
  }
  if (said.textContent !== text) {
    said.textContent = text;
  }
};

// Modality and description, as the list of series has them: "RTPLAN, ECG Resting".
const named = sets => {
  const names = sets.map(({ Modality, SeriesDescription }) => [Modality, SeriesDescription].filter(Boolean).join(' '));
  return [...new Set(names.filter(Boolean))].join(', ');
};

export default words => ({
  id: 'sentences',
  preRegistration({ servicesManager }) {
    const { cornerstone } = window;
    const { displaySetService, viewportGridService } = servicesManager.services;
    const { IMAGE_LOADED, IMAGE_LOAD_ERROR, IMAGE_LOAD_FAILED } = cornerstone.EVENTS;
    const failures = new Map();
    const onFailure = ({ detail: { error, imageId } }) => {
      const cause = error?.error ?? error;
      const status = cause?.status ?? cause?.request?.status ?? /status (\d{3})/.exec(cause?.message)?.[1];
      failures.set(imageId, words[status] ?? (status ? words.no_pixels : words.not_decoded));
    };
    cornerstone.eventTarget.addEventListener(IMAGE_LOAD_ERROR, onFailure);
    cornerstone.eventTarget.addEventListener(IMAGE_LOAD_FAILED, onFailure);
    cornerstone.eventTarget.addEventListener(IMAGE_LOADED, ({ detail }) => failures.delete(detail.image.imageId));

    const setsOf = ({ displaySetInstanceUIDs }) =>
      (displaySetInstanceUIDs ?? []).map(uid => displaySetService.getDisplaySetByUID(uid)).filter(Boolean);
    // What lies over images needs these; colours that are given by segments are left to load for ever.
    const isBlind = ({ isOverlayDisplaySet, referencedDisplaySetInstanceUID, unsupported }) =>
      unsupported || (isOverlayDisplaySet && !referencedDisplaySetInstanceUID);
    const isSegmented = ({ instance }) =>
      instance?.SegmentedRedPaletteColorLookupTableData && !instance.RedPaletteColorLookupTableData;
    const whyNothing = viewport => {
      const sets = setsOf(viewport);
      if (sets.some(set => !isBlind(set))) {
        const shown = cornerstone.getEnabledElementByViewportId(viewport.viewportOptions?.viewportId)?.viewport;
        return sets.some(isSegmented) ? words.not_decoded : failures.get(shown?.getCurrentImageId?.());
      }
      const all = displaySetService.getActiveDisplaySets();
      if (all.length && all.every(isBlind)) {
        return `${words.nothing} (${named(all)})`;
      }
      return sets.length ? `${words.not_shown} (${named(sets)})` : undefined;
    };
    // The grid is drawn at times that none of its events tells.
    setInterval(() => {
      const viewports = [...viewportGridService.getState().viewports.values()];
      document.querySelectorAll('[data-cy=viewport-pane]').forEach((pane, index) => {
        write(pane, (viewports[index] && whyNothing(viewports[index])) ?? '');
      });
    }, LOOK_EVERY_MS);
  },
});
