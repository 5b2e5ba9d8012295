"""The stage contract, on a guest that counts, fails in several ways, and is answered by a neighbour."""

from __future__ import annotations

import pytest

import procession_wasm
from procession.ids import hash_id
from procession.testing import StageContract, Trial

GUEST = b"""(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "env" "emscripten_date_now" (func $now (result f64)))
  (memory 1 20)
  (data (i32.const 16) "\\00\\00\\00\\00\\05\\00\\00\\00hello")
  (global $sum (mut f64) (f64.const 0))
  (func (export "add") (param f64) (result f64)
    (i32.store (i32.const 16) (i32.const 24))
    (drop (call $write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 0)))
    (global.set $sum (f64.add (global.get $sum) (local.get 0)))
    (f64.store offset=5000 (i32.const 0) (global.get $sum))
    (global.get $sum))
  (func (export "when") (result f64) (call $now))
  (func (export "grow") (result i32) (memory.grow (i32.const 3)))
  (func (export "fail") (global.set $sum (f64.const -1)) (drop (memory.grow (i32.const 1))) unreachable)
  (func (export "spin") (loop (br 0))))"""


class TestWasm(StageContract):
    """wasm-64@1.0 behind wasi@1.0."""

    chosen_by_message = frozenset({"function"})

    @pytest.fixture
    def device(self) -> Trial:
        """Run a guest of which some messages fail."""
        guest = {"device": "wasm-64@1.0", "image": hash_id(GUEST), "function": "add", "fuel": 1_000_000}
        return Trial(
            plugins=(procession_wasm,),
            definition={"device-stack": ["wasi@1.0", guest]},
            messages=[
                {"parameters": [1.5]},
                {"function": "fail"},
                {"function": "grow"},
                {"function": "when"},
                {"parameters": [2]},
                {"function": "spin"},
                {"parameters": ["two"]},
                {"parameters": [-0.5]},
            ],
            blobs=(GUEST,),
        )
