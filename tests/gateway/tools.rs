//! What the files of this test share.

use sterna_tests::client::Client;
use sterna_tests::http::{Answer, HttpServer};

/// `Authorization` with a user's password.
pub(crate) fn bearer(user: &str, password: &str) -> String {
    format!("Authorization: Bearer {user}:{password}")
}

/// Runs a command that is written as JSON, as a user without a password.
pub(crate) fn run(server: &HttpServer, command: &str) -> Answer {
    server.post("/", "", command)
}

/// The body of an answer that is no error.
#[track_caller]
pub(crate) fn done(answer: Answer) -> String {
    assert!(answer.status < 300, "{answer:?}");
    answer.body
}

/// A field of INFO.
pub(crate) fn info(client: &mut Client, field: &str) -> String {
    let text = client.text(&["INFO", "everything"]);
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    value.unwrap_or_else(|| panic!("no {field} in\n{text}")).to_owned()
}

/// The payload of the next message.
pub(crate) fn message(subscriber: &mut Client) -> String {
    let message = subscriber.value();
    let payload = message.as_slice().and_then(|parts| parts[2].as_bytes()).expect("a message");
    String::from_utf8(payload.to_vec()).expect("text")
}
