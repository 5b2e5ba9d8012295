;; A ledger of one account that takes up all of its 2 MiB: what is not given back is seen.
(module
  (memory (export "memory") 32)
  (global $sum (mut i64) (i64.const 0))

  (func (export "add") (param $quantity i64) (result i64)
    (memory.fill (i32.const 0) (i32.wrap_i64 (local.get $quantity)) (i32.const 2097152))
    (global.set $sum (i64.add (global.get $sum) (local.get $quantity)))
    (i64.store (i32.const 8) (global.get $sum))
    (i64.load (i32.const 8))))
