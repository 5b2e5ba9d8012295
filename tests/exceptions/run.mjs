// Runs modules of the old exception handling: a list of {wasm, calls} from stdin, what each call came to to stdout.
import { readFileSync } from "node:fs";

const told = (value) => (value === undefined ? [] : Array.isArray(value) ? value : [value]).map(String);

function ended(exports, name, parameters) {
  exports.begin();
  try {
    return told(exports[name](...parameters));
  } catch (error) {
    if (error instanceof WebAssembly.Exception) return "exception";
    if (error instanceof WebAssembly.RuntimeError) return error.message;
    throw error;
  }
}

function outcomes({ wasm, calls }) {
  const bytes = Buffer.from(wasm, "base64");
  if (!WebAssembly.validate(bytes)) return null;
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes));
  return calls.map(([name, parameters]) => {
    const numbers = parameters.map(([kind, text]) => (kind === "i64" ? BigInt(text) : Number(text)));
    return [ended(exports, name, numbers), String(exports.mixed.value)];
  });
}

process.stdout.write(JSON.stringify(JSON.parse(readFileSync(0, "utf8")).map(outcomes)));
