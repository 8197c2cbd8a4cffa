// What a person drops or chooses, as files with their paths below the drop.

// Of a drop the entries must be taken before the event is over.
export function dropped(transfer) {
  const entries = [...transfer.items].map(item => item.webkitGetAsEntry?.()).filter(Boolean);
  return entries.length ? walk(entries) : Promise.resolve(chosen(transfer.files));
}

export function chosen(list) {
  return [...list].map(file => ({ file, path: file.webkitRelativePath || file.name }));
}

async function walk(entries) {
  const found = [];
  const waiting = [...entries];
  while (waiting.length) {
    const entry = waiting.pop();
    if (entry.isDirectory) {
      waiting.push(...(await below(entry)));
    } else {
      const file = await new Promise((resolve, reject) => {
        entry.file(resolve, reject);
      });
      found.push({ file, path: entry.fullPath.replace(/^\//, '') });
    }
  }
  return found.sort((a, b) => (a.path < b.path ? -1 : 1));
}

// A browser names the entries of a folder a hundred at a time.
async function below(folder) {
  const reader = folder.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => {
      reader.readEntries(resolve, reject);
    });
    if (!some.length) {
      return found;
    }
    found.push(...some);
  }
}
