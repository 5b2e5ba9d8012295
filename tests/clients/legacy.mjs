// aoconnect 0.0.98 in legacy mode: the node is messenger, compute unit and gateway at once.

import { assert, check, done, jwk, module, url } from "./checks.mjs"

// The one server that the client asks whatever it is told; here it stands for the node, as a name server could say.
const router = "https://su-router.ao-testnet.xyz"
const plain = globalThis.fetch
globalThis.fetch = (asked, ...rest) => plain(String(asked).startsWith(router) ? url + asked.slice(router.length) : asked, ...rest)
const { connect, createDataItemSigner } = await import("@permaweb/aoconnect")

const urls = { MU_URL: url, CU_URL: url, GRAPHQL_URL: `${url}/graphql` }
const ao = connect({ MODE: "legacy", ...urls })
const signer = createDataItemSigner(jwk)
const address = await (await fetch(`${url}/~meta@1.0/info/address`)).text()
const ID = /^[A-Za-z0-9_-]{43}$/
let pid = ""

const evaluate = (data) => ao.message({ process: pid, signer, tags: [{ name: "Action", value: "Eval" }], data })
const said = async (message) => {
  const found = await ao.result({ process: pid, message })
  return found.Output.data?.output ?? found.Output.data
}

await check("spawn looks the module up, and gives a process", async () => {
  pid = await ao.spawn({ module, scheduler: address, signer, tags: [{ name: "Name", value: "legacy" }] })
  assert.match(pid, ID)
})

await check("a module that is not here is refused", async () => {
  await assert.rejects(ao.spawn({ module: "A".repeat(43), scheduler: address, signer }))
})

await check("Lua is evaluated, and its result found by the id of the message", async () => {
  assert.equal("2", await said(await evaluate("return 1 + 1")))
})

await check("state stays from message to message", async () => {
  await evaluate("Counter = 40")
  assert.equal("42", await said(await evaluate("return Counter + 2")))
})

await check("results come in pages, in both orders", async () => {
  const found = await ao.results({ process: pid, limit: 2 })
  assert.deepEqual(["0", "1"], found.edges.map((edge) => edge.cursor))
  const next = await ao.results({ process: pid, from: "1", limit: 25 })
  assert.deepEqual(["2", "3"], next.edges.map((edge) => edge.cursor))
  const last = await ao.results({ process: pid, sort: "DESC", limit: 1 })
  assert.deepEqual(["3"], last.edges.map((edge) => edge.cursor))
  assert.equal("42", last.edges[0].node.Output.data)
})

await check("dryrun sees the state in the name of anybody, and leaves it alone", async () => {
  const tags = [{ name: "Action", value: "Eval" }]
  const owned = { process: pid, tags, Owner: await owner(), data: "Counter = Counter + 1 return Counter" }
  assert.equal("41", (await ao.dryrun(owned)).Output.data)
  assert.equal("40", await said(await evaluate("return Counter")))
})

await check("a signed message is sent as it was prepared, and once", async () => {
  const tags = [{ name: "Action", value: "Eval" }]
  const prepared = await ao.signMessage({ process: pid, signer, tags, data: "Counter = Counter + 1" })
  assert.equal(prepared.id, await ao.sendSignedMessage(prepared))
  assert.equal(prepared.id, await ao.sendSignedMessage(prepared))
  assert.equal("41", await said(await evaluate("return Counter")))
})

await check("a message comes back with its slot, where the router of scheduler units is this node", async () => {
  const tags = [{ name: "Action", value: "Eval" }]
  const given = { process: pid, signer, tags, data: "return Counter" }
  const slot = await ao.message({ ...given, returnAssignmentSlot: true })
  const next = await ao.message({ ...given, returnAssignmentSlot: true, returnMessageId: true })
  assert.equal(Number(slot) + 1, Number(next.slot))
  assert.equal("41", await said(next.id))
})

await check("a process is watched, and no more", async () => {
  assert.match(await ao.monitor({ process: pid, signer }), ID)
  assert.match(await ao.unmonitor({ process: pid, signer }), ID)
  await assert.rejects(ao.monitor({ process: "A".repeat(43), signer }))
})

await check("what is no data item is refused", async () => {
  const headers = { "content-type": "application/octet-stream" }
  assert.equal(400, (await fetch(url, { method: "POST", headers, body: "[object Object]" })).status)
})

async function owner() {
  const key = Buffer.from(jwk.n, "base64url")
  const { createHash } = await import("node:crypto")
  return createHash("sha256").update(key).digest("base64url")
}

done()
