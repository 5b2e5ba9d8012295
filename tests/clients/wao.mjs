// wao 0.35.7: its HB class, whose replies must be signed to be read.

import { HB } from "wao"
import { assert, check, done, jwk, url } from "./checks.mjs"

const hb = await new HB({ url }).init(jwk)
const ID = /^[A-Za-z0-9_-]{43}$/
let pid = ""

await check("init learns who the node is", async () => {
  assert.match(hb.operator, ID)
})

await check("spawn gives a process", async () => {
  pid = (await hb.spawn({ "execution-device": "test-device@1.0" })).pid
  assert.match(pid, ID)
})

await check("schedule gives its slot", async () => {
  assert.equal(1, (await hb.schedule({ pid, tags: { Action: "Inc" }, data: "one" })).slot)
})

await check("scheduleFlat gives its slot", async () => {
  assert.equal(2, (await hb.scheduleFlat({ pid, tags: { Action: "Inc" } })).slot)
})

await check("compute gives the state after a slot", async () => {
  const state = await hb.compute({ pid, slot: 1 })
  assert.equal(1, state["at-slot"])
  assert.deepEqual([1, 0], state["already-seen"])
  assert.equal(1, (await hb.compute({ pid, slot: 1, path: "results" }))["assignment-slot"])
})

await check("message schedules and computes", async () => {
  const sent = await hb.message({ pid, tags: { Action: "Inc" } })
  assert.equal(3, sent.slot)
  assert.equal(3, sent.res.results["assignment-slot"])
})

await check("now is the head", async () => {
  assert.equal(3, (await hb.now({ pid }))["at-slot"])
  assert.deepEqual([3, 2, 1, 0], (await hb.now({ pid, path: "already-seen" })))
})

await check("slot tells the head", async () => {
  assert.equal(3, (await hb.slot({ pid })).current)
  assert.deepEqual({ body: 3 }, await hb.slot({ pid, path: "current" }))
})

await check("messages lists the schedule", async () => {
  const found = await hb.messages({ pid })
  assert.deepEqual([0, 1, 2, 3], found.edges.map((edge) => edge.cursor))
  assert.equal("one", found.edges[1].node.message.Data)
  assert.equal(hb.addr, found.edges[1].node.message.Owner)
  assert.equal(pid, found.edges[1].node.message.Target)
  assert.equal(2, (await hb.messages({ pid, from: 2, to: 3 })).edges.length)
})

await check("g reads a bare value, which it takes as text, and a map", async () => {
  assert.equal("3", await hb.g(`/${pid}/now/at-slot`))
  const state = await hb.g(`/${pid}/compute`, { slot: 2 })
  assert.equal(2, state["at-slot"])
  assert.equal(2, state.results["assignment-slot"])
})

await check("p posts", async () => {
  const changed = await hb.p("/~message@1.0/set", { one: 1, two: "two", float: 1.5, yes: true })
  assert.deepEqual([1, "two", 1.5, true], ["one", "two", "float", "yes"].map((key) => changed[key]))
})

await check("spawnAOS uploads a module, and Lua is evaluated", async () => {
  const { pid: aos } = await hb.spawnAOS()
  const { outbox } = await hb.messageAOS({ pid: aos, data: 'Send({ Target = ao.id, Data = "hi" })' })
  assert.equal("hi", outbox["1"].data)
})

await check("spawnLegacy is a process of the module that it names", async () => {
  const { pid: aos } = await hb.spawnLegacy()
  assert.equal("2", (await hb.messageLegacy({ pid: aos, data: "return 1 + 1" })).res.Output.data)
})

await check("cron takes a task, and ends it", async () => {
  const rows = { "cron-path": `/${pid}/schedule`, action: "Tick" }
  const { slot } = await hb.slot({ pid }).then(({ current }) => ({ slot: current + 1 }))
  const once = await hb.post({ path: "/~cron@1.0/once", ...rows })
  assert.match(once.body, ID)
  while ((await hb.slot({ pid })).current < slot) await new Promise((done) => setTimeout(done, 20))
  const every = await hb.post({ path: "/~cron@1.0/every", ...rows, interval: "1-hour" })
  assert.match(every.body, ID)
  assert.equal(every.body, (await hb.post({ path: "/~cron@1.0/stop", task: every.body })).out["task-id"])
})

await check("an error is told with its status", async () => {
  await assert.rejects(hb.p(`/${"A".repeat(43)}/schedule`, { body: { type: "Message" } }), /^Error: 404/)
})

done()
