// An AOS process, spoken to by aoconnect in mainnet mode; its module is one that the node holds.

import { connect, createSigner } from "@permaweb/aoconnect"
import { assert, check, done, jwk, module, url } from "./checks.mjs"

const ao = connect({ MODE: "mainnet", URL: url, signer: createSigner(jwk) })
let pid = ""

const evaluate = (code) => ao.message({ process: pid, tags: [{ name: "Action", value: "Eval" }], data: code })
const said = (found) => found.Output.data?.output ?? found.Output.data

await check("spawn without a stack is a process of the module", async () => {
  pid = await ao.spawn({ module, tags: [{ name: "Name", value: "greeter" }] })
})

await check("Lua is evaluated", async () => {
  const slot = await evaluate("return 1 + 1")
  assert.equal("2", said(await ao.result({ process: pid, slot })))
})

await check("state stays from message to message", async () => {
  await evaluate("Counter = 40")
  assert.equal("42", said(await ao.result({ process: pid, slot: await evaluate("return Counter + 2") })))
})

await check("messages that are sent are told with their tags", async () => {
  const slot = await evaluate('Send({ Target = ao.id, Action = "Ping", Data = "hello" })')
  const found = await ao.result({ process: pid, slot })
  assert.equal("hello", found.Messages[0].Data)
  assert.equal(pid, found.Messages[0].Target)
  assert.ok(found.Messages[0].Tags.some((tag) => tag.name === "Action" && tag.value === "Ping"))
})

await check("an error of Lua is told", async () => {
  const found = await ao.result({ process: pid, slot: await evaluate('error("boom")') })
  assert.match(JSON.stringify(found), /boom/)
})

await check("dryrun sees the state, and leaves it alone", async () => {
  const tags = [{ name: "Action", value: "Eval" }]
  const before = (await ao.results({ process: pid })).edges[0].cursor
  const found = await ao.dryrun({ process: pid, tags, data: "Counter = Counter + 1 return Counter" })
  assert.equal("41", said(found))
  assert.equal(before, (await ao.results({ process: pid })).edges[0].cursor)
  assert.equal("40", said(await ao.result({ process: pid, slot: await evaluate("return Counter") })))
})

await check("handlers answer", async () => {
  await evaluate('Handlers.add("Greet", "Greet", function (m) m.reply({ Data = "hello " .. m.Data }) end)')
  const slot = await ao.message({ process: pid, tags: [{ name: "Action", value: "Greet" }], data: "you" })
  assert.equal("hello you", (await ao.result({ process: pid, slot })).Messages[0].Data)
})

done()
