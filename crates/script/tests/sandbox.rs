//! What no script may do: each published hole of Redis's scripting is a case, and so is what this interpreter adds.
//!
//! The same under AddressSanitizer, the interpreter's C included (run so on 2026-11-30, all of it in 21 s: nothing found):
//!
//! ```text
//! CFLAGS="-fsanitize=address -fno-omit-frame-pointer" RUSTFLAGS="-Zsanitizer=address" RUST_MIN_STACK=67108864 \
//!   ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=0:allocator_may_return_null=1 \
//!   cargo +nightly test --target x86_64-unknown-linux-gnu -p sterna-script --test sandbox
//! ```

#[allow(unreachable_pub)]
mod host {

    use std::collections::BTreeMap;

    use sterna_protocol::{Args, Proto, Reply};
    use sterna_script::{Engine, Host, Level, Verdict};

    #[derive(Debug, Default)]
    pub struct Fake {
        pub keys: BTreeMap<Vec<u8>, Vec<u8>>,
        pub logged: Vec<String>,
        /// What `reply` answers, as it is.
        pub canned: Vec<u8>,
        /// How often a script is let go on; `None`: always.
        pub ticks_left: Option<usize>,
        /// A key with which a script is stopped.
        pub stops_with: &'static [u8],
    }

    impl Host for Fake {
        fn call(&mut self, args: Args<'_>, proto: Proto, out: &mut Vec<u8>) {
            let mut reply = Reply::new(out, proto);
            match (&args[0].to_ascii_lowercase()[..], args.len()) {
                (b"echo", 2) => reply.bulk(&args[1]),
                (b"get", 2) => reply.bulk_or_null(self.keys.get(&args[1]).map(|value| &value[..])),
                (b"set", 3) => {
                    self.keys.insert(args[1].to_vec(), args[2].to_vec());
                    reply.ok();
                }
                (b"fail", _) => reply.error(b"WRONGTYPE Operation against a key"),
                (b"reply", _) => reply.out.extend_from_slice(&self.canned),
                (b"panic", _) => panic!("a host that panics"),
                (b"count", _) => reply.int(args.len() as i64 - 1),
                _ => reply.error(b"ERR Unknown Redis command called from script"),
            }
        }

        fn answers_error(&mut self, _: &[u8], _: bool) {}

        fn is_allowed(&mut self, args: Args<'_>) -> Result<bool, &'static str> {
            match &args[0] {
                b"get" => Ok(true),
                b"set" => Ok(false),
                _ => Err("ERR Invalid command passed to redis.acl_check_cmd()"),
            }
        }

        fn log(&mut self, level: Level, text: &[u8]) {
            self.logged.push(format!("{level:?}: {}", String::from_utf8_lossy(text)));
        }

        fn tick(&mut self) -> Verdict {
            if self.keys.contains_key(self.stops_with) {
                return Verdict::Stop;
            }
            match &mut self.ticks_left {
                None => Verdict::GoOn,
                Some(0) => Verdict::Stop,
                Some(left) => {
                    *left -= 1;
                    Verdict::GoOn
                }
            }
        }
    }

    pub fn eval(script: &str) -> String {
        eval_in(&mut Engine::new(), script)
    }

    pub fn eval_in(engine: &mut Engine, script: &str) -> String {
        eval_with(engine, script, &mut Fake { ticks_left: Some(TICKS), ..Fake::default() })
    }

    /// A second or two.
    const TICKS: usize = 1000;

    pub fn eval_with(engine: &mut Engine, script: &str, host: &mut Fake) -> String {
        eval_as(engine, script, &[], &[], host, Proto::Resp2)
    }

    pub fn eval_as(
        engine: &mut Engine,
        script: &str,
        keys: &[&str],
        args: &[&str],
        host: &mut Fake,
        proto: Proto,
    ) -> String {
        let mut out = Vec::new();
        let mut reply = Reply::new(&mut out, proto);
        match engine.load(script.as_bytes(), false) {
            Err(text) => reply.error(&text),
            Ok(script) => {
                let (keys, args) =
                    (keys.iter().map(|key| key.as_bytes()), args.iter().map(|arg| arg.as_bytes()));
                if let Err(error) = engine.run(script, keys, args, host, &mut reply) {
                    reply.error(&error.text);
                }
            }
        }
        String::from_utf8_lossy(&out).into_owned()
    }
}

use host::{Fake, eval, eval_in};
use sterna_protocol::Proto;
use sterna_script::Engine;

/// In a build with assertions, as tests have it, the interpreter ends the process where a value is pushed that the stack has
/// not been asked to have room for.
#[test]
fn any_number_of_values_passes_through_every_call() {
    let engine = &mut Engine::new();
    let calls = [
        "select('#', pcall(unpack, t)) - 1",
        "select('#', pcall(function() return unpack(t) end)) - 1",
        "select('#', pcall(function(...) return ... end, unpack(t))) - 1",
        "select('#', pcall(setmetatable({}, {__call = function() return unpack(t) end}))) - 1",
        "select('#', pcall(pcall, pcall, unpack, t)) - 3",
        "select('#', xpcall(function() return unpack(t) end, error)) - 1",
        "select('#', coroutine.resume(coroutine.create(function() return unpack(t) end))) - 1",
        "select('#', coroutine.resume(coroutine.create(function() coroutine.yield(unpack(t)) end))) - 1",
        "select('#', coroutine.resume(coroutine.create(function(...) return ... end), unpack(t))) - 1",
        "select('#', coroutine.wrap(function() return unpack(t) end)())",
        "select('#', coroutine.wrap(function() coroutine.yield(unpack(t)) end)())",
        "(function() local w = coroutine.wrap(function() return select('#', coroutine.yield()) end) w() return w(unpack(t)) end)()",
        "(('x'):gsub('x', function() return #t, unpack(t) end) + 0)",
        "select('#', ('x'):rep(#t):byte(1, -1))",
        "#string.char(unpack(t))",
        "select('#', ('x'):rep(#t):match(('(x)'):rep(math.min(#t, 30)))) + math.max(#t - 30, 0)",
        "select('#', struct.unpack(('B'):rep(#t), ('x'):rep(#t))) - 1",
        "#struct.pack(('B'):rep(#t), unpack(t))",
        "select('#', cmsgpack.unpack(cmsgpack.pack(unpack(t))))",
        "redis.call('count', unpack(t))",
        "redis.pcall('count', unpack(t))",
        "math.max(unpack(t)) == 7 and #t",
        "select('#', (loadstring('return ...'))(unpack(t)))",
    ];
    for count in [1, 7, 8, 9, 18, 19, 20, 21, 22, 38, 39, 40, 41, 100, 1000, 6000] {
        for call in calls {
            let script = format!("local t = {{}} for i = 1, {count} do t[i] = 7 end return {call}");
            assert_eq!(eval_in(engine, &script), format!(":{count}\r\n"), "{script}");
        }
        let script = format!("local t = {{}} for i = 1, {count} do t[i] = i end return unpack(t)");
        assert_eq!(eval_in(engine, &script), ":1\r\n", "{script}");
    }
}

/// The interpreter goes on after each of these, whatever it answers.
#[test]
fn nothing_a_script_asks_for_kills_the_process() {
    let rows = [
        // CVE-2025-46817: ranges whose length doesn't fit into an integer.
        "return unpack({}, 0, 2147483647)",
        "return unpack({}, -2147483648, 2147483647)",
        "return unpack({}, 1, 1/0)",
        "return unpack({}, -1/0, 0)",
        "return unpack({}, 0/0, 1)",
        "return unpack({}, 2147483647, 2147483647)",
        "return {pcall(unpack, {}, 1, 7998)}",
        "return table.concat({}, '', 1, 2147483647)",
        "return table.concat({}, '', -2147483648, 2147483647)",
        "return table.concat({}, '', 2147483640, 2147483647)",
        "return select(-2147483648, 1)",
        "return string.byte('x', -2147483648, 2147483647)",
        "return ('x'):sub(-2147483648, 2147483647)",
        "table.insert({}, 2147483647, 1)",
        "table.insert({}, -2147483648, 1)",
        "table.insert({}, '-2147483648', 1)",
        "table.insert({}, '2147483648', 1)",
        "table.insert({}, 'nan', 1)",
        "table.remove({}, 2147483647)",
        // CVE-2024-31449: the smallest number of digits has no opposite.
        "return bit.tohex(65535, -2147483648)",
        "return bit.tohex(1, 0/0)",
        // CVE-2022-24834 and its kin: sizes and depths of what is encoded.
        "local t = {} for i = 1, 2000 do t = {t} end return cjson.encode(t)",
        "local t = {} t[1] = t return cjson.encode(t)",
        "local t = {} t[1] = t t[2] = t return cmsgpack.pack(t)",
        "local t = {} t[1] = t return t",
        "local t = {} t[1] = t t.map = t return t",
        "return cjson.decode(string.rep('[', 100000))",
        "return cjson.decode(string.rep('{\"a\":', 100000))",
        "return cmsgpack.unpack(string.rep('\\145', 100000))",
        "return cmsgpack.unpack('\\221\\255\\255\\255\\255')",
        "return cmsgpack.unpack('\\223\\255\\255\\255\\255')",
        "return cmsgpack.unpack(string.rep('\\192', 100000))",
        "cjson.encode_max_depth(2000000) local t = {} for i = 1, 100000 do t = {t} end return cjson.encode(t)",
        "cjson.decode_max_depth(2000000) return cjson.decode(string.rep('[', 100000))",
        "return cjson.encode({[1e15] = 1})",
        "cjson.encode_sparse_array(false, 0, 0) return cjson.encode({[100000000] = 1})",
        "return struct.pack('!2147483647 i33', 1)",
        "return struct.pack('i2147483648', 1)",
        "return struct.pack('c99999999999999', 'x')",
        "return struct.unpack('c0', 'x')",
        "return struct.unpack('Bc0', '\\255x')",
        "return struct.unpack('i4', 'xxxx', 2147483647)",
        "return struct.unpack('i4', 'xxxx', -1)",
        "return struct.unpack(string.rep('B', 100000), string.rep('x', 100000))",
        "return struct.pack(string.rep('x', 100000))",
        // Patterns that recurse, and those that repeat for ever.
        "return string.find(string.rep('a', 300000), string.rep('a?', 300000))",
        "return string.find(string.rep('a', 300000), string.rep('.-', 300000) .. 'b')",
        "return string.rep('x', 2147483647)",
        "return string.rep('', 2147483647)",
        "return string.rep('x', -1)",
        "return string.rep('x', 1/0)",
        "return string.rep('x', 0/0)",
        "return string.format('%99.99f', 1e308)",
        "return string.format('%' .. string.rep('9', 200) .. 'd', 1)",
        // The parser.
        "return loadstring(string.rep('(', 100000))",
        "return loadstring('return ' .. string.rep('{', 100000))",
        "return loadstring('x = ' .. string.rep('a..', 10000) .. 'a')",
        // CVE-2025-46819: the end of a long bracket is looked for behind the end of the text.
        "return loadstring(string.rep('[', 10) .. string.rep('=', 1000000) .. '[')",
        "for n = 0, 600 do loadstring('return [' .. string.rep('=', n)) loadstring('return [' .. string.rep('=', n) .. '[a]') end",
        "for n = 0, 600 do loadstring('--[' .. string.rep('=', n)) loadstring('return [=[' .. string.rep('x', n) .. ']=') end",
        "return loadstring('return [==[a]=]' .. string.rep(']', 5000))",
        // CVE-2024-46981: what the collector calls when it frees a value.
        "for i = 1, 1000 do setmetatable({}, {__gc = function() error('x') end}) end collectgarbage()",
        "for i = 1, 1000 do local c = coroutine.create(function() coroutine.yield({}) end) coroutine.resume(c) end",
        "getmetatable('').__gc = function() end",
        "return loadstring('\\27Lua\\81\\0\\1\\4\\8\\4\\8\\0')",
        "return load(function() return '\\27Lua' end)",
        "local i = 0 return load(function() i = i + 1 if i > 100 then return nil end return 'x' end)",
        // Recursion.
        "local function f() return f() + 1 end return f()",
        "local function f(...) return pcall(f, ...) end return f()",
        "local function f() return xpcall(f, f) end return f()",
        "local t = setmetatable({}, {}) getmetatable(t).__index = t return t.x",
        "local t = {} setmetatable(t, {__index = function(t, k) return t[k] end}) return t.x",
        "local function f() return coroutine.wrap(f)() end return f()",
        "local function f(s) return (s:gsub('.', f)) end return f('x')",
        "error(setmetatable({}, {__tostring = function() error('x') end}))",
        "return tostring(setmetatable({}, {__tostring = function() return 1 end}))",
        "coroutine.yield(1)",
        "local c = coroutine.create(function() coroutine.yield(redis.call) end) return {coroutine.resume(c)}",
        "local c c = coroutine.wrap(function() c() end) c()",
        "return table.sort({3, 2, 1}, function() return true end)",
        "return table.sort({3, 2, 'x', {}})",
        "local t = {5, 4, 3} table.sort(t, function(a, b) t[1] = nil t[2] = nil return a < b end) return t",
        // CVE-2025-67733: the text of an error that ends its line, or the string, early.
        "return {err = 'a\\r\\nb\\0c'}",
        "return redis.error_reply('a\\0b\\r\\n+OK')",
        "error({err = 'ERR a\\n-b\\r\\n$-1'})",
        "error('a\\r\\n:1\\r\\n')",
        "return redis.status_reply('a\\0b\\r\\n:1')",
        "return {ok = 'a\\r\\n:1\\r\\n\\0c'}",
        "return redis.error_reply('a\\r\\n$1\\r\\nb')",
        "return {verbatim_string = {format = 'xxxxxxxx', string = 'a'}}",
        "return {big_number = '1\\r\\n:2'}",
    ];
    let mut engine = Engine::new();
    for script in rows {
        let reply = eval_in(&mut engine, script);
        assert!(!reply.is_empty(), "{script}");
        let lines = reply.trim_end_matches("\r\n");
        let is_single = matches!(reply.as_bytes()[0], b'-' | b'+' | b':' | b'(');
        assert!(!is_single || !lines.contains(['\r', '\n', '\0']), "{script}: {reply:?}");
        assert_eq!(eval_in(&mut engine, "return 'alive'"), "$5\r\nalive\r\n", "after {script}");
    }
}

/// CVE-2025-46818, and every other way to leave something behind for whoever runs the next script.
#[test]
fn nothing_is_left_for_the_next_script() {
    let rows = [
        "getmetatable('').__index = function() return 'changed' end",
        "getmetatable('').__add = function() return 'changed' end",
        "getmetatable('').__index.upper = nil",
        "string.upper = nil",
        "rawset(string, 'upper', nil)",
        "table.insert(string, 1)",
        "table.insert(_G, 1)",
        "table.remove(_G)",
        "table.sort(_G)",
        "setmetatable(_G, {})",
        "setmetatable(string, nil)",
        "setmetatable(getmetatable(_G), {})",
        "getmetatable(_G).__index = nil",
        "getmetatable(redis).call = 1",
        "redis.call = nil",
        "redis['pcall'] = nil",
        "x = 1",
        "_G.x = 1",
        "KEYS = nil",
        "ARGV = nil",
        "_G = {}",
        "rawset(_G, 'x', 1)",
        "local f = loadstring('x = 1') f()",
        "next = nil",
        "cjson.null = 1",
        "cjson.encode_max_depth(1)",
        "cjson.encode_sparse_array(true)",
        "cjson.encode_number_precision(1)",
        "math.pi = 3",
        "math.randomseed(17)",
        "redis.setresp(3)",
        "coroutine.wrap(function() x = 1 end)()",
        "pairs(_G)(_G)",
        "for k in pairs(redis) do redis[k] = nil end",
        "os.clock = nil",
        "bit.band = nil",
    ];
    let probe = "return {('x'):upper(), cjson.encode({{{1}}}), pcall(cjson.encode, {[100] = 1}),
        cjson.encode(0.25), rawget(_G, 'x') == nil, math.pi, type(redis.call), type(KEYS), tostring(redis.call('echo', 'a')),
        getmetatable('').__add == nil, #_G, #string, type(next), type(os.clock), bit.band(3, 1)}";
    let untouched = eval(probe);
    assert!(untouched.contains("[[[1]]]"), "{untouched}");
    let mut engine = Engine::new();
    for script in rows {
        eval_in(&mut engine, script);
        assert_eq!(eval_in(&mut engine, probe), untouched, "after {script}");
    }
}

#[test]
fn what_reaches_outside_is_not_there() {
    for name in [
        "dofile",
        "loadfile",
        "print",
        "io",
        "os.execute",
        "os.exit",
        "os.getenv",
        "require",
        "package",
        "module",
        "newproxy",
        "setfenv",
        "getfenv",
        "string.dump",
        "debug",
        "os.remove",
        "os.tmpname",
        "__redis__err__handler",
    ] {
        let reply = eval(&format!(
            "local ok, value = pcall(function() return {name} end) return ok and value ~= nil"
        ));
        assert_eq!(reply, "$-1\r\n", "{name}");
    }
}

/// CVE-2025-49844: the name of a chunk is freed while the parser uses it.
#[test]
fn chunks_keep_their_names_while_they_are_parsed() {
    let script = "
        local found = 0
        for i = 1, 300 do
            local name = string.rep(tostring(i), 50)
            local code = string.rep('local a' .. i .. ' = {\"' .. i .. '\"} ', 150) .. ' oops oops'
            local f, text = loadstring(code, '@' .. name)
            if f == nil and text:find(name:sub(1, 20), 1, true) then found = found + 1 end
        end
        return found";
    assert_eq!(eval(script), ":300\r\n");
}

#[test]
fn a_script_that_is_stopped_can_not_catch_it() {
    for body in [
        "while true do end",
        "while true do pcall(function() while true do end end) end",
        "repeat until pcall(error)",
        "local function f() while true do pcall(f) end end f()",
        "while true do xpcall(function() while true do end end, function() while true do end end) end",
        "while true do coroutine.resume(coroutine.create(function() while true do end end)) end",
        "pcall(function() while true do local c = coroutine.wrap(function() while true do end end) pcall(c) end end)",
        "while true do pcall(string.find, string.rep('a', 100), string.rep('a*', 50) .. 'b') end",
        "local t = {} for i = 1, 200000 do t[i] = i % 7 end while true do table.sort(t) end",
        "while true do pcall(redis.call, 'echo', 'x') end",
        "for _ in function() return 1 end do end",
        "return (string.rep('a', 50):gsub(string.rep('a*', 30) .. 'b', ''))",
        "local t = setmetatable({}, {__index = function() while true do end end}) return t.x",
    ] {
        let mut engine = Engine::new();
        let mut host = Fake { ticks_left: Some(20), ..Fake::default() };
        let reply = host::eval_with(&mut engine, body, &mut host);
        assert!(reply.contains("Script killed by user with SCRIPT KILL"), "{body}: {reply}");
        assert_eq!(
            eval_in(&mut engine, "return {pcall(error, 'x')}"),
            "*2\r\n$-1\r\n$1\r\nx\r\n",
            "after {body}"
        );
    }
}

#[test]
fn what_takes_long_between_few_instructions_is_stopped_soon() {
    // Each round copies or walks megabytes in an instruction or two.
    for round in [
        "local s = text .. i",
        "local s = text:upper()",
        "local s = table.concat(list)",
        "local s = list[1] .. text",
        "table.insert(list, 1, 'x')",
        "local s = string.rep('x', 3000000)",
        "local s = redis.sha1hex(text)",
        "local s = loadstring('return ' .. string.rep('1 + ', 50000) .. '1')",
    ] {
        let script = format!(
            "local text, list, i = string.rep('x', 3000000), {{}}, 0 for n = 1, 300000 do list[n] = 'x' end
             redis.call('set', 'began', 'x')
             while true do {round} i = i + 1 redis.call('set', 'rounds', tostring(i)) end"
        );
        let mut host = Fake { stops_with: b"rounds", ..Fake::default() };
        let reply = host::eval_with(&mut Engine::new(), &script, &mut host);
        assert!(reply.contains("Script killed by user"), "{round}: {reply}");
        let rounds = String::from_utf8_lossy(&host.keys[&b"rounds"[..]]).into_owned();
        assert!(rounds.parse::<u32>().expect("a number") < 150, "{round}: {rounds} rounds");
    }
}

#[test]
fn memory_has_an_end_and_the_next_script_has_it_again() {
    let mut engine = Engine::new();
    for body in [
        "local t = {} for i = 1, 1e9 do t[i] = i end",
        "local s = 'x' while true do s = s .. s end",
        "local t = {} while true do t[#t + 1] = string.rep('x', 1000000) .. #t end",
        "local s = string.rep('x', 1000000) return (s:gsub('.', s))",
        "local t = {} for i = 1, 100 do t[i] = string.rep('x', 10000000) end return table.concat(t)",
        "local s = string.rep('x', 100000000) local t = {} for i = 1, 100 do t[i] = s end return cjson.encode(t)",
        "local function f(n) return n, f(n + 1) end return f(1)",
        // Few leaves, each of them long: as much text, sooner.
        "local t = string.rep('x', 10000) for i = 1, 60 do t = {t, t} end return cjson.encode(t)",
        // What our own functions make counts as well, more of it than there is room for at once included; and a function
        // that has failed leaves the limit in force.
        "return #cjson.decode('[' .. string.rep('[],', 5000000) .. '[]]')",
        "return #cmsgpack.unpack('\\221\\0\\76\\75\\64' .. string.rep('\\144', 5000000))",
        "for i = 1, 9 do pcall(cjson.decode, '[') pcall(cmsgpack.unpack, '\\146') redis.pcall('fail') end \
         local t = {} for i = 1, 1e9 do t[i] = i end",
        "local s = '[' .. string.rep('[1,2],', 10000) .. '1]' \
         local t = {} for i = 1, 1e9 do t[i] = cjson.decode(s) redis.pcall('echo', i) end",
    ] {
        let reply = eval_in(&mut engine, body);
        assert!(reply.starts_with('-'), "{body}: {}", &reply[..reply.len().min(100)]);
        assert_eq!(eval_in(&mut engine, "return 1"), ":1\r\n", "after {body}");
        assert!(engine.figures().used_bytes < 64 << 20, "after {body}: {}", engine.figures().used_bytes);
    }
}

#[test]
fn memory_ends_while_a_reply_becomes_a_value_and_the_script_can_catch_it() {
    let mut engine = Engine::new();
    let many = |head: &str, one: &str, times: usize| format!("{head}{times}\r\n{}", one.repeat(times));
    for canned in [
        many("*", "$1\r\nx\r\n", 20_000),
        many("*", "*1\r\n+OK\r\n", 20_000),
        many("*", "*1\r\n-ERR no\r\n", 20_000),
        many("*", "=7\r\ntxt:abc\r\n", 20_000),
        many("*", "%1\r\n:1\r\n,1.5\r\n", 20_000),
        many("*", "~2\r\n:1\r\n(12345678901234567890\r\n", 20_000),
        "-ERR no\r\n".to_owned(),
    ] {
        let shown = &canned[..canned.len().min(40)];
        let mut host = Fake { canned: canned.clone().into_bytes(), ..Fake::default() };
        for call in ["call", "pcall"] {
            let body = format!(
                "redis.setresp(3) local t, full = {{}}, {{('x'):rep(110000000), ('y'):rep(110000000)}} \
                 local _, e = pcall(function() for i = 1, 1e9 do t[i] = redis.{call}('reply') end end) t, full = nil return e"
            );
            let reply = host::eval_with(&mut engine, &body, &mut host);
            let is_error_caught = call == "call" && canned.starts_with('-');
            let end = reply.get(..40).unwrap_or(&reply);
            assert!(reply.contains("not enough memory") || is_error_caught, "{shown}: {end}");
            assert_eq!(
                eval_in(&mut engine, "return redis.call('echo', 'x')"),
                "$1\r\nx\r\n",
                "after {shown}"
            );
        }
    }
}

#[test]
fn memory_ends_while_keys_and_arguments_are_given() {
    let mut engine = Engine::new();
    let long = ["x", "y", "z"].map(|text| text.repeat(100_000_000));
    let args = long.each_ref().map(|text| &text[..]);
    let mut host = Fake::default();
    let reply = host::eval_as(&mut engine, "return 1", &args, &args, &mut host, Proto::Resp2);
    assert!(reply.contains("not enough memory"), "{}", reply.get(..40).unwrap_or(&reply));
    assert_eq!(eval_in(&mut engine, "return #KEYS"), ":0\r\n");
}

#[test]
fn arguments_of_a_command_have_an_end() {
    let reply = eval(
        "local s = string.rep('x', 60000000) local t = {} for i = 1, 100 do t[i] = s end return redis.call('count', unpack(t))",
    );
    assert!(reply.starts_with("-ERR Lua redis lib command arguments are too long"), "{reply}");
}

/// Memory that is not the interpreter's, and which its limit doesn't see: much of it comes of one long string.
#[test]
fn what_our_own_functions_make_of_one_string_has_an_end() {
    let rows = [
        ("return #('x'):rep(100000):gsub('.+', ('%0'):rep(100000))", "resulting string too large"),
        ("return #('x'):rep(100000):gsub('(.+)', ('%1'):rep(100000))", "resulting string too large"),
        ("local t = {} for i = 1, 500 do t[i] = s end redis.log(redis.LOG_NOTICE, unpack(t)) return 1", ":1"),
        (
            "local t = {} for i = 1, 500 do t[i] = s end return redis.acl_check_cmd(unpack(t))",
            "arguments are too long",
        ),
        ("local t = {} for i = 1, 300 do t[i] = s:gmatch('.') end return t[300]()", "$1\r\nx"),
    ];
    for (script, expected) in rows {
        let reply = eval(&format!("local s = string.rep('x', 10000000) {script}"));
        assert!(reply.contains(expected), "{script}: {}", &reply[..reply.len().min(100)]);
    }
    let library = "#!lua name=l\nfor i = 1, 300 do redis.register_function{function_name = 'f' .. i, callback = function() end, \
                   description = ('x'):rep(10000000)} end";
    let loaded = Engine::new().prepare(library.as_bytes(), &mut Fake::default());
    let text = loaded.map(drop).expect_err("it is too much");
    assert!(String::from_utf8_lossy(&text).contains("too long"), "{}", text.escape_ascii());
}

#[test]
fn what_is_written_as_json_has_an_end() {
    for value in ["t", "{a = t}", "{t, 1, {t}}"] {
        let reply = eval(&format!(
            "local s = string.rep('x', 1000000) local t = {{}} for i = 1, 900 do t[i] = s end return cjson.encode({value})"
        ));
        assert!(reply.starts_with("-ERR user_script:1: Cannot serialise, too large"), "{value}: {reply}");
    }
    let reply = eval(
        "local t = {} for i = 1, 70 do t[string.rep('x', 1000000) .. i] = 1 end \
         return #cjson.encode({t, t})",
    );
    assert!(reply.contains("too large"), "{reply}");
}

#[test]
fn a_panic_of_the_hosts_goes_on_when_the_script_has_ended() {
    let mut engine = Engine::new();
    for body in [
        "redis.call('panic') return 1",
        "pcall(redis.call, 'panic') redis.call('set', 'k', 'v') return 1",
        "coroutine.wrap(function() xpcall(function() redis.pcall('panic') end, tostring) end)() return 1",
    ] {
        let mut host = Fake::default();
        let run = std::panic::AssertUnwindSafe(|| host::eval_with(&mut engine, body, &mut host));
        assert!(std::panic::catch_unwind(run).is_err(), "{body}");
        assert!(host.keys.is_empty(), "{body}");
        assert_eq!(eval_in(&mut engine, "return redis.call('echo', 'x')"), "$1\r\nx\r\n", "after {body}");
    }
}

#[test]
fn as_many_captures_as_a_pattern_may_have_are_results_of_all_that_match() {
    for captures in [1, 18, 19, 20, 31, 32] {
        let pattern = format!("{}a%d{}", "(".repeat(captures), ")".repeat(captures));
        for body in [
            format!("local n = 0 for a in string.gmatch('a1a2a3', '{pattern}') do n = n + 1 end return n"),
            format!("local n = 0 string.gsub('a1a2a3', '{pattern}', function(...) n = n + 1 end) return n"),
        ] {
            assert_eq!(eval(&body), ":3\r\n", "{body}");
        }
        let body = format!(
            "return {{select('#', string.gmatch('a1', '{pattern}')()), string.find('a1', '{pattern}')}}"
        );
        assert!(eval(&body).starts_with(&format!("*{}\r\n:{captures}\r\n", captures + 3)), "{body}");
    }
}

#[test]
fn results_are_replies_of_any_shape() {
    let nested = "local t = {} for i = 1, 2000 do t = {t} end return t";
    let wide = "local t = {} for i = 1, 5000 do t[i] = {i, {ok = 'a'}, {err = 'E b'}} end return t";
    assert_eq!(eval(nested), "-ERR reached lua stack limit\r\n");
    assert!(eval(wide).ends_with("*3\r\n:5000\r\n+a\r\n-E b\r\n"));
    let resp3 = "redis.setresp(3) return {{double = 1.5}, {map = {a = {set = {b = true}}}}, true, false, {1, nil, 3}, \
                 {big_number = '12\\n3'}, {verbatim_string = {string = 's', format = 'txt'}}, -0.5, 2^70}";
    assert_eq!(
        host::eval_as(&mut Engine::new(), resp3, &[], &[], &mut Fake::default(), Proto::Resp3),
        "*9\r\n,1.5\r\n%1\r\n$1\r\na\r\n~1\r\n$1\r\nb\r\n#t\r\n#f\r\n*1\r\n:1\r\n(12 3\r\n=5\r\ntxt:s\r\n:0\r\n:-9223372036854775808\r\n"
    );
}
