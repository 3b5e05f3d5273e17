//! Writes small inputs to begin with into `seeds/`: the journal's golden files, and what a few commands come to.

use std::fs;
use std::path::Path;

use sterna_config::Config;
use sterna_fuzz::keys::Keys;
use sterna_protocol::encode;

/// Commands that leave behind one of everything.
const COMMANDS: [&str; 60] = [
    "SET s text EX 1000",
    "SET n 12345",
    "APPEND s more",
    "XADD x 1-1 f v",
    "XADD x 2-1 f v g w",
    "XADD x 3-1 f 5",
    "XADD x 4-1 f -70000",
    "XDEL x 2-1",
    "XGROUP CREATE x g 0",
    "XREADGROUP GROUP g alice COUNT 1 STREAMS x >",
    "XREADGROUP GROUP g bob COUNT 1 STREAMS x >",
    "XACK x g 1-1",
    "XCLAIM x g alice 0 3-1",
    "XNACK x g FAIL IDS 1 3-1",
    "XADD x IDMP p 1 5-1 f v",
    "XTRIM x MAXLEN 2",
    "XSETID x 9-9",
    "XGROUP SETID x g 3-1",
    "XGROUP CREATECONSUMER x g carol",
    "XGROUP DELCONSUMER x g bob",
    "HSET h a 1 b two",
    "HINCRBY h a 5",
    "HEXPIRE h 1000 FIELDS 1 b",
    "HSETEX h PX 5000 FIELDS 1 c 3",
    "HPERSIST h FIELDS 1 b",
    "HGETDEL h FIELDS 2 b c",
    "HSET l 01234567890123456789012345678901234567890123456789012345678901234 v w 2",
    "HPEXPIREAT l 9999999999999 FIELDS 1 w",
    "EXPIRE n 500",
    "DEL s",
    "RPUSH q a 1 -70000",
    "LPUSH q 01234567890123456789012345678901234567890123456789012345678901234567890",
    "LINSERT q BEFORE 1 b",
    "LSET q 0 z",
    "LREM q 0 a",
    "LTRIM q 0 2",
    "LMOVE q r LEFT RIGHT",
    "LMPOP 2 q r LEFT",
    "SADD t 1 2 300",
    "SADD t 70000 -9000000000",
    "SADD t a b",
    "SREM t 2",
    "SPOP t 2",
    "SMOVE t u 1",
    "SUNIONSTORE w t u",
    "ZADD z 1 a 2.5 b -inf c",
    "ZADD z 1 01234567890123456789012345678901234567890123456789012345678901234567890",
    "ZINCRBY z 3 a",
    "ZADD z GT 9 b",
    "ZPOPMIN z",
    "ZREMRANGEBYRANK z 0 0",
    "ZRANGESTORE y z 0 -1",
    "GEOADD geo 13.36 38.11 p",
    "PFADD p a b c",
    "SETBIT bits 100 1",
    "BITFIELD bits SET u8 0 5",
    "SETRANGE bits 3 xx",
    "COPY q q2",
    "RENAME z z2",
    "SWAPDB 0 1",
];

fn write(target: &str, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join(name), bytes)
}

fn main() -> std::io::Result<()> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in fs::read_dir(here.join("../crates/journal/tests/golden/version-1"))? {
        let path = file?.path();
        let target = path.extension().and_then(|extension| extension.to_str()).unwrap_or("manifest");
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        write(target, &name, &fs::read(&path)?)?;
    }
    let (mut keys, mut requests) = (Keys::default(), vec![20]);
    for (number, line) in COMMANDS.iter().enumerate() {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        keys.run(&words);
        encode::request(&mut requests, &words);
        if let Some(dump) = keys.run(&[b"DUMP", words[1]]).filter(|dump| dump.len() > 20) {
            let at = dump.iter().position(|&byte| byte == b'\n').unwrap_or_default() + 1;
            write("restore", &number.to_string(), &dump[at..dump.len() - 12])?;
        }
        write("effects", &number.to_string(), &[&[50], keys.effects()].concat())?;
    }
    write("request", "array", &requests)?;
    write("request", "inline", format!("\n{}\r\n", COMMANDS.join("\r\n")).as_bytes())?;
    let mut config = Vec::new();
    for (name, value) in Config::default().get(&[b"*"]) {
        config.extend_from_slice(&[&name, &b" \""[..], &value, b"\"\n"].concat());
    }
    for (name, bytes) in SCRIPT_INPUTS {
        write("script", name, bytes)?;
    }
    for (name, bytes) in VALUES {
        write("values", name, bytes)?;
    }
    for (name, opening, levels) in
        [("deep-json", &b"["[..], 31), ("deep-msgpack", b"\x91", 31), ("deeper", b"\x91", 40)]
    {
        let closing = if opening == b"[" { b"]" } else { b"\x01" };
        write("values", name, &[opening.repeat(levels), closing.repeat(levels)].concat())?;
    }
    write("values", "many", &[1; 1001])?;
    // Deeper than anything that is read or written may nest.
    for (name, opening) in [("deep-json", &b"["[..]), ("deep-msgpack", b"\x91"), ("deep-reply", b"*1\r\n")] {
        write("script", name, &opening.repeat(2000))?;
    }
    for (number, text) in PAGE_MESSAGES.iter().enumerate() {
        write("pusher", &number.to_string(), text.as_bytes())?;
    }
    for (name, bytes) in TOKENS {
        write("token", name, bytes)?;
    }
    for (name, text) in HANDED_OVER {
        write("handover", name, text.as_bytes())?;
    }
    // Text in two frames around a ping, a close frame, and a length that nobody has.
    write(
        "websocket",
        "messages",
        b"\x02\x01\x81\0\0\0\0a\x89\x81\0\0\0\0p\x80\x82\x01\x02\0\0\xc2\xab\x88\x82\0\0\0\0\x03\xe8",
    )?;
    write("websocket", "long", b"\x02\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0")?;
    write("config", "defaults", &config)
}

/// What pages say, and what is published.
const PAGE_MESSAGES: &[&str] = &[
    r#"{"event":"pusher:subscribe","data":{"auth":"k:s","channel_data":"{\"user_id\":1}","channel":"presence-c"}}"#,
    r#"{"event":"pusher:signin","data":"{\"auth\":\"k:s\",\"user_data\":\"{}\"}"}"#,
    r#"{"event":"client-e","channel":"private-c","data":{"a":[1,null,"\u0041"]}}"#,
    r#"{"event":"e","data":"text","user_id":"7","socket_id":"12.34"}"#,
    r#"{"user_id":10,"user_info":{"name":"n"}}"#,
    r#"{"id":"10"}"#,
    "hello",
];

/// Changes to a token, tokens, claims, headers with claims, and names.
const TOKENS: &[(&str, &[u8])] = &[
    ("changed", b"\0\x80\x01A"),
    ("last", b"\0\xff\x01"),
    ("longer", b"\0\xff\0="),
    ("unsigned", b"\x01eyJhbGciOiJub25lIn0.eyJleHAiOjIwMDB9."),
    (
        "claims",
        b"\x02{\"exp\":2000,\"nbf\":1,\"sub\":\"al ice\",\"channels\":[\"news\",\"c*\"],\"patterns\":[\"c*\"],\
          \"streams\":[\"s\"],\"publish\":[\"p\"]}",
    ),
    ("rules", b"\x02{\"exp\":1e300,\"channels\":[\"x) (+@all ~* &*\"]}"),
    ("words", b"\x02{\"exp\":1001.5,\"channels\":[\"+@all\",\"~*\",\"allchannels\",\"a\\u000bb\"],\"publish\":[\"*\"]}"),
    ("algorithm", b"\x03{\"alg\":\"none\"}\n{\"exp\":2000}"),
    ("key", b"\x03{\"alg\":\"HS256\",\"kid\":\"a\"}\n{\"exp\":2000,\"streams\":[\"s\"]}"),
    ("names", b"\x04chat:*\n+@all\n~*\n>password\nresetchannels\n*"),
    ("space", b"\x04a +@all"),
    ("parenthesis", b"\x04a)\n(+@all"),
];

/// How a server is set up, what follows GET, and headers.
const HANDED_OVER: &[(&str, &str)] = &[
    (
        "events",
        "\0/v1/events?channel=a%20b&channel=r1&pattern=c*&stream=s&since=earliest\nhost: 127.0.0.1:8079",
    ),
    (
        "origin",
        "\x07/v1/events?channel=r\nhost: [::1]\norigin: https://app.example\nlast-event-id: 00c0ffee00c0ffee:5-1",
    ),
    (
        "cookie",
        "\x06/v1/events?stream=s&last_event_id=00c0ffee00c0ffee:89abcdef:0.5-1,1.6-2\norigin: http://127.0.0.1:3000\n\
         host: localhost\ncookie: a=b; sterna_token=eyJh.eyJl.c2ln",
    ),
    ("any", "\x0a/v1/events?channel=a\norigin: https://other.example\ncookie: sterna_token=eyJh.eyJl.c2ln"),
    ("query", "\x02/v1//e+v%2Fents/?channel&_token=eyJh.eyJl.c2ln&since="),
    ("basic", "\0/v1/events?pattern=+%2B&_token=a%3Ab\nauthorization: Basic YWxpY2U6YTpi"),
    ("bearer", "\0/v1/events?stream=%00\nauthorization: bearer alice:secret"),
    ("bracket", "\0/v1/events?channel=a\nhost: 127.0.0.1]"),
    (
        "websocket",
        "\0/app/key?protocol=7\nupgrade: websocket\nconnection: keep-alive, Upgrade\nsec-websocket-version: 13\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
    ),
];

/// MessagePack and JSON: a job as BullMQ sends it, keys that no table takes, numbers of all kinds, and arrays with holes.
const VALUES: &[(&str, &[u8])] = &[
    ("job", b"\x9a\xaabull:load:\xa0\xa6square\xcbBz\"\x94\x07x\x80\0\xc0\xc0\xc0\xc0\xc0\xc0"),
    ("options", b"\xde\0\x01\xa8attempts\0"),
    ("key-nil", b"\x81\xc0\x01"),
    ("key-nan", b"\x81\xcb\x7f\xf8\0\0\0\0\0\x01\x01"),
    ("keys", b"\x84\x01\x02\xc3\x03\x91\x01\x04\xca\x3f\xc0\0\0\xa1x"),
    ("holes", b"\x82\x01\xa1a\x0c\xa1b\x82\x01\xa1a\x0a\xa1b\x81\xcf\0\0\0\x01\0\0\0\0\x01"),
    (
        "numbers",
        b"\x9f\xcc\xff\xcd\xff\xff\xce\xff\xff\xff\xff\xcf\xff\xff\xff\xff\xff\xff\xff\xff\xd0\x80\xd1\x80\0\xd2\x80\0\0\0\
          \xd3\x80\0\0\0\0\0\0\0\xca\x7f\x80\0\0\xcb\x3f\xb9\x99\x99\x99\x99\x99\x9a\xe0\x7f\xcb\x80\0\0\0\0\0\0\0\xc2\xc1",
    ),
    ("string", b"\xd9\x03\x08\"/\xda\0\x01\x7f\xdb\0\0\0\x01\0\xdb\xff\xff\xff\xff"),
    ("json", b"{\"a\":[1,2.5,\"\\u00e9/\",null,{}],\"1\":[[],{\"b\":-1e300}]}"),
];

/// Small inputs of each kind that the target `script` takes.
const SCRIPT_INPUTS: &[(&str, &[u8])] = &[
    ("script", b"local t = {} for i = 1, 9 do t[i] = redis.call('x', i) end x = 1 return t"),
    ("stop", b"while true do pcall(function() while true do end end) end"),
    ("range", b"return unpack({}, 0, 2147483647)"),
    ("reply", b"*3\r\n$1\r\na\r\n%1\r\n+k\r\n,1.5\r\n=5\r\ntxt:v\r\n"),
    ("lines", b"-ERR a\r\n:1\r\n\0"),
    ("json", b"{\"a\":[1,2.5,\"\\u00e9\",null,{}]}"),
    ("msgpack", b"\x93\x01\xa1x\x81\xa1k\xcb\x3f\xf8\0\0\0\0\0\0"),
    ("crlf", b"return {{err = 'a\\r\\n:1\\r\\n\\0c'}, {ok = 'x\\r\\n+y\\0'}, redis.error_reply('z\\r\\n$1\\r\\nb')}"),
    ("reply-nul", b"*2\r\n$5\r\n\0\r\n\r\n\r\n+a\0b\r\n"),
    ("reply-error", b"*2\r\n-ERR a\r\n!7\r\nERR \r\n\0\r\n"),
    ("depth", b"local t = {} for i = 1, 20000 do t = {t} end return {{pcall(cjson.encode, t)}, {pcall(cmsgpack.pack, t)}, t}"),
    ("circle", b"local t = {} t[1] = t return {{pcall(cjson.encode, t)}, {pcall(cmsgpack.pack, t)}, t}"),
    ("range-31", b"return {{pcall(unpack, {}, -2147483648, 2147483647)}, {pcall(unpack, {}, 1, 2147483648)}}"),
    (
        "changes-encoded",
        b"local t = setmetatable({1}, {__index = function(t, k) for i = 1, 9 do t[k + i] = {} end t[1] = nil return t end}) \
          return {{pcall(cjson.encode, t)}, {pcall(cmsgpack.pack, t)}, {pcall(table.concat, t, ',', 1, 50)}, t}",
    ),
    (
        "changes-sorted",
        b"local t = {5, 4, 3, 2, 1} table.sort(t, function(a, b) for i = 1, 5 do t[i] = nil end t[9] = a return a < b end) return t",
    ),
    (
        "changes-replaced",
        b"local t = {} return {('abc'):gsub('.', setmetatable(t, {__index = function(t, k) t[k] = k:rep(9) return t[k] end}))}",
    ),
    (
        "changes-walked",
        b"local t = {1, 2, 3} for k in pairs(t) do t[k] = nil t[k + 100] = k collectgarbage() end return {next(t, 1), t}",
    ),
    ("struct", b">!8i4c0xs"),
    ("library", b"#!lua name=l\nredis.register_function('f', function(keys, args) return redis.call('get', keys[1]) end)"),
    ("pattern", b"^(%a+)%s*[^x-z]-%b()%1$"),
];
