// What real objects hold that the viewer does not expect, put right before it meets it: an extension in the viewer's own format.

// A study whose objects name no modality: the attribute comes without a value (PS3.18 F.2.5), over which the viewer
// loses the study, and with it the whole list.
const giveModalitiesAValue = () => {
  const response = Object.getOwnPropertyDescriptor(XMLHttpRequest.prototype, 'response');
  Object.defineProperty(XMLHttpRequest.prototype, 'response', {
    ...response,
    get() {
      const answer = response.get.call(this);
      if (Array.isArray(answer) && /\/dicom-web\/studies\?/.test(this.responseURL)) {
        answer.forEach(study => study['00080061'] && (study['00080061'].Value ??= []));
      }
      return answer;
    },
  });
};

// Waveforms are asked for as one part of bytes, which Orthanc has not: it has several, of which there is one.
const fetchWaveforms = () => {
  const original = window.fetch;
  window.fetch = async (url, options = {}) => {
    const headers = new Headers(options.headers);
    if (!/\/bulk\/54000100\//.test(url) || headers.get('Accept') !== 'application/octet-stream') {
      return original(url, options);
    }
    headers.set('Accept', 'multipart/related; type="application/octet-stream"');
    const answer = await original(url, { ...options, headers });
    const boundary = /boundary="?([^";]+)/.exec(answer.headers.get('Content-Type') ?? '')?.[1];
    if (!answer.ok || !boundary) {
      return answer;
    }
    const bytes = new Uint8Array(await answer.arrayBuffer());
    const text = new TextDecoder('latin1').decode(bytes);
    return new Response(bytes.slice(text.indexOf('\r\n\r\n') + 4, text.lastIndexOf(`\r\n--${boundary}`)));
  };
};

const isMissing = (value, isGood) => value !== undefined && value !== null && ![].concat(value).every(isGood);
const isPositive = number => Number(number) > 0;

// Zero stands for what is not known: as distance between pixels it would put the camera into the picture (some CR), as
// width of a window it would leave nothing to see.
const forgetZeros = ({ metaData }) => {
  const forget = (type, imageId) => {
    if (type !== 'imagePlaneModule' && type !== 'voiLutModule') {
      return undefined;
    }
    const image = metaData.get('instance', imageId);
    for (const keyword of ['PixelSpacing', 'ImagerPixelSpacing']) {
      if (isMissing(image?.[keyword], isPositive)) {
        image[keyword] = undefined;
      }
    }
    if (isMissing(image?.WindowWidth, isPositive)) {
      image.WindowCenter = image.WindowWidth = undefined;
    }
    // The viewer's own provider, which is asked next, answers.
    return undefined;
  };
  metaData.addProvider(forget, 100_000);
};

// An item of a report needs no name (PS3.3 C.17.3.2); the viewer ends over one that has none.
const nameItems = items => {
  for (const item of [].concat(items ?? [])) {
    item.ConceptNameCodeSequence ??= { CodeMeaning: '', CodeValue: '' };
    nameItems(item.ContentSequence);
  }
};

// A series over which the viewer's own reader ends would leave it waiting for ever: it counts as one that it cannot show.
const goOnWithout = (displaySetService, extensionManager) => {
  const original = displaySetService.makeDisplaySets;
  const { unsupportedSOPClassHandler } = displaySetService;
  displaySetService.makeDisplaySets = (instances, ...more) => {
    nameItems(instances.flatMap(({ ContentSequence }) => ContentSequence ?? []));
    try {
      return original.call(displaySetService, instances, ...more);
    } catch (error) {
      console.error('This series cannot be read:', error);
      const sets = extensionManager.getModuleEntry(unsupportedSOPClassHandler).getDisplaySetsFromSeries(instances);
      displaySetService.addDisplaySets(...sets);
      return sets;
    }
  };
};

export default () => ({
  id: 'mends',
  preRegistration({ extensionManager, servicesManager }) {
    giveModalitiesAValue();
    fetchWaveforms();
    forgetZeros(window.cornerstone);
    goOnWithout(servicesManager.services.displaySetService, extensionManager);
  },
});
