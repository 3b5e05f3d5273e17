//! A file of scripts against Sterna and against a real server: what differs, and whether it is meant to.

use std::fmt::Write as _;

use sterna_command::ReplyShape;
use sterna_protocol::Proto;
use sterna_protocol::decode::Value;
use sterna_server::command::table::{Row, table};

use super::shape::conforms;
use super::view::render;
use super::{Action, Script, Step, View, parse, run};
use crate::client::{Frame, value_of};
use crate::difference;
use crate::server::{Launch, Server};

/// Shards that scripts are run with: alone, and with each client on a shard of its own, or nearly.
const SHARDS: [usize; 2] = [1, 3];

/// What is shown of one script; what comes behind the first differences mostly follows from them.
const SHOWN_MAX: usize = 12;

/// Words of steps whose replies depend on how much time has passed since the step before.
const CLOCKS: [&str; 14] = [
    "EX", "PX", "TTL", "PTTL", "HTTL", "HPTTL", "EXPIRE", "PEXPIRE", "HEXPIRE", "HPEXPIRE", "IDLETIME",
    "FREQ", "SLEEP", "PAUSE",
];

/// How often a script with such steps is played at most: what differs because one server had to wait for its turn does so once.
const PLAYS_MAX: usize = 4;

/// Servers that were started with the same arguments.
struct Servers {
    reference: Server,
    sterna: Vec<Server>,
}

impl Servers {
    fn start(args: &[String]) -> Servers {
        Servers {
            reference: Launch::reference().args(args).start(),
            sterna: SHARDS.iter().map(|&shards| Launch::shards(shards).args(args).start()).collect(),
        }
    }
}

/// Runs every script of a file and panics with all that differs.
pub fn compare_file(file: &str, text: &str) {
    let shared = Servers::start(&[]);
    let major = major_version(&shared.reference);
    let mut report = String::new();
    let mut failed = 0;
    for script in parse(file, text) {
        let before = report.len();
        for &proto in &script.protos {
            let plays = if depends_on_time(&script) { PLAYS_MAX } else { 1 };
            let mut found = String::new();
            for _ in 0..plays {
                found = if script.server_args.is_empty() {
                    [&shared.reference].into_iter().chain(&shared.sterna).for_each(clear);
                    compare(major, &script, proto, &shared)
                } else {
                    compare(major, &script, proto, &Servers::start(&script.server_args))
                };
                if found.is_empty() {
                    break;
                }
            }
            report.push_str(&found);
        }
        failed += usize::from(report.len() > before);
    }
    assert!(report.is_empty(), "{failed} scripts of {file} differ:\n{report}");
}

fn depends_on_time(script: &Script) -> bool {
    let is_of_time = |step: &Step| {
        step.text.split_whitespace().any(|word| CLOCKS.iter().any(|clock| word.eq_ignore_ascii_case(clock)))
    };
    script.steps.iter().any(is_of_time)
}

/// The major version that a server says it is.
pub fn major_version(server: &Server) -> u32 {
    let info = server.connect().text(&["INFO", "server"]);
    let version = info.lines().find_map(|line| line.strip_prefix("redis_version:"));
    let major = version.and_then(|version| version.split('.').next()).and_then(|major| major.parse().ok());
    major.expect("a server has a version")
}

fn clear(server: &Server) {
    let mut client = server.connect();
    client.request(&["FLUSHALL"]);
    client.leave();
}

/// What differs, as text. `major` is the reference's version.
fn compare(major: u32, script: &Script, proto: Proto, servers: &Servers) -> String {
    let expected = run(script, &servers.reference, proto);
    let (mut text, mut said_before) = (String::new(), Vec::new());
    for server in &servers.sterna {
        let got = run(script, server, proto);
        let faults = faults(major, script, proto, &expected, &got);
        if faults.is_empty() || faults == said_before {
            continue;
        }
        let _ = writeln!(text, "\n== {} ({proto:?}, {})", script.name, server.name());
        for fault in faults.iter().take(SHOWN_MAX) {
            let _ = writeln!(text, "{fault}");
        }
        if faults.len() > SHOWN_MAX {
            let _ = writeln!(text, "  … and {} more", faults.len() - SHOWN_MAX);
        }
        said_before = faults;
    }
    text
}

fn faults(
    major: u32,
    script: &Script,
    proto: Proto,
    expected: &[Vec<Frame>],
    got: &[Vec<Frame>],
) -> Vec<String> {
    let mut faults = Vec::new();
    for (at, step) in script.steps.iter().enumerate() {
        let (Some(expected), Some(got)) = (expected.get(at), got.get(at)) else {
            faults.push(format!("  {}: {}\n    not reached by both", step.line, step.text));
            break;
        };
        if expected.contains(&Frame::Nothing) {
            faults.push(format!("  {}: {}\n    the reference says nothing", step.line, step.text));
        }
        if let Some(fault) = misshapen(step, proto, got) {
            faults.push(format!("  {}: {}\n    {fault}", step.line, step.text));
        }
        if step.since > major {
            continue;
        }
        let [expected, got] = [expected, got].map(|frames| seen(step, frames));
        let differs = expected != got;
        match &step.differs {
            None if differs => {
                faults
                    .push(format!("  {}: {}\n    redis  {expected}\n    sterna {got}", step.line, step.text));
            }
            Some(name) if difference::named(name).is_none() => {
                faults.push(format!("  {}: {}\n    no difference is called {name}", step.line, step.text));
            }
            Some(name) if !differs => {
                faults.push(format!("  {}: {}\n    no longer differs: {name}: {got}", step.line, step.text));
            }
            _ => {}
        }
    }
    faults
}

/// What is compared of the frames of a step, as text.
fn seen(step: &Step, frames: &[Frame]) -> String {
    let texts = frames.iter().map(|frame| match frame {
        Frame::Bytes(bytes) if step.views.is_empty() => bytes.escape_ascii().to_string(),
        Frame::Bytes(bytes) => {
            render(&step.views.iter().fold(value_of(bytes), |value, view| view.apply(value)))
        }
        other => format!("{other:?}"),
    });
    let mut texts: Vec<String> = texts.collect();
    if step.views.contains(&View::Sorted) {
        texts.sort();
    }
    texts.join(" | ")
}

/// What is wrong with the shape of a reply of Sterna's, going by its command's row.
fn misshapen(step: &Step, proto: Proto, frames: &[Frame]) -> Option<String> {
    let Action::Request(args, _) = &step.action else { return None };
    let row = row_of(args)?;
    let values = frames.iter().filter_map(|frame| match frame {
        Frame::Bytes(bytes) => Some(value_of(bytes)),
        _ => None,
    });
    values
        .filter(|value| !is_exempt(row, value))
        // A client may have gone back to RESP2 with HELLO or RESET.
        .find(|value| ![proto, Proto::Resp2].iter().any(|&proto| conforms(row.spec.reply, value, proto)))
        .map(|value| format!("{} declares {:?}, not {}", row.full_name, row.spec.reply, render(&value)))
}

/// Errors and `QUEUED` any command can answer, and before a reply a push may come; PING has a shape of its own for subscribers in RESP2.
fn is_exempt(row: &Row, value: &Value) -> bool {
    match value {
        Value::Error(_) => true,
        Value::Simple(text) => text == b"QUEUED",
        Value::Push(_) => !row.spec.reply.contains(&ReplyShape::Push),
        Value::Array(parts) => {
            row.spec.name == "ping" && parts.first().and_then(Value::as_bytes) == Some(b"pong")
        }
        _ => false,
    }
}

/// The row of the command table that a request means, whether it has as many arguments as that takes or not.
pub fn row_of(args: &[Vec<u8>]) -> Option<&'static Row> {
    let row = table().find(args.first()?)?;
    args.get(1).and_then(|name| table().find_subcommand(row, name)).or(Some(row))
}
