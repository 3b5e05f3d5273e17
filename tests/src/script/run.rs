//! Playing a script to a server, and writing down what comes back.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sterna_protocol::Proto;
use sterna_protocol::decode::Value;

use super::{Action, Script, Step};
use crate::client::{Client, Frame, value_of};
use crate::server::{PATIENCE, Server, wait_for};

/// Between two questions of an `until`.
const AGAIN: Duration = Duration::from_millis(2);

/// Plays `script` and gives back what came in each step. A step in which something is missing is the last.
pub fn run(script: &Script, server: &Server, proto: Proto) -> Vec<Vec<Frame>> {
    let mut stage = Stage { server, proto, clients: BTreeMap::new(), names: BTreeMap::new() };
    let mut came = Vec::new();
    for step in &script.steps {
        let frames = stage.play(step);
        let is_over = frames.contains(&Frame::Nothing);
        came.push(frames);
        if is_over {
            break;
        }
    }
    stage.clients.into_values().for_each(Client::leave);
    came
}

/// The clients of a script while it is played.
struct Stage<'a> {
    server: &'a Server,
    proto: Proto,
    clients: BTreeMap<String, Client>,
    /// Replies that have names.
    names: BTreeMap<String, Vec<u8>>,
}

impl Stage<'_> {
    fn play(&mut self, step: &Step) -> Vec<Frame> {
        let frames = self.act(step);
        if let (Some(name), Some(Frame::Bytes(bytes))) = (&step.name, frames.first()) {
            let value = match value_of(bytes) {
                Value::Int(number) => number.to_string().into_bytes(),
                value => value.as_bytes().unwrap_or_default().to_vec(),
            };
            self.names.insert(name.clone(), value);
        }
        frames
    }

    fn act(&mut self, step: &Step) -> Vec<Frame> {
        match &step.action {
            Action::Raw => {
                self.clients.insert(step.client.clone(), self.server.connect());
                return Vec::new();
            }
            Action::Leave => {
                if let Some(client) = self.clients.remove(&step.client) {
                    client.leave();
                }
                return Vec::new();
            }
            _ => {}
        }
        let filled = match &step.action {
            Action::Request(args, _) | Action::Until(args, _) | Action::Block(args) => self.fill_in(args),
            _ => Vec::new(),
        };
        let server = self.server;
        let client = self.client(&step.client);
        match &step.action {
            Action::Request(_, replies) => {
                client.send(&filled);
                read(client, *replies)
            }
            Action::Until(_, reply) => read_until(client, &filled, reply),
            Action::Block(_) => {
                let waiting = blocked_clients(server);
                client.send(&filled);
                wait_for(&format!("{} in line {}", step.text, step.line), || {
                    (blocked_clients(server) > waiting).then_some(())
                });
                Vec::new()
            }
            Action::Bytes(bytes) => {
                client.send_bytes(bytes);
                Vec::new()
            }
            Action::Read(count) => read(client, *count),
            Action::Closed => read_all(client),
            Action::Quiet => read_quiet(client),
            Action::Raw | Action::Leave => Vec::new(),
        }
    }

    /// The words with replies where their names stand.
    fn fill_in(&self, args: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let value = |arg: &Vec<u8>| str::from_utf8(arg).ok().and_then(|name| self.names.get(name)).cloned();
        args.iter().map(|arg| value(arg).unwrap_or_else(|| arg.clone())).collect()
    }

    fn client(&mut self, name: &str) -> &mut Client {
        let (server, proto) = (self.server, self.proto);
        self.clients
            .entry(name.to_owned())
            .or_insert_with(|| if proto == Proto::Resp3 { server.connect_resp3() } else { server.connect() })
    }
}

/// How many clients wait for others.
fn blocked_clients(server: &Server) -> u64 {
    let mut client = server.connect();
    let info = client.text(&["INFO", "clients"]);
    client.leave();
    let line = info.lines().find_map(|line| line.strip_prefix("blocked_clients:"));
    line.and_then(|count| count.trim().parse().ok()).expect("a server counts its blocked clients")
}

fn read(client: &mut Client, count: usize) -> Vec<Frame> {
    let mut frames = Vec::new();
    for _ in 0..count {
        frames.push(client.frame(PATIENCE));
        if !matches!(frames.last(), Some(Frame::Bytes(_))) {
            break;
        }
    }
    frames
}

fn read_until(client: &mut Client, args: &[Vec<u8>], reply: &[u8]) -> Vec<Frame> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        client.send(args);
        let frame = client.frame(PATIENCE);
        let is_it = matches!(&frame, Frame::Bytes(bytes) if bytes.trim_ascii_end() == reply);
        if is_it || Instant::now() > deadline {
            return vec![frame];
        }
        std::thread::sleep(AGAIN);
    }
}

fn read_all(client: &mut Client) -> Vec<Frame> {
    let mut frames = Vec::new();
    loop {
        frames.push(client.frame(PATIENCE));
        if !matches!(frames.last(), Some(Frame::Bytes(_))) {
            return frames;
        }
    }
}

/// All that comes before the answer to a PING, and that answer, whatever it is in the client's state.
fn read_quiet(client: &mut Client) -> Vec<Frame> {
    const WORD: &[u8] = b"anything-more";
    client.send(&[b"PING", WORD]);
    let mut frames = Vec::new();
    loop {
        let frame = client.frame(PATIENCE);
        let is_last = match &frame {
            Frame::Bytes(bytes) => {
                bytes.windows(WORD.len()).any(|window| window == WORD)
                    || bytes.starts_with(b"+QUEUED")
                    || bytes.starts_with(b"-")
            }
            _ => true,
        };
        frames.push(frame);
        if is_last {
            return frames;
        }
    }
}
