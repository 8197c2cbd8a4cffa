// Where there is nothing to see, one sentence over the page and what a person can do: an extension of OHIF 3.13, in its format.

const STYLE = `
  #notice { margin: auto; max-width: 32rem; padding: 2rem; border: 1px solid #5acce6; border-radius: .5rem;
    background: #090c29; color: #fff; font: 1.1rem sans-serif; text-align: center; }
  #notice::backdrop { background: #000c; }
  #notice button { margin: 1.5rem .5rem 0; padding: .5rem 1rem; border: 1px solid #5acce6; border-radius: .25rem; }
`;
// What is on its way when a page is left fails as if the server were away.
const UNREACHABLE_DELAY_MS = 1000;

// For each status of an answer (0: there was none) and state of an account its sentence and the ways on.
const waysOn = words => {
  const again = { href: '', label: words.try_again };
  const close = { label: words.close };
  const logOut = { href: `/logout?redirect_uri=${window.location.origin}/`, label: words.log_out };
  return {
    0: [words.unreachable, again, close],
    401: [words[401], { href: '', label: words.log_in }],
    403: [words[403], logOut],
    404: [words[404], { href: '/', label: words.study_list }],
    429: [words[429], again, close],
    503: [words[503], again, close],
    504: [words[503], again, close],
    noClinic: [words.no_clinic, logOut],
  };
};

function show([sentence, ...ways], here) {
  if (document.getElementById('notice')) {
    return;
  }
  const text = document.createElement('p');
  text.textContent = sentence;
  const notice = document.createElement('dialog');
  notice.id = 'notice';
  notice.append(text);
  for (const { href, label } of ways) {
    const button = document.createElement('button');
    button.textContent = label;
    button.onclick = () => (href === undefined ? notice.remove() : window.location.assign(href || here));
    notice.append(button);
  }
  // What nobody may go on behind is not closed by the keyboard either.
  notice.oncancel = event => ways.some(({ href }) => href === undefined) || event.preventDefault();
  // Not in the body: a dialog of the viewer's hides whatever else is there from screen readers and from the mouse.
  document.documentElement.append(notice);
  notice.showModal();
}

// Anybody may log in; the clinics that a person belongs to are in the token.
function mayRead({ access_token }) {
  const [, claims] = access_token.split('.');
  const { clinic_ids = [], roles = [] } = JSON.parse(atob(claims.replaceAll('-', '+').replaceAll('_', '/')));
  return clinic_ids.length > 0 || roles.includes('admin');
}

export default words => {
  const notices = waysOn(words);
  // The viewer leaves a study that it cannot load: the way back is where it failed first.
  const tell = (reason, here = window.location.href) => show(notices[reason], here);
  // Of the ways to and from the login the viewer thinks for a moment too that they are none of its pages.
  const tellUnlessLoggingIn = () => {
    if (!['/callback', '/logout', '/signed-out'].includes(window.location.pathname)) {
      tell(404);
    }
    return null;
  };
  return {
    getCustomizationModule: () => [
      {
        name: 'global',
        value: {
          'routes.customRoutes': { notFoundRoute: { $set: { children: tellUnlessLoggingIn, path: '*' } } },
        },
      },
    ],
    id: 'notices',
    preRegistration({ appConfig, servicesManager }) {
      const style = new CSSStyleSheet();
      style.replaceSync(STYLE);
      document.adoptedStyleSheets.push(style);
      // An image that fails to load is reported in an object of the loader's.
      appConfig.httpErrorHandler = error => {
        const { status } = error.error ?? error;
        if (status in notices) {
          setTimeout(tell, status ? 0 : UNREACHABLE_DELAY_MS, status, window.location.href);
        }
      };
      appConfig.dataSources[0].configuration.onConfiguration = configuration => {
        if (!mayRead(servicesManager.services.userAuthenticationService.getUser())) {
          tell('noClinic');
        }
        return configuration;
      };
    },
  };
};
