// A study that is left gives back what it took of the graphics card's memory: an extension in the viewer's own format.

// The viewer only lets go of what it drew with, and the browser collects that some time later: of a volume that was left,
// two to three times its size stayed while the next one came.
const giveBack = service => {
  const { destroy } = service;
  service.destroy = () => {
    const windows = service.renderingEngine?.contextPool?.getAllContexts() ?? [];
    const contexts = windows.map(one => one.getOpenGLRenderWindow().getContext());
    destroy.call(service);
    contexts.forEach(context => context?.getExtension('WEBGL_lose_context')?.loseContext());
  };
};

export default () => {
  let isDone = false;
  return {
    id: 'memory',
    onModeEnter({ servicesManager }) {
      if (!isDone) {
        isDone = true;
        giveBack(servicesManager.services.cornerstoneViewportService);
      }
    },
  };
};
