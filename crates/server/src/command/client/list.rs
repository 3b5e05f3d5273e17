//! CLIENT ID, INFO, LIST: what is known of connections.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use sterna_command::{Command, Flags, ReplyShape, Spec};
use sterna_keyspace::Steps;
use sterna_protocol::Reply;

use super::super::table::table;
use super::super::{Call, Failure, Run};
use super::filter::{Filter, Of};
use super::{ADMIN, BASE, row};
use crate::connection::client::{Client, ClientId};
use crate::server::Server;

pub(super) const ID: Command<Run> = row(
    Spec {
        name: "id",
        since: "5.0.0",
        summary: "Answers the number of this connection: given once, rising, never reused.",
        reply: &[ReplyShape::Integer],
        ..BASE
    },
    |call| {
        let id = call.connection().client.id;
        call.reply.int(id as i64);
        Ok(())
    },
);

pub(super) const INFO: Command<Run> = row(
    Spec {
        name: "info",
        since: "6.2.0",
        summary: "Answers this connection's line of CLIENT LIST.",
        reply: &[ReplyShape::Verbatim],
        tips: &["nondeterministic_output"],
        ..BASE
    },
    |call| {
        call.show_request();
        let client = Arc::clone(&call.connection().client);
        let text = lines(&[client], call.shard.clock.now_ms);
        call.connection().publish_gauges();
        call.reply.verbatim(text.as_bytes());
        Ok(())
    },
);

pub(super) const LIST: Command<Run> = row(
    Spec {
        name: "list",
        arity: -2,
        flags: ADMIN.union(Flags::LISTS),
        complexity: "O(N), N connections",
        summary: "Lists the connections, all or those that meet the conditions, a line each. NOT- before a condition \
                  turns it round.",
        syntax: "[ID client-id [client-id ...]] [TYPE <NORMAL | MASTER | REPLICA | PUBSUB>] \
                 [USER username] [ADDR ip:port] [LADDR ip:port] [IP ip] [NAME name] [LIB-NAME lib-name] \
                 [LIB-VER lib-ver] [FLAGS flags] [DB db] [MAXAGE maxage] [IDLE idle] [SKIPME <YES | NO>]",
        reply: &[ReplyShape::Verbatim],
        tips: &["nondeterministic_output"],
        ..BASE
    },
    list,
);

fn list(call: &mut Call<'_>) -> Result<(), Failure> {
    let filter = Filter::parse(Of::List, call.args.from(2), call.server())?;
    call.show_request();
    let now_ms = call.shard.clock.now_ms;
    let me = call.connection().client.id;
    let mut clients = candidates(&filter, call.server());
    clients.retain(|client| {
        let is_left_out = client.is_killed.load(Relaxed) || filter.skip_me && client.id == me;
        !is_left_out && filter.matches(client, now_ms)
    });
    let client = Arc::clone(&call.connection().client);
    let own = lines(&[client], now_ms);
    call.connection().publish_gauges();
    let mut lines = Lines { clients: clients.into_iter(), now_ms, me, own, text: String::new() };
    if lines.clients.len() > LINES_PER_STEP && call.may_take_parts() {
        call.shard.reply_in_steps(call.slot, call.row, Box::new(lines));
    } else {
        while lines.step(&mut call.reply) {}
    }
    Ok(())
}

/// Lines that are written together: some 0.3 ms.
const LINES_PER_STEP: usize = 256;

/// The lines of these clients, a few at a time: each says what is so when it is written.
#[derive(Debug)]
struct Lines {
    clients: std::vec::IntoIter<Arc<Client>>,
    now_ms: u64,
    /// Who asks, and the line that counts its request.
    me: ClientId,
    own: String,
    text: String,
}

impl Steps for Lines {
    fn step(&mut self, reply: &mut Reply<'_>) -> bool {
        for client in self.clients.by_ref().take(LINES_PER_STEP) {
            match client.id == self.me {
                true => self.text.push_str(&self.own),
                false => self.text.push_str(&lines(&[client], self.now_ms)),
            }
        }
        if self.clients.len() > 0 {
            return true;
        }
        reply.verbatim(self.text.as_bytes());
        false
    }
}

impl Call<'_> {
    /// Has the client's own line count the request that asks for it, as in Redis. Until its gauges are published again.
    fn show_request(&mut self) {
        let header = |number: usize| 1 + number.to_string().len() + 2;
        let texts: usize = self.args.iter().map(<[u8]>::len).sum();
        let frames: usize = self.args.iter().map(|arg| header(arg.len()) + 2).sum();
        let wire = header(self.args.len()) + frames + texts;
        let connection = self.connection();
        connection.publish_gauges();
        Client::add(&connection.client.input_bytes, wire as u64);
        Client::add(&connection.client.argv_bytes, texts as u64);
    }
}

/// Clients that can meet `filter`: those named by their numbers, in the order named, or else every one.
pub(super) fn candidates(filter: &Filter, server: &Server) -> Vec<Arc<Client>> {
    match filter.ids() {
        Some(ids) => ids.iter().filter_map(|&id| server.client(id)).collect(),
        None => server.clients(),
    }
}

fn lines(clients: &[Arc<Client>], now_ms: u64) -> String {
    let command = |id: u32| table().row(id as usize).full_name.clone();
    let mut text = String::new();
    for client in clients {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", client.describe(now_ms, &command));
    }
    text
}
