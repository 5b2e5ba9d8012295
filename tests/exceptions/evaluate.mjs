// Runs an AOS image, its old exception handlers as they are: {image, texts} from stdin; answers and memories to stdout.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { setFlagsFromString } from "node:v8";

setFlagsFromString("--experimental-wasm-memory64"); // newer ones need no flag, and have none

const { image, time, texts } = JSON.parse(readFileSync(0, "utf8"));
const module = new WebAssembly.Module(readFileSync(image));
const imports = {};
for (const { module: from, name } of WebAssembly.Module.imports(module)) {
  imports[from] ??= {};
  imports[from][name] = (...given) => {
    if (name === "clock_time_get") new DataView(memory.buffer).setBigUint64(Number(given[2]), BigInt(time), true);
    return 0;
  };
}
const { exports } = new WebAssembly.Instance(module, imports);
const { memory } = exports;

function put(text) {
  const bytes = Buffer.from(`${text}\0`);
  const pointer = exports.malloc(BigInt(bytes.length));
  new Uint8Array(memory.buffer).set(bytes, Number(pointer));
  return pointer;
}

function answer(given) {
  const start = Number(exports.handle(...given.map(put)));
  const bytes = Buffer.from(memory.buffer);
  const text = bytes.toString("utf8", start, bytes.indexOf(0, start));
  return [text, createHash("sha256").update(bytes).digest("hex")];
}

for (const name of ["emscripten_stack_init", "_initialize"]) exports[name]?.();
process.stdout.write(JSON.stringify(texts.map(answer)));
