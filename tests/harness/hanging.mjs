// Hangs studies by the viewer's own code, taken out of its bundle: prints where each image would be shown.
// node hanging.mjs <app.bundle.js> <extension.js> <studies.json>
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import vm from 'node:vm';

const [bundle, extension, studies] = process.argv.slice(2);
// What starts the viewer, which is not to happen.
const ENTRY = /var __webpack_exports__ = __webpack_require__\(\d+\);/;

// As much of a browser as the bundle touches while it is read.
class Nothing {}
const element = { appendChild() {}, dispatchEvent() {}, setAttribute() {}, style: {} };
const none = { getItem: () => null, setItem() {} };
Object.assign(globalThis, {
  addEventListener() {},
  document: {
    addEventListener() {},
    body: element,
    cookie: '',
    createElement: () => element,
    createTextNode: () => element,
    documentElement: element,
    getElementsByTagName: () => [element],
    head: element,
    querySelector() {},
  },
  Element: Nothing,
  HTMLElement: Nothing,
  HTMLVideoElement: Nothing,
  localStorage: none,
  location: new URL('https://viewer.example/viewer'),
  matchMedia: () => ({ addListener() {}, matches: false }),
  requestAnimationFrame() {},
  self: globalThis,
  sessionStorage: none,
  window: globalThis,
});
Object.defineProperty(globalThis, 'navigator', { value: { language: 'en', platform: '', userAgent: '' } });

const source = readFileSync(bundle, 'utf8');
// The module that has the services, and the short names that it exports them by.
const begin = [...source.matchAll(/^(\d+)\(\w+, \w+, __webpack_require__\) \{$/gm)]
  .filter(({ index }) => index < source.indexOf('\nclass HangingProtocolService extends '))
  .at(-1);
const exported = name =>
  new RegExp(`(\\w+): \\(\\) => \\(/\\* reexport \\*/ ${name}\\)`).exec(source.slice(begin?.index))?.[1];
const NAMES = ['services_HangingProtocolService', 'ExtensionManager_ExtensionManager'];
if (!begin || !ENTRY.test(source) || !NAMES.every(exported)) {
  throw new Error('The bundle is not built as it was: look for HangingProtocolService in it.');
}
Object.assign(console, { log() {}, warn() {} });
vm.runInThisContext(source.replace(ENTRY, 'globalThis.viewerModule = __webpack_require__;'), { filename: bundle });
const core = globalThis.viewerModule(begin[1]);
const [HangingProtocolService, ExtensionManager] = NAMES.map(name => core[exported(name)]);

const commandsManager = { run() {}, runCommand() {} };
const services = { displaySetService: {}, measurementService: { EVENTS: {}, subscribe() {} }, toolbarService: {} };
const servicesManager = { services };
const create = ({ REGISTRATION }) => REGISTRATION.create({ commandsManager, configuration: {}, servicesManager });
const hanging = (services.hangingProtocolService = create(HangingProtocolService));
const appConfig = {};
const manager = new ExtensionManager({ appConfig, commandsManager, servicesManager });
const any = { seriesMatchingRules: [{ attribute: 'numImageFrames', constraint: { greaterThan: { value: 0 } } }] };
const viewports = [{ displaySets: [{ id: 'any' }], viewportOptions: { viewportId: 'default' } }];
const viewportStructure = { layoutType: 'grid', properties: { columns: 1, rows: 1 } };
// The viewer's own default is elsewhere: this stands for it.
const protocol = {
  displaySetSelectors: { any },
  id: 'default',
  protocolMatchingRules: [],
  stages: [{ name: 'default', viewports, viewportStructure }],
};
const own = {
  getHangingProtocolModule: () => [{ name: 'default', protocol }],
  id: 'own',
};
const added = (await import(pathToFileURL(extension))).default();
await manager.registerExtensions([own, added]);

// As getDisplaySetsFromSeries does it: these modalities are one image a display set, and others one a series.
function displaySets(instances) {
  const sets = new Map();
  instances.forEach(one => {
    const alone = ['CR', 'DX', 'MG'].includes(one.Modality) ? one.SOPInstanceUID : '';
    const key = one.SeriesInstanceUID + alone;
    sets.set(key, [...(sets.get(key) ?? []), one]);
  });
  return [...sets].map(([displaySetInstanceUID, images]) => ({
    displaySetInstanceUID,
    images,
    instances: images,
    isReconstructable: images.length > 1 ? 'ImagePositionPatient' in images[0] : images[0].NumberOfFrames > 1,
    Modality: images[0].Modality,
    numImageFrames: images.length,
    StudyInstanceUID: 'study',
  }));
}

function hang(instances) {
  const sets = displaySets(instances);
  const study = { StudyInstanceUID: 'study' };
  const ids = appConfig.modesConfiguration['@ohif/mode-longitudinal'].hangingProtocol.$set;
  hanging.reset();
  hanging.setActiveProtocolIds(ids);
  hanging.run({ activeStudy: study, displaySets: sets, studies: [study] }, ids, { stageIndex: 0 });
  const { protocol: taken, stage } = hanging.getActiveProtocol();
  const shown = [...hanging.viewportMatchDetails.values()].map(({ displaySetsInfo, viewportOptions }) => {
    const [uid] = displaySetsInfo.map(info => info.displaySetInstanceUID);
    const options = hanging.getComputedOptions(viewportOptions, [uid]);
    const images = sets.find(one => one.displaySetInstanceUID === uid)?.images ?? [];
    const image = images[options.initialImageOptions?.index ?? 0]?.SOPInstanceUID ?? '';
    return { image, orientation: options.orientation ?? '' };
  });
  const cells = (stage.viewportStructure.properties.layoutOptions ?? []).map(({ x, y }) => [x, y]);
  return { cells, protocol: taken.id, shown, stage: stage.name };
}

process.stdout.write(JSON.stringify(JSON.parse(readFileSync(studies, 'utf8')).map(hang)));
