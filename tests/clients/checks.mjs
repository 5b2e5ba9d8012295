// Checks: each runs to its end, one line each, and a last line with their numbers.

import assert from "node:assert/strict"
import { readFileSync } from "node:fs"

export const url = process.env.NODE_URL
export const module = process.env.AO_MODULE
export const jwk = JSON.parse(readFileSync(process.env.WALLET, "utf8"))
export { assert }

const told = { passed: 0, failed: 0 }

export async function check(name, run) {
  try {
    await run()
    told.passed += 1
    console.log(`ok ${name}`)
  } catch (error) {
    told.failed += 1
    console.log(`not ok ${name}: ${String(error?.stack ?? error).slice(0, 2000)}`)
  }
}

export async function refused(status, call) {
  try {
    await call()
  } catch (error) {
    assert.match(String(error.message), new RegExp(`^${status}`))
    return
  }
  throw new Error(`was not refused with ${status}`)
}

export function done() {
  console.log(`${told.passed} passed, ${told.failed} failed`)
  process.exit(told.failed ? 1 : 0)
}
