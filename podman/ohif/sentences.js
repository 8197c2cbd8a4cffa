// Where a viewport would stay black, a sentence that says why: an extension of the viewer, in the viewer's own format.

const LOOK_EVERY_MS = 500;
const STYLE = {
  background: 'rgb(0 0 0 / 80%)',
  color: 'white',
  height: 'fit-content',
  inset: '0',
  margin: 'auto',
  maxWidth: '36rem',
  padding: '1rem 2rem',
  pointerEvents: 'none',
  position: 'absolute',
  textAlign: 'center',
  zIndex: '1',
};

const write = (pane, text) => {
  let said = pane.querySelector(':scope > [data-cy=sentence]');
  if (!text) {
    said?.remove();
    return;
  }
  if (!said) {
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

// Zero for a distance between pixels stands for one that is not known (some CR): the camera would be at no distance.
const forgetZeroSpacing = ({ metaData }) => {
  const fix = (type, imageId) => {
    const image = type === 'imagePlaneModule' ? metaData.get('instance', imageId) : undefined;
    for (const keyword of ['PixelSpacing', 'ImagerPixelSpacing']) {
      if (image?.[keyword] && ![].concat(image[keyword]).every(distance => Number(distance) > 0)) {
        image[keyword] = undefined;
      }
    }
    // What follows of it, the viewer's own provider says, which is asked next.
    return undefined;
  };
  metaData.addProvider(fix, 100_000);
};

export const sentences = words => ({
  id: 'sentences',
  preRegistration({ servicesManager }) {
    const { cornerstone } = window;
    const { displaySetService, viewportGridService } = servicesManager.services;
    const failures = new Map();
    const { IMAGE_LOADED, IMAGE_LOAD_ERROR, IMAGE_LOAD_FAILED } = cornerstone.EVENTS;
    const onFailure = ({ detail: { error, imageId } }) => {
      const status = (error?.error ?? error)?.request?.status;
      failures.set(imageId, words[status] ?? (status ? words.no_pixels : words.not_decoded));
    };
    cornerstone.eventTarget.addEventListener(IMAGE_LOAD_ERROR, onFailure);
    cornerstone.eventTarget.addEventListener(IMAGE_LOAD_FAILED, onFailure);
    cornerstone.eventTarget.addEventListener(IMAGE_LOADED, ({ detail }) => failures.delete(detail.image.imageId));
    forgetZeroSpacing(cornerstone);

    const whyNothing = ({ displaySetInstanceUIDs = [], viewportOptions }) => {
      const sets = displaySetInstanceUIDs.map(uid => displaySetService.getDisplaySetByUID(uid)).filter(Boolean);
      if (sets.some(({ unsupported }) => !unsupported)) {
        const shown = cornerstone.getEnabledElementByViewportId(viewportOptions?.viewportId)?.viewport;
        return failures.get(shown?.getCurrentImageId?.());
      }
      if (sets.length) {
        return `${words.not_shown} (${named(sets)})`;
      }
      const all = displaySetService.getActiveDisplaySets();
      return all.length && all.every(({ unsupported }) => unsupported) ? `${words.nothing} (${named(all)})` : undefined;
    };
    // The grid is drawn at times that none of its events tells.
    setInterval(() => {
      const panes = document.querySelectorAll('[data-cy=viewport-pane]');
      const viewports = [...viewportGridService.getState().viewports.values()];
      panes.forEach((pane, index) => write(pane, viewports[index] && whyNothing(viewports[index])));
    }, LOOK_EVERY_MS);
  },
});
