;; A guest that keeps what it sees: the clock of the schedule, a product that another stage computes,
;; pages of memory and mutable globals of each kind; and that fails in each way a guest can.
(module
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
  (import "my_lib" "mul" (func $mul (param i32 i32) (result i32)))
  (memory (export "memory") 1 40)
  (global $sum (mut i64) (i64.const 0))
  (global $ratio (mut f64) (f64.const 1))
  (global $last (mut f32) (f32.const 0))

  (func (export "add") (param $amount i64) (result i64)
    (global.set $sum (i64.add (global.get $sum) (local.get $amount)))
    (i64.store (i32.const 64) (global.get $sum))
    (global.get $sum))

  ;; The clock in nanoseconds, kept at 8.
  (func (export "clock") (result i64)
    (drop (call $clock (i32.const 0) (i64.const 1) (i32.const 8)))
    (i64.load (i32.const 8)))

  (func (export "product") (param i32 i32) (result i32)
    (call $mul (local.get 0) (local.get 1)))

  ;; Not a number has many bits; a guest sees one kind of them.
  (func (export "ratio") (param f64 f64) (result f64)
    (global.set $ratio (f64.div (local.get 0) (local.get 1)))
    (global.set $last (f32.demote_f64 (global.get $ratio)))
    (f64.store (i32.const 4096) (global.get $ratio))
    (global.get $ratio))

  ;; One byte in the last page of a memory that grew by some pages; -1 past the limit.
  (func (export "spread") (param $pages i32) (result i32)
    (local $before i32)
    (local.set $before (memory.grow (local.get $pages)))
    (if (i32.ge_s (local.get $before) (i32.const 0))
      (then (i32.store8 (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 1)) (i32.const 7))))
    (local.get $before))

  ;; What fails has written before it does.
  (func $spoil
    (global.set $sum (i64.const -1))
    (global.set $ratio (f64.const -1))
    (i64.store (i32.const 64) (i64.const -1))
    (drop (memory.grow (i32.const 1))))
  (func (export "stop") (call $spoil) unreachable)
  (func (export "outside") (result i32) (call $spoil) (i32.load (i32.const 0x7ffffff0)))
  (func (export "spin") (call $spoil) (loop $again (br $again)))
  (func (export "sink") (param i32) (result i32)
    (call $spoil)
    (call $deeper (local.get 0)))
  (func $deeper (param i32) (result i32)
    (i32.add (i32.const 1) (call $deeper (i32.add (local.get 0) (i32.const 1))))))
