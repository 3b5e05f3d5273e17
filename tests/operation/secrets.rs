//! Whatever a row of the command table calls secret is shown by neither SLOWLOG nor MONITOR, however the request ends.

use sterna_config::OPTIONS;
use sterna_protocol::decode::Value;
use sterna_server::command::table::{Row, table};
use sterna_tests::client::{Client, Frame};
use sterna_tests::server::{PATIENCE, Server};

/// No word that the server says by itself.
const SECRET: &str = "pssst";

/// A request that begins with `words`, with a secret wherever its row has one.
fn with_secrets(words: &[&str], secrets: sterna_command::Secrets) -> Vec<Vec<String>> {
    use sterna_command::Secrets::{Behind, From, None, OptionValues, Request};
    let secret = |number: usize| format!("{SECRET}{number}");
    let begin = || words.iter().map(ToString::to_string).collect::<Vec<_>>();
    match secrets {
        None => Vec::new(),
        // As few arguments as there may be, and more.
        From(first) => [1, 2, 3]
            .map(|count| {
                let mut request = begin();
                request.resize(first, "x".to_owned());
                request.extend((0..count).map(secret));
                request
            })
            .into(),
        Behind { word, count } => {
            // The word behind which they stand, in either case.
            [word.to_owned(), word.to_lowercase()]
                .map(|word| {
                    let mut request = begin();
                    request.extend(["3".to_owned(), word]);
                    request.extend((0..count).map(secret));
                    request
                })
                .into()
        }
        OptionValues(first) => {
            let names = OPTIONS.iter().filter(|row| row.is_secret()).map(|row| row.name);
            let foreign = ["masterauth", "tls-key-file-pass", "no-such-option"];
            names
                .chain(foreign)
                .map(|name| {
                    let mut request = begin();
                    request.resize(first, "x".to_owned());
                    request.extend([name.to_owned(), secret(0)]);
                    request
                })
                .collect()
        }
        // Another request within: each that has secrets of its own.
        Request(first) => {
            let inner = rows().filter(|row| !matches!(row.spec.secrets, Request(_)));
            inner
                .flat_map(|row| {
                    let words: Vec<&str> = row.full_name.split('|').collect();
                    with_secrets(&words, row.spec.secrets)
                })
                .map(|inner| {
                    let mut request = begin();
                    request.resize(first, SECRET.to_owned());
                    request.extend(inner);
                    request
                })
                .collect()
        }
    }
}

/// Rows with secrets.
fn rows() -> impl Iterator<Item = &'static Row> {
    table().rows().iter().filter(|row| row.spec.secrets != sterna_command::Secrets::None)
}

/// Answered, in whatever way.
fn ask(client: &mut Client, request: &[String]) -> Value {
    client.send(request);
    client.value()
}

#[test]
fn no_secret_of_any_row_is_shown_by_slowlog_or_monitor() {
    let server = Server::sterna(2, &["--slowlog-log-slower-than", "0", "--slowlog-max-len", "10000"]);
    let (mut admin, mut monitor) = (server.connect(), server.connect());
    // Nobody is kept out by what the requests below do to passwords, or slowed down for them.
    admin.request(&["ACL", "SETUSER", "watcher", "on", "nopass", "+@all", "~*", "&*"]);
    for client in [&mut admin, &mut monitor] {
        client.request(&["AUTH", "watcher", "x"]);
    }
    monitor.request(&["MONITOR"]);
    let mut asked = 0;
    for row in rows() {
        let words: Vec<&str> = row.full_name.split('|').collect();
        for request in with_secrets(&words, row.spec.secrets) {
            assert!(request.iter().any(|word| word.contains(SECRET)), "{request:?} has no secret");
            // As it is, in a transaction, and written otherwise.
            let upper: Vec<String> = request
                .iter()
                .map(|word| if word.contains(SECRET) { word.clone() } else { word.to_uppercase() })
                .collect();
            for request in [&request, &upper] {
                let mut client = server.connect();
                client.send(&["AUTH", "watcher", "x"]);
                client.value();
                ask(&mut client, request);
            }
            let mut client = server.connect();
            client.send(&["AUTH", "watcher", "x"]);
            client.value();
            client.send(&["MULTI"]);
            client.value();
            ask(&mut client, &request);
            client.send(&["EXEC"]);
            client.value();
            asked += 1;
            admin.request(&["CONFIG", "SET", "requirepass", ""]);
        }
    }
    // And what nobody knows: it may be another server's.
    let mut client = server.connect();
    ask(&mut client, &["no-such-command".to_owned(), format!("{SECRET}9")]);
    assert!(asked > 20, "{asked} requests: the table has hardly been looked at");
    admin.send(&["SLOWLOG", "GET", "-1"]);
    let Frame::Bytes(log) = admin.frame(PATIENCE) else { panic!("no log") };
    let log = log.escape_ascii().to_string();
    assert!(log.contains("(redacted)") && log.contains("dryrun"), "{log}");
    let at = log.find(SECRET).map(|at| &log[at.saturating_sub(300)..(at + 100).min(log.len())]);
    assert_eq!(at, None, "SLOWLOG shows a secret");
    admin.request(&["PUBLISH", "the", "end"]);
    let mut lines = 0;
    loop {
        let line = String::from_utf8_lossy(monitor.value().as_bytes().expect("a line")).into_owned();
        assert!(!line.contains(SECRET), "MONITOR shows a secret: {line}");
        if line.contains("\"the\" \"end\"") {
            break;
        }
        lines += 1;
    }
    assert!(lines > asked, "{lines} lines: MONITOR has hardly seen anything");
}
