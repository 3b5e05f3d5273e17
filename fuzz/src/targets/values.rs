//! MessagePack and JSON in scripts: what is read and written past handles, where it is little, is what is read and written
//! with them.

use std::cell::RefCell;

use sterna_protocol::{Args, Proto, Reply};
use sterna_script::{Engine, Host, Level, Verdict};

/// Lets a script run for a moment.
struct Quiet {
    ticks: usize,
}

impl Host for Quiet {
    fn call(&mut self, _: Args<'_>, _: Proto, out: &mut Vec<u8>) {
        out.extend_from_slice(b"+OK\r\n");
    }

    fn answers_error(&mut self, _: &[u8], _: bool) {}

    fn is_allowed(&mut self, _: Args<'_>) -> Result<bool, &'static str> {
        Ok(true)
    }

    fn log(&mut self, _: Level, _: &[u8]) {}

    fn tick(&mut self) -> Verdict {
        self.ticks += 1;
        if self.ticks < 50 { Verdict::GoOn } else { Verdict::Stop }
    }
}

/// Gives 1, or what is different. `unpack_limit` and what `cjson.new` makes have no way past handles.
const SCRIPT: &[u8] = b"
local whole = cjson.new()
-- In the same order, too; but that of keys that are tables goes by where they are in memory.
local function same(a, b)
  if type(a) ~= 'table' or type(b) ~= 'table' then
    return a == b or a ~= a and b ~= b
  end
  for key in pairs(a) do
    if type(key) == 'table' then
      return true
    end
  end
  local key, value = next(b)
  for expected, inner in pairs(a) do
    if key ~= expected or not same(inner, value) then
      return false
    end
    key, value = next(b, key)
  end
  return key == nil
end
local function results(...)
  return {count = select('#', ...), ...}
end
local function differ(a, b)
  return a ~= b and a ~= 'not enough memory' and b ~= 'not enough memory'
end

local quick = results(pcall(cmsgpack.unpack, ARGV[1]))
-- The first is where what is left begins.
local function without_place(ok, place, ...)
  if ok then
    return ok, ...
  end
  return ok, place
end
local slow = results(without_place(pcall(cmsgpack.unpack_limit, ARGV[1], 6000)))
if quick[1] ~= slow[1] or quick.count ~= slow.count and quick.count <= 6000 then
  return {'unpack', tostring(quick[2]), tostring(slow[2])}
end
if not quick[1] then
  if differ(quick[2], slow[2]) then
    return {'error of unpack', quick[2], slow[2]}
  end
  quick = results()
end
for at = 2, math.min(quick.count, slow.count) do
  if not same(quick[at], slow[at]) then
    return {'values', quick[at], slow[at]}
  end
end

local function written(value)
  local ok, text = pcall(cjson.encode, value)
  local is_ok, expected = pcall(whole.encode, value)
  if ok ~= is_ok or differ(text, expected) then
    return text, expected
  end
end
quick.count = quick.count + 1
quick[quick.count] = select(2, pcall(whole.decode, ARGV[1]))
for at = 1, quick.count do
  local text, expected = written(quick[at])
  if text then
    return {'encode', text, expected}
  end
end
return 1";

thread_local! {
    static ENGINE: RefCell<Engine> = RefCell::new(Engine::new());
}

pub fn run(bytes: &[u8]) {
    let mut out = Vec::new();
    let result = ENGINE.with_borrow_mut(|engine| {
        let script = engine.load(SCRIPT, false).expect("a script that is one");
        let args = std::slice::from_ref(&bytes).iter().copied();
        engine.run(
            script,
            std::iter::empty(),
            args,
            &mut Quiet { ticks: 0 },
            &mut Reply::new(&mut out, Proto::Resp2),
        )
    });
    match result {
        Ok(()) => assert_eq!(out, b":1\r\n", "{}", out.escape_ascii()),
        // It took too long, or too much memory.
        Err(error) => assert!(
            error.text.starts_with(b"ERR Script killed") || error.text.starts_with(b"ERR not enough memory"),
            "{}",
            error.text.escape_ascii()
        ),
    }
}
