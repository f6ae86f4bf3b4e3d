// Judges custom resources by the models that are made from their definitions. Reads JSON objects, one a
// line; prints one line for each fault: its index, a tab, what is wrong. The models check what is there but
// let unknown keys pass, so every key of a spec must also be a property that the package knows.
import { readdirSync, readFileSync } from "node:fs";
import { createInterface } from "node:readline";

const PACKAGES = {
  "gateway.networking.k8s.io": "gateway-api",
  "keda.sh": "keda",
  "monitoring.coreos.com": "prometheus-operator",
};
// Maps whose keys are anybody's, and types of Kubernetes itself, which its own schemas judge elsewhere.
const FREE = new Set(["metadata", "labels", "annotations", "selector", "behavior"]);
const known = new Map();

function properties(root) {
  if (!known.has(root)) {
    const names = new Set();
    const files = readdirSync(root, { recursive: true }).filter((name) => name.endsWith(".d.ts"));
    for (const file of files) {
      const text = readFileSync(`${root}/${file}`, "utf8");
      for (const [, name] of text.matchAll(/^\s*(?:readonly )?"?([A-Za-z0-9_$]+)"?\??:/gm)) names.add(name);
    }
    known.set(root, names);
  }
  return known.get(root);
}

function* unknownKeys(value, names, path) {
  if (Array.isArray(value)) {
    for (const [index, item] of value.entries()) yield* unknownKeys(item, names, `${path}[${index}]`);
  } else if (value && typeof value === "object") {
    for (const [key, item] of Object.entries(value)) {
      if (!names.has(key)) yield `unknown key ${path}.${key}`;
      else if (!FREE.has(key)) yield* unknownKeys(item, names, `${path}.${key}`);
    }
  }
}

let index = -1;
for await (const line of createInterface({ input: process.stdin })) {
  index += 1;
  const object = JSON.parse(line);
  const [group] = object.apiVersion.split("/");
  const root = `${process.env.CHART_MODELS}/@kubernetes-models/${PACKAGES[group]}`;
  const faults = [];
  if (!PACKAGES[group]) {
    faults.push(`no model of ${object.apiVersion} ${object.kind}`);
  } else {
    const Model = (await import(`${root}/${object.apiVersion}/${object.kind}.js`))[object.kind];
    try {
      new Model(object).validate();
    } catch (error) {
      faults.push(error.message);
    }
    faults.push(...unknownKeys(object.spec, properties(root), "spec"));
  }
  for (const fault of faults) console.log(`${index}\t${fault}`);
}
