;; A token ledger: balances and their sum in one memory, nothing else.
;;
;; Accounts are numbers from 0 to 1023. Every function that moves tokens answers with the balance it leaves.
;; What is not allowed ends in `unreachable`: the slot is recorded as a trap and its effects are undone.
(module
  ;; Byte 0: the supply, an i64. From byte 8: the balance of account 0, 1, 2, ..., an i64 each.
  (memory (export "memory") 1)

  (func $place (param $account i32) (result i32)
    (if (i32.ge_u (local.get $account) (i32.const 1024)) (then unreachable))
    (i32.add (i32.const 8) (i32.shl (local.get $account) (i32.const 3))))

  ;; Put a quantity, from 1, on an account; the sum must stay an i64.
  (func $add (param $place i32) (param $quantity i64) (result i64)
    (local $after i64)
    (if (i64.lt_s (local.get $quantity) (i64.const 1)) (then unreachable))
    (local.set $after (i64.add (i64.load (local.get $place)) (local.get $quantity)))
    (if (i64.lt_s (local.get $after) (local.get $quantity)) (then unreachable))
    (i64.store (local.get $place) (local.get $after))
    (local.get $after))

  ;; Take a quantity, from 1, off an account that has as much.
  (func $take (param $place i32) (param $quantity i64) (result i64)
    (local $before i64)
    (if (i64.lt_s (local.get $quantity) (i64.const 1)) (then unreachable))
    (local.set $before (i64.load (local.get $place)))
    (if (i64.lt_s (local.get $before) (local.get $quantity)) (then unreachable))
    (i64.store (local.get $place) (i64.sub (local.get $before) (local.get $quantity)))
    (i64.load (local.get $place)))

  (func (export "mint") (param $account i32) (param $quantity i64) (result i64)
    (drop (call $add (i32.const 0) (local.get $quantity)))
    (call $add (call $place (local.get $account)) (local.get $quantity)))

  (func (export "burn") (param $account i32) (param $quantity i64) (result i64)
    (drop (call $take (i32.const 0) (local.get $quantity)))
    (call $take (call $place (local.get $account)) (local.get $quantity)))

  (func (export "transfer") (param $from i32) (param $to i32) (param $quantity i64) (result i64)
    (drop (call $take (call $place (local.get $from)) (local.get $quantity)))
    (drop (call $add (call $place (local.get $to)) (local.get $quantity)))
    (i64.load (call $place (local.get $from))))

  (func (export "balance") (param $account i32) (result i64)
    (i64.load (call $place (local.get $account))))

  (func (export "supply") (result i64)
    (i64.load (i32.const 0))))
