// hbsig 0.1.5: messages signed and committed by hand, and what becomes of one that was tampered with.

import { createSigner } from "@permaweb/aoconnect"
import { commit, send, signer } from "hbsig"
import { assert, check, done, jwk, refused, url } from "./checks.mjs"

const signed = signer({ signer: createSigner(jwk, url), url })
const address = await (await fetch(`${url}/~meta@1.0/info/address`)).text()
let pid = ""

await check("a committed definition begins a process", async () => {
  const fields = { type: "Process", device: "process@1.0", scheduler: address, "random-seed": "1" }
  const body = await commit({ ...fields, "execution-device": "test-device@1.0" }, { signer: signed, path: false })
  const sent = await send(await signed({ path: "/~process@1.0/schedule", scheduler: address, body }))
  pid = sent.out.process
  assert.ok(Object.keys(body.commitments).includes(pid))
  assert.equal(0, sent.out.slot)
})

const message = async (fields) => {
  const body = await commit({ type: "Message", target: pid, ...fields }, { signer: signed, path: false })
  return signed({ path: `/${pid}/schedule`, body })
}

await check("a committed message gets a slot", async () => {
  assert.equal(1, (await send(await message({ Action: "Inc", Num: 3 }))).out.slot)
})

await check("the same message again has the same slot", async () => {
  const once = await message({ Action: "Once" })
  assert.equal(2, (await send(once)).out.slot)
  assert.equal(2, (await send(once)).out.slot)
  assert.equal(3, (await send(await message({ Action: "Next" }))).out.slot)
})

await check("a body that was tampered with is refused", async () => {
  const sent = await message({ Action: "Inc", Num: 3 })
  await refused(400, () => send({ ...sent, body: String(sent.body).replace("num: 3", "num: 9") }))
})

await check("a header that was tampered with is refused", async () => {
  const sent = await signed({ path: `/${pid}/schedule`, type: "Message", target: pid, amount: "1" })
  await refused(400, () => send({ ...sent, headers: { ...sent.headers, amount: "2" } }))
})

await check("the schedule goes on where it was", async () => {
  assert.equal(4, (await send(await message({ Action: "Last" }))).out.slot)
})

done()
