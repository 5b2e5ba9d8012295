// aoconnect 0.0.98 in mainnet mode: data items in a POST, and signed requests of the caller's own.

import { connect, createSigner } from "@permaweb/aoconnect"
import { assert, check, done, jwk, module, url } from "./checks.mjs"

const ao = connect({ MODE: "mainnet", URL: url, signer: createSigner(jwk) })
const device = { name: "execution-device", value: "test-device@1.0" }
const ID = /^[A-Za-z0-9_-]{43}$/
let pid = ""

await check("spawn asks for the address of the node, and gives a process", async () => {
  pid = await ao.spawn({ module, tags: [device, { name: "Name", value: "first" }] })
  assert.match(pid, ID)
})

await check("a process is another one each time it is spawned", async () => {
  assert.notEqual(pid, await ao.spawn({ module, tags: [device] }))
})

await check("message gives its slot as a number", async () => {
  assert.equal(1, await ao.message({ process: pid, tags: [{ name: "Action", value: "Inc" }], data: "one" }))
})

await check("message gives its id where it is asked for", async () => {
  const sent = await ao.message({ process: pid, data: "two", returnMessageId: true, returnAssignmentSlot: true })
  assert.equal(2, sent.slot)
  assert.match(sent.id, ID)
  const found = await ao.result({ process: pid, message: sent.id })
  assert.deepEqual([], found.Messages)
})

await check("result gives what a slot resulted in", async () => {
  const found = await ao.result({ process: pid, slot: 1 })
  assert.deepEqual(["Output", "Messages", "Assignments", "Spawns"].map((key) => key in found), Array(4).fill(true))
  assert.equal(undefined, found.Error)
})

await check("results gives the newest slot", async () => {
  const found = await ao.results({ process: pid })
  assert.equal("2", found.edges[0].cursor)
})

await check("dryrun schedules nothing", async () => {
  await ao.dryrun({ process: pid, tags: [{ name: "Action", value: "Get it" }], data: "x" })
  assert.equal("2", (await ao.results({ process: pid })).edges[0].cursor)
})

await check("request reads now, signed in headers", async () => {
  const reply = await ao.request({ path: `/${pid}~process@1.0/now/at-slot`, method: "GET" })
  assert.equal("2", await reply.text())
})

await check("request reads a slot by its path, without a body", async () => {
  const reply = await ao.request({ path: `/${pid}~process@1.0/compute&slot=1/results/assignment-slot`, method: "GET" })
  assert.equal("1", await reply.text())
})

await check("request schedules a message of headers alone", async () => {
  const path = `/${pid}~process@1.0/schedule`
  const reply = await ao.request({ path, method: "POST", type: "Message", target: pid, Action: "Inc", Num: 7 })
  assert.equal(200, reply.status)
  assert.equal("3", reply.headers.get("slot"))
  assert.equal(pid, reply.headers.get("process"))
})

await check("request with data is told that the body is missing, and nothing is scheduled", async () => {
  const path = `/${pid}~process@1.0/schedule`
  const reply = await ao.request({ path, method: "POST", type: "Message", target: pid, data: "a\nb" })
  assert.equal(400, reply.status)
  assert.match(await reply.text(), /body/)
  assert.equal("3", (await ao.results({ process: pid })).edges[0].cursor)
})

await check("request lists the schedule", async () => {
  const path = "/~scheduler@1.0/schedule"
  const reply = await ao.request({ path, method: "GET", target: pid, from: "0", to: "9", accept: "application/aos-2" })
  const found = await reply.json()
  assert.deepEqual([0, 1, 2, 3], found.edges.map((edge) => edge.cursor))
  assert.equal(pid, found.edges[0].node.message.Id)
  assert.equal(false, found.page_info.has_next_page)
})

await check("what is not signed is refused, and schedules nothing", async () => {
  const bare = connect({ MODE: "mainnet", URL: url })
  await assert.rejects(bare.message({ process: pid, data: "x" }))
  assert.equal("3", (await ao.results({ process: pid })).edges[0].cursor)
})

await check("a process that is not here is refused", async () => {
  await assert.rejects(ao.message({ process: "A".repeat(43), data: "x" }))
})

done()
