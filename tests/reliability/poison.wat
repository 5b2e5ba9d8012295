;; A guest that can be poisoned in every way a guest fails; whatever fails has spoilt its memory and globals before.
;; `handle` answers a text with another: the one of the letter behind the first '#' in it, 'a' where there is none.
(module
  (memory (export "memory") 1 40)
  (global $sum (mut i64) (i64.const 0))
  (table 2 funcref)
  (elem (i32.const 1) $deeper)
  (type $nothing (func))
  (type $number (func (param i32) (result i32)))

  (func (export "add") (param $amount i64) (result i64)
    (global.set $sum (i64.add (global.get $sum) (local.get $amount)))
    (i64.store (i32.const 64) (global.get $sum))
    (global.get $sum))

  (func $spoil
    (global.set $sum (i64.const -1))
    (i64.store (i32.const 64) (i64.const -1))
    (memory.fill (i32.const 8192) (i32.const 7) (i32.const 8192))
    (drop (memory.grow (i32.const 1))))

  (func (export "unreachable") (call $spoil) unreachable)
  (func (export "outside") (result i32) (call $spoil) (i32.load (i32.const 0x7ffffff0)))
  (func (export "divide") (result i32) (call $spoil) (i32.div_u (i32.const 1) (i32.const 0)))
  (func (export "overflow") (result i32) (call $spoil) (i32.div_s (i32.const 0x80000000) (i32.const -1)))
  (func (export "convert") (result i32) (call $spoil) (i32.trunc_f64_s (f64.const nan)))
  (func (export "empty") (call $spoil) (call_indirect (type $nothing) (i32.const 0)))
  (func (export "mistyped") (call $spoil) (call_indirect (type $nothing) (i32.const 1)))
  (func (export "spin") (call $spoil) (loop $again (br $again)))
  (func (export "sink") (param i32) (result i32) (call $spoil) (call $deeper (local.get 0)))
  (func (export "hoard") (call $spoil)
    (loop $more (br_if $more (i32.ge_s (memory.grow (i32.const 1)) (i32.const 0))))
    unreachable)
  (func $deeper (type $number) (i32.add (i32.const 1) (call $deeper (i32.add (local.get 0) (i32.const 1)))))

  ;; Texts come to lie behind each other from 32768, and are wiped when they are freed; there is room for short ones.
  (global $top (mut i32) (i32.const 32768))
  (func (export "malloc") (param $size i32) (result i32)
    (if (i32.gt_u (local.get $size) (i32.const 16384)) (then (call $spoil) (return (i32.const 0))))
    (global.set $top (i32.add (global.get $top) (local.get $size)))
    (i32.sub (global.get $top) (local.get $size)))
  (func (export "free") (param $text i32)
    (loop $wipe
      (if (i32.load8_u (local.get $text))
        (then
          (i32.store8 (local.get $text) (i32.const 0))
          (local.set $text (i32.add (local.get $text) (i32.const 1)))
          (br $wipe))))
    (global.set $top (i32.const 32768)))

  (func (export "handle") (param $text i32) (param i32) (result i32)
    (local $letter i32)
    (local.set $letter (i32.const 0))
    (block $found
      (loop $scan
        (br_if $found (i32.eqz (i32.load8_u (local.get $text))))
        (if (i32.eq (i32.load8_u (local.get $text)) (i32.const 35))
          (then
            (local.set $letter (i32.sub (i32.load8_u (i32.add (local.get $text) (i32.const 1))) (i32.const 97)))
            (br $found)))
        (local.set $text (i32.add (local.get $text) (i32.const 1)))
        (br $scan)))
    (if (local.get $letter)
      (then (call $spoil))
      (else
        (global.set $sum (i64.add (global.get $sum) (i64.const 1)))
        (i64.store (i32.const 64) (global.get $sum))))
    (if (i32.eq (local.get $letter) (i32.const 25)) (then (return (i32.const -16))))
    (i32.add (i32.const 16384) (i32.mul (local.get $letter) (i32.const 512))))

  (data (i32.const 16384) "{\"ok\":true,\"response\":{\"Output\":\"fine\",\"Messages\":[]}}\00")
  (data (i32.const 16896) "this is no JSON {\00")
  (data (i32.const 17408) "{\"ok\":false,\"error\":\"the guest says no\"}\00")
  (data (i32.const 17920) "{\"ok\":true,\"response\":{\"Output\":100000000000000000000000000000000000000000000000000000000000000000000000000000000000000000}}\00")
  (data (i32.const 18432) "{\"ok\":true,\"response\":{\"Output\":NaN}}\00")
  (data (i32.const 18944) "{\"ok\":true,\"response\":{\"\\ud800\":1}}\00")
  (data (i32.const 19456) "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]\00")
  (data (i32.const 19968) "{\"ok\":true,\"response\":[]}\00")
  (data (i32.const 20480) "{\"ok\":true,\"response\":{\"Messages\":[1]}}\00")
  (data (i32.const 20992) "{\"ok\":true,\"response\":{\"Output\":\"\ff\fe\"}}\00")
  (data (i32.const 21504) "null\00"))
