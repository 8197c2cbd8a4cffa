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

// nginx writes the site's language in. Chosen in the viewer, or seen before, another one stays; with English the browser's
// own counts, as the viewer has it.
const language = '<!--# echo var="language_tag" -->';
if (language !== 'en' && !localStorage.getItem('i18nextLng') && !/(^|; )i18next=/.test(document.cookie)) {
  localStorage.setItem('i18nextLng', language);
}

// What the viewer would leave unsaid, or say to its administrator: one sentence over the page, and what a person can do.
// Each answer of the archive or state of an account has its sentence and its buttons; the first of them is the way on.
const login = { href: '', label: `<!--# echo var="words_viewer_log_in" -->` };
const again = { href: '', label: `<!--# echo var="words_viewer_try_again" -->` };
const logout = { href: `/logout?redirect_uri=${window.location.origin}/`, label: `<!--# echo var="words_viewer_log_out" -->` };
const list = { href: '/', label: `<!--# echo var="words_study_list" -->` };
const close = { label: `<!--# echo var="words_viewer_close" -->` };
const notices = {
  0: [`<!--# echo var="words_viewer_unreachable" -->`, again, close],
  401: [`<!--# echo var="words_viewer_401" -->`, login],
  403: [`<!--# echo var="words_viewer_403" -->`, logout],
  404: [`<!--# echo var="words_404" -->`, list],
  429: [`<!--# echo var="words_429" -->`, again, close],
  503: [`<!--# echo var="words_viewer_503" -->`, again, close],
  504: [`<!--# echo var="words_viewer_503" -->`, again, close],
  noClinic: [`<!--# echo var="words_viewer_no_clinic" -->`, logout],
};
const noticeStyle = new CSSStyleSheet();
noticeStyle.replaceSync(`
  #notice { margin: auto; max-width: 32rem; padding: 2rem; border: 1px solid #5acce6; border-radius: .5rem;
    background: #090c29; color: #fff; font: 1.1rem sans-serif; text-align: center; pointer-events: auto; }
  #notice::backdrop { background: #000c; }
  #notice button { margin: 1.5rem .5rem 0; padding: .5rem 1rem; border: 1px solid #5acce6; border-radius: .25rem; }
`);

// The viewer leaves a study that it cannot load: the way back is where it failed first.
function tell(reason, here = window.location.href) {
  if (document.getElementById('notice')) {
    return;
  }
  const [sentence, ...ways] = notices[reason];
  const notice = document.createElement('dialog');
  notice.id = 'notice';
  const text = document.createElement('p');
  text.textContent = sentence;
  notice.append(text);
  for (const { href, label } of ways) {
    const button = document.createElement('button');
    button.textContent = label;
    button.onclick = () => (href === undefined ? notice.remove() : window.location.assign(href || here));
    notice.append(button);
  }
  // Without another way on it is not closed by the keyboard either.
  notice.oncancel = event => ways.includes(close) || event.preventDefault();
  document.adoptedStyleSheets = [noticeStyle];
  document.body.append(notice);
  notice.showModal();
}

// Anybody may log in; the clinics of whom belong to are in the token.
function mayRead({ access_token }) {
  const [, claims] = access_token.split('.');
  const { clinic_ids = [], roles = [] } = JSON.parse(atob(claims.replaceAll('-', '+').replaceAll('_', '/')));
  return clinic_ids.length > 0 || roles.includes('admin');
}

const siteName = '<!--# echo var="site_name" -->';
document.title = siteName;

window.config = {
  // Where an error is explained by its stack, a physician is not helped and the console has it anyway.
  showErrorDetails: 'dev',
  customizationService: [
    // The first-use tour covers the image until it is clicked away.
    { 'ohif.tours': { $set: [] } },
    {
      'routes.customRoutes': {
        notFoundRoute: {
          $set: {
            // Of the ways to and from the login it thinks so too, for a moment.
            children: () => {
              if (!['/callback', '/logout', '/signed-out'].includes(window.location.pathname)) {
                tell(404);
              }
              return null;
            },
            path: '*',
          },
        },
      },
    },
  ],
  dataSources: [
    {
      configuration: {
        bulkDataURI: { enabled: true, relativeResolution: 'studies' },
        enableStudyLazyLoad: true,
        friendlyName: 'Archive',
        imageRendering: 'wadors',
        name: 'archive',
        onConfiguration: configuration => {
          if (!mayRead(window.services.userAuthenticationService.getUser())) {
            tell('noClinic');
          }
          return configuration;
        },
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
  extensions: [],
  // An image that fails to load is reported in an object of the loader's.
  httpErrorHandler: error => {
    const { status } = error.error ?? error;
    // What is on its way when a page is left fails as if the server were away.
    const delay_ms = status === 0 ? 1000 : 0;
    if (status in notices) {
      setTimeout(tell, delay_ms, status, window.location.href);
    }
  },
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
