// Reads queries in LogQL, a JSON list, and writes for each where Grafana's own grammar does not understand it.
import { parser } from "@grafana/lezer-logql";
import { readFileSync } from "node:fs";

const faults = (query) => {
  const found = [];
  parser.parse(query).iterate({
    enter: (node) => {
      if (node.type.isError) found.push(node.from);
    },
  });
  return found;
};
console.log(JSON.stringify(JSON.parse(readFileSync(0, "utf8")).map(faults)));
