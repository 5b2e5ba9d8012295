// hbsig 0.1.5 as a codec: signs and commits the cases of the file in CASES, reads the replies of the file in REPLIES;
// prints one JSON object.

import { createSigner } from "@permaweb/aoconnect"
import { commit, send, signer } from "hbsig"
import { readFileSync } from "node:fs"

const read = (name) => JSON.parse(readFileSync(process.env[name], "utf-8"))
const jwk = read("WALLET")
const url = "http://node.example"
const signed = signer({ signer: createSigner(jwk, url), url })
const isMap = (value) => value !== null && typeof value === "object" && !Array.isArray(value) && !Buffer.isBuffer(value)
const mapped = (value, change) =>
  Array.isArray(value)
    ? value.map((item) => change(item))
    : Object.fromEntries(Object.entries(value).map(([key, item]) => [key, change(item)]))

// From the notation of the cases to values of JavaScript.
const given = (value) => {
  if (Array.isArray(value)) return mapped(value, given)
  if (!isMap(value)) return value
  if ("$bin" in value) return Buffer.from(value.$bin, "base64")
  if ("$atom" in value) return Symbol.for(value.$atom)
  return "$undefined" in value ? undefined : mapped(value, given)
}

// From values of JavaScript to the JSON that the node reads: atoms are text, bytes that are UTF-8 too.
const atoms = { null: null, true: true, false: false, undefined: null }
const told = (value) => {
  if (typeof value === "symbol") return value.description in atoms ? atoms[value.description] : value.description
  if (Buffer.isBuffer(value)) {
    const text = value.toString("utf-8")
    return Buffer.from(text, "utf-8").equals(value) ? text : { $bytes: value.toString("base64url") }
  }
  return Array.isArray(value) || isMap(value) ? mapped(value, told) : value
}

const bytes = async (body) => Buffer.from(body instanceof Blob ? await body.arrayBuffer() : body ?? "").toString("base64")

const requests = []
const cases = read("CASES")
for (const set of ["ok", "map_errors", "httpsig_errors", "signer_errors", "errors"]) {
  for (const { i, input } of cases[set]) {
    const value = given(input)
    const { headers, body } = await signed({ ...value, path: "/~x@1.0/y" }, { path: i % 2 === 0 })
    const committed = await commit(value, { signer: signed, path: false })
    requests.push({ name: `${set} ${i}`, told: told(value), headers, body: await bytes(body), committed: told(committed) })
  }
}

const replies = []
for (const { headers, body } of read("REPLIES")) {
  const reply = async () => new Response(Buffer.from(body, "base64"), { headers })
  replies.push(told((await send({ url, method: "GET", headers: {} }, reply)).out))
}

process.stdout.write(JSON.stringify({ requests, replies }))
