// The viewer's settings: who logs people in, and the one archive that it reads, both at the address it was opened at.

// Segmentations are read by way of the library ndarray, which writes its classes as text and has them evaluated. The policy
// of this page forbids that, as it must. What the text says is known: this is what the viewer uses of a matrix, row by row.
const matrix = (data, shape) => ({
  data,
  get: (row, column) => data[row * shape[1] + column],
  set: (row, column, value) => {
    data[row * shape[1] + column] = value;
  },
  shape,
});
window.Function = new Proxy(Function, {
  construct: (original, texts, asked) =>
    /return function construct_View/.test(texts.at(-1)) ? () => matrix : Reflect.construct(original, texts, asked),
});

// A video element asks for its address itself, without the token: what the archive has is fetched with it and played
// from memory.
const address = Object.getOwnPropertyDescriptor(HTMLMediaElement.prototype, 'src');
Object.defineProperty(HTMLMediaElement.prototype, 'src', {
  ...address,
  set(url) {
    if (!String(url).startsWith(`${window.location.origin}/dicom-web/`)) {
      address.set.call(this, url);
      return;
    }
    const headers = window.services.userAuthenticationService.getAuthorizationHeader();
    fetch(url, { headers })
      .then(answer => (answer.ok ? answer.blob() : Promise.reject(answer.status)))
      .then(video => address.set.call(this, URL.createObjectURL(video)))
      .catch(error => console.error('The video cannot be fetched:', error));
  },
});

// A mode that is opened without a study would stay black: this page of the viewer's says so, and leads to the list.
const { pathname, search } = window.location;
const MODES = /^\/(basic|dynamic-volume|microscopy|segmentation|tmtv|usAnnotation|viewer)(\/|$)/;
if (MODES.test(pathname) && !/[?&]studyinstanceuids=[^&]/i.test(search)) {
  window.history.replaceState(null, '', '/notfoundstudy');
}

// nginx writes the site's language in. Chosen in the viewer, or seen before, another one stays; with English the browser's
// own counts, as the viewer has it.
const language = '<!--# echo var="language_tag" -->';
if (language !== 'en' && !localStorage.getItem('i18nextLng') && !/(^|; )i18next=/.test(document.cookie)) {
  localStorage.setItem('i18nextLng', language);
}

// What is told to people, in the site's language.
const words = {
  401: `<!--# echo var="words_viewer_401" -->`,
  403: `<!--# echo var="words_viewer_403" -->`,
  404: `<!--# echo var="words_404" -->`,
  429: `<!--# echo var="words_429" -->`,
  503: `<!--# echo var="words_viewer_503" -->`,
  close: `<!--# echo var="words_viewer_close" -->`,
  log_in: `<!--# echo var="words_viewer_log_in" -->`,
  log_out: `<!--# echo var="words_viewer_log_out" -->`,
  no_clinic: `<!--# echo var="words_viewer_no_clinic" -->`,
  no_pixels: `<!--# echo var="words_viewer_no_pixels" -->`,
  not_decoded: `<!--# echo var="words_viewer_not_decoded" -->`,
  not_shown: `<!--# echo var="words_viewer_not_shown" -->`,
  nothing: `<!--# echo var="words_viewer_nothing" -->`,
  study_list: `<!--# echo var="words_study_list" -->`,
  try_again: `<!--# echo var="words_viewer_try_again" -->`,
  unreachable: `<!--# echo var="words_viewer_unreachable" -->`,
};

// Of ours, each a file of its own. The viewer waits for its extensions and would not start if one could not be had.
const extension = name =>
  import(`/${name}.js`)
    .then(made => made.default(words))
    .catch(error => {
      console.error(`The viewer goes on without ${name}:`, error);
      return { id: name };
    });

const siteName = '<!--# echo var="site_name" -->';
document.title = siteName;

window.config = {
  // Where an error is explained by its stack, a physician is not helped and the console has it anyway.
  showErrorDetails: 'dev',
  customizationService: [
    // The first-use tour covers the image until it is clicked away.
    { 'ohif.tours': { $set: [] } },
  ],
  dataSources: [
    {
      configuration: {
        bulkDataURI: { enabled: true, relativeResolution: 'studies' },
        enableStudyLazyLoad: true,
        friendlyName: 'Archive',
        imageRendering: 'wadors',
        name: 'archive',
        qidoRoot: `${window.location.origin}/dicom-web`,
        qidoSupportsIncludeField: true,
        // Orthanc has none: it would refuse the search.
        supportsFuzzyMatching: false,
        // These are asked for as they are rendered: as bulk data the viewer wants media types that Orthanc has not, and
        // loses the address of a video.
        singlepart: 'pdf,video',
        supportsWildcard: true,
        thumbnailRendering: 'wadors',
        wadoRoot: `${window.location.origin}/dicom-web`,
        wadoUriRoot: `${window.location.origin}/wado`,
      },
      namespace: '@ohif/extension-default.dataSourcesModule.dicomweb',
      sourceName: 'archive',
    },
  ],
  defaultDataSourceName: 'archive',
  extensions: ['mends', 'notices', 'sentences', 'dental', 'memory'].map(extension),
  // Not for primary diagnosis: everyone is told so, and again after a month.
  investigationalUseDialog: { days: 30, option: 'configure' },
  maxNumRequests: { interaction: 100, prefetch: 25, thumbnail: 5 },
  // Browsers on Windows have trouble with more.
  maxNumberOfWebWorkers: 3,
  modes: [],
  oidc: [
    {
      authority: `${window.location.origin}/auth/realms/dicom`,
      automaticSilentRenew: true,
      client_id: 'ohif-viewer',
      // Not '/', the default: the study list would be taken for the end of a logout.
      post_logout_redirect_uri: '/signed-out',
      redirect_uri: '/callback',
      response_type: 'code',
      revokeAccessTokenOnSignout: true,
      scope: 'openid',
    },
  ],
  routerBasename: '/',
  showCPUFallbackMessage: true,
  showLoadingIndicator: true,
  showStudyList: true,
  strictZSpacingForVolumeViewport: true,
  whiteLabeling: {
    createLogoComponentFn: React => React.createElement('span', { className: 'text-foreground text-base' }, siteName),
  },
};
