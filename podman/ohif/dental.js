// How dental studies hang in the viewer: an extension of OHIF 3.13, in one file since the viewer waits for it.

// Permanent teeth by ISO 3950, from the upper right third molar round to the lower right one, and their codes in
// PS3.16 CID 4018. Devices made before 2020 send the same teeth as SRT T-54210, T-54220 and so on, in this order.
const TEETH = [
  ...[18, 17, 16, 15, 14, 13, 12, 11, 21, 22, 23, 24, 25, 26, 27, 28],
  ...[38, 37, 36, 35, 34, 33, 32, 31, 41, 42, 43, 44, 45, 46, 47, 48],
];
const CODES = [
  ...['68085002', '863902006', '865995000', '36492000', '57826002', '860767006', '424877001', '422653006'],
  ...['424399000', '423185002', '860780009', '61897005', '23226009', '865988009', '863901004', '87704003'],
  ...['74344005', '863898000', '866006002', '24573005', '2400006', '860782001', '423331005', '425106001'],
  ...['424575004', '423937004', '860785004', '80140008', '8873007', '866005003', '863899008', '38994002'],
];
// What an image says that names no teeth: the jaw, and the tooth from the middle (PS3.16 CID 4016 and 4017).
const QUADRANTS = { 661005: [1, 2, 3, 4], 70925003: [1, 2], 91609006: [3, 4] };
const SIDES = { B: [1, 2, 3, 4], L: [2, 3], R: [1, 4] };
const REGIONS = [
  ...['699453001', '699511000', '699510004', '699509009'],
  ...['699508001', '699507006', '699505003', '699503005'],
];
const INTRA_ORAL = ['1.2.840.10008.5.1.4.1.1.1.3', '1.2.840.10008.5.1.4.1.1.1.3.1'];
const PANORAMIC_VIEW = '241046008';
// What a CT is of, in words and codes (PS3.16 Annex L). Many cone beam CTs are said to be of the head or of nothing; their
// voxels are cubes, and finer than in a scan of a head.
const JAWS = ['JAW', 'MANDIBLE', 'MAXILLA', 'TMJ', '661005', '91609006', '70925003', '53620006'];
const HEADS = ['HEAD', 'SKULL', '69536005', '89546000'];
const FINE_MM = 0.5;

// A mount is seen as the patient is faced: the patient's right is on the left. Bitewings stand between the jaws.
const ACROSS = [
  ...['right molars', 'right premolars', 'right canine'],
  ...['incisors', 'left canine', 'left premolars', 'left molars'],
];
const WIDTHS = [0.16, 0.16, 0.12, 0.12, 0.12, 0.16, 0.16];
const ROWS = [
  ['upper', ACROSS],
  ['bitewing', ACROSS.filter(part => part.endsWith('molars'))],
  ['lower', ACROSS],
];
const PLACES = ROWS.flatMap(([jaw, parts]) => parts.map(part => `${jaw} ${part}`));

const list = value => (Array.isArray(value) ? value : value ? [value] : []);
const instances = displaySet => list(displaySet?.images ?? displaySet?.instances);
const codes = sequence => list(sequence).map(item => item.CodeValue);
// What a multi-frame object says of all its frames, another one of itself.
const shared = (instance, group) => list(list(instance.SharedFunctionalGroupsSequence)[0]?.[group])[0] ?? instance;

function tooth(code) {
  const older = /^T-54(\d\d)\d$/.exec(code);
  return TEETH[older ? Number(older[1]) - 21 : CODES.indexOf(code)];
}

function teethOf(instance) {
  const named = codes(instance.PrimaryAnatomicStructureSequence).map(tooth).filter(Boolean);
  const [region] = list(instance.AnatomicRegionSequence);
  const digit = REGIONS.indexOf(codes(region?.AnatomicRegionModifierSequence)[0]) + 1;
  if (named.length || !digit) {
    return named;
  }
  const sides = SIDES[instance.ImageLaterality] ?? [];
  return (QUADRANTS[region.CodeValue] ?? []).filter(one => sides.includes(one)).map(one => one * 10 + digit);
}

// Which of PLACES an intra-oral image shows. One that does not say what it shows has none: a guess would mislead.
function place(instance) {
  const teeth = teethOf(instance);
  if (!teeth.length) {
    return undefined;
  }
  const are = test => teeth.every(test);
  const isUpper = number => number < 30;
  const isRight = number => number < 20 || number > 40;
  const jaw = are(isUpper) ? 'upper' : teeth.some(isUpper) ? 'bitewing' : 'lower';
  const side = are(isRight) ? 'right' : teeth.some(isRight) ? '' : 'left';
  const outwards = teeth.reduce((sum, number) => sum + (number % 10), 0) / teeth.length;
  const molar = outwards > 5.5 ? 'molars' : 'premolars';
  if (jaw === 'bitewing') {
    return side ? `${jaw} ${side} ${molar}` : undefined;
  }
  if (!side || outwards < 2) {
    return `${jaw} incisors`;
  }
  return `${jaw} ${side} ${outwards > 3.5 ? molar : 'canine'}`;
}

function isDental(ct) {
  const { AnatomicRegionSequence: region } = shared(ct, 'FrameAnatomySequence');
  const { PixelSpacing: [across] = [], SliceThickness: along } = shared(ct, 'PixelMeasuresSequence');
  const parts = [ct.BodyPartExamined, ...codes(region)].filter(Boolean);
  const isFine = across <= FINE_MM && Math.abs(along / across - 1) < 0.01;
  return parts.some(part => JAWS.includes(part)) || (isFine && parts.every(part => HEADS.includes(part)));
}

function kind(displaySet) {
  const [first] = instances(displaySet);
  if (!first) {
    return undefined;
  }
  if (first.Modality === 'IO' || INTRA_ORAL.includes(first.SOPClassUID)) {
    return 'intra-oral';
  }
  if (first.PositionerType === 'CEPHALOSTAT') {
    return 'cephalometric';
  }
  if (
    first.Modality === 'PX' ||
    first.PositionerType === 'PANORAMIC' ||
    codes(first.ViewCodeSequence).includes(PANORAMIC_VIEW)
  ) {
    return 'panoramic';
  }
  return first.Modality === 'CT' && displaySet.isReconstructable && isDental(first) ? 'volume' : undefined;
}

// No dots in their names: the viewer would take them for paths.
const ATTRIBUTES = {
  dentalKind: displaySet => kind(displaySet),
  dentalKinds: (study, { displaySets } = {}) => list(displaySets).map(kind).filter(Boolean),
  dentalPlaces: displaySet =>
    kind(displaySet) === 'intra-oral' ? instances(displaySet).map(place).filter(Boolean) : [],
  // The index of the image to show at a place, in a series that may hold all of them.
  dentalImageAt(displaySets) {
    const index = instances(displaySets?.[0]).findIndex(instance => place(instance) === this.place);
    return index < 0 ? undefined : { index };
  },
};

const is = (attribute, constraint) => ({ attribute, constraint, required: true });
const isKind = value => is('dentalKind', { equals: { value } });
const stage = (name, [rows, columns, layoutOptions], viewports, stageActivation) => ({
  name,
  stageActivation,
  viewports,
  viewportStructure: { layoutType: 'grid', properties: { columns, layoutOptions, rows } },
});
const enough = minViewportsMatched => ({ enabled: { minViewportsMatched } });
const showing = (id, options, matchedDisplaySetsIndex = 0) => ({
  displaySets: [{ id, matchedDisplaySetsIndex }],
  viewportOptions: { allowUnmatchedView: true, toolGroupId: 'default', viewportType: 'stack', ...options },
});

// Where several fit, the one of the greatest weight counts. Of its stages it is the first that has enough to show.
function protocol(value, name, weight, stages, { kinds = [value], selectors, callbacks } = {}) {
  return {
    callbacks,
    defaultViewport: showing('any', {}, -1),
    displaySetSelectors: {
      any: { seriesMatchingRules: [is('numImageFrames', { greaterThan: { value: 0 } })] },
      ...Object.fromEntries(kinds.map(one => [one, { seriesMatchingRules: [isKind(one)] }])),
      ...selectors,
    },
    id: `dental.${value}`,
    name,
    numberOfPriorsReferenced: 0,
    protocolMatchingRules: [{ ...is('dentalKinds', { contains: value }), weight }],
    stages,
  };
}

const panoramic = protocol('panoramic', 'Panoramic', 10, [stage('Panoramic', [1, 1], [showing('panoramic')])]);

const cephalometric = protocol(
  'cephalometric',
  'Cephalometric',
  20,
  [
    stage('Cephalometric and panoramic', [1, 2], [showing('cephalometric'), showing('panoramic')], enough(2)),
    stage('Cephalometric', [1, 1], [showing('cephalometric')]),
  ],
  { kinds: ['cephalometric', 'panoramic'] }
);

// Without names of their own: the viewer, which forgets those, would not come back from one cell enlarged.
const cells = ROWS.flatMap(([, parts], row) =>
  parts.map(part => {
    const column = ACROSS.indexOf(part);
    const x = WIDTHS.slice(0, column).reduce((sum, width) => sum + width, 0);
    return { height: 1 / ROWS.length, width: WIDTHS[column], x, y: row / ROWS.length };
  })
);
const atPlace = name =>
  showing(name, {
    // Of its own, so that the viewer keeps each cell's image where a series fills several.
    id: name,
    initialImageOptions: { custom: 'dentalImageAt', place: name },
    viewportId: name.replaceAll(' ', '-'),
  });
const fills = name => [isKind('intra-oral'), is('dentalPlaces', { containsAll: [name] })];
const mount = protocol(
  'intra-oral',
  'Full mount',
  30,
  [
    stage('Full mount', [ROWS.length, ACROSS.length, cells], PLACES.map(atPlace), enough(5)),
    stage('Four series', [2, 2], [0, 1, 2, 3].map(index => showing('intra-oral', {}, index)), enough(2)),
    stage('One series', [1, 1], [showing('intra-oral')]),
  ],
  { selectors: Object.fromEntries(PLACES.map(name => [name, { seriesMatchingRules: fills(name) }])) }
);

// The mode's own group of tools for planes, which has crosshairs.
const plane = orientation =>
  showing('volume', {
    initialImageOptions: { preset: 'middle' },
    orientation,
    syncGroups: [{ id: 'dental', source: true, target: true, type: 'voi' }],
    toolGroupId: 'mpr',
    viewportId: `mpr-${orientation}`,
    viewportType: 'volume',
  });
const planes = [
  { height: 1, width: 0.5, x: 0, y: 0 },
  { height: 0.5, width: 0.5, x: 0.5, y: 0 },
  { height: 0.5, width: 0.5, x: 0.5, y: 0.5 },
];
const volume = protocol(
  'volume',
  'Cone beam CT',
  40,
  [
    stage('Three planes', [2, 2, planes], ['axial', 'coronal', 'sagittal'].map(plane)),
    stage('Slices', [1, 1], [showing('volume')]),
  ],
  {
    callbacks: {
      onViewportDataInitialized: ['setToolActiveToolbar', { toolGroupIds: ['mpr'], toolName: 'Crosshairs' }],
    },
  }
);

const PROTOCOLS = [volume, mount, cephalometric, panoramic];

// On the keys 1, 2, 3, before the viewer's own. A cone beam CT's values are near Hounsfield's, and no more than that.
const PRESETS = [
  { description: 'Bone', id: 'ct-bone', level: '480', window: '2500' },
  { description: 'Soft tissue', id: 'ct-soft-tissue', level: '40', window: '400' },
  { description: 'Teeth and metal', id: 'ct-teeth', level: '1500', window: '4000' },
];
const withPresets = own => [...PRESETS, ...own.filter(({ id }) => !PRESETS.some(one => one.id === id))];
// A mount's cells are too narrow for the numbers of the window beside those of the image.
const isWide = ({ referenceInstance }) => referenceInstance?.Modality !== 'IO';
const withoutWindow = own => own.map(item => (item.id === 'WindowLevel' ? { ...item, condition: isWide } : item));

// A report takes what was measured in a plane by the name of the volume alone, and the tools note it by volume and slice: a
// length would be saved without its value. It is there by both names, the former hidden from whoever lists them.
function nameByVolume({ measurement: { data: stats, metadata } }) {
  const noted = Object.keys(stats ?? {}).find(name => name.startsWith('volumeId:'));
  if (noted) {
    Object.defineProperty(stats, `volumeId:${metadata.volumeId}`, { configurable: true, get: () => stats[noted] });
  }
}

export default () => ({
  getCustomizationModule: () => [
    {
      name: 'global',
      value: {
        'cornerstone.windowLevelPresets': { CT: { $apply: withPresets } },
        'viewportOverlay.bottomLeft': { $apply: withoutWindow },
      },
    },
  ],
  getHangingProtocolModule: () => PROTOCOLS.map(one => ({ name: one.id, protocol: one })),
  id: 'dental',
  preRegistration: ({ appConfig, servicesManager }) => {
    // Modes are made after this; what fits none of the protocols hangs as before.
    appConfig.modesConfiguration = {
      ...appConfig.modesConfiguration,
      '@ohif/mode-longitudinal': { hangingProtocol: { $set: [...PROTOCOLS.map(one => one.id), 'default'] } },
    };
    const { hangingProtocolService, measurementService } = servicesManager.services;
    const { MEASUREMENT_ADDED, MEASUREMENT_UPDATED } = measurementService.EVENTS;
    [MEASUREMENT_ADDED, MEASUREMENT_UPDATED].forEach(event => measurementService.subscribe(event, nameByVolume));
    Object.entries(ATTRIBUTES).forEach(([id, callback]) =>
      hangingProtocolService.addCustomAttribute(id, `Dental: ${id}`, callback)
    );
  },
});
