//! Users last: in an `aclfile`, or as lines of the configuration; what can't be kept is refused.

use std::fs;
use std::time::Duration;

use sterna_protocol::decode::Value;
use sterna_tests::client::{Client, Frame};
use sterna_tests::faults::Faults;
use sterna_tests::server::{Launch, PATIENCE, Server, wait_for};

fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

/// The error that `line` is answered with.
fn error(client: &mut Client, line: &str) -> String {
    client.send(&words(line));
    client.error()
}

fn with_aclfile(shards: usize, users: &str) -> Launch {
    Launch::shards(shards).file("users.acl", users).args(&["--aclfile", "{folder}/users.acl"])
}

fn acl_list(server: &Server) -> Value {
    server.connect().request(&["ACL", "LIST"])
}

#[test]
fn users_of_an_aclfile_are_there_at_the_start_and_saved_ones_at_the_next() {
    for shards in [1, 2] {
        let mut server = with_aclfile(shards, "user bob on >secret ~a* &c +@read (+set ~b)\n").start();
        let mut bob = server.connect();
        bob.request(&words("AUTH bob secret"));
        bob.request(&words("GET a"));
        assert!(error(&mut bob, "GET c").starts_with("NOPERM"));
        let mut admin = server.connect();
        admin.request(&words("ACL SETUSER carl on nopass %R~x resetchannels -@all +get"));
        admin.request(&words("ACL SETUSER bob off"));
        admin.request(&["ACL", "SAVE"]);
        admin.request(&words("ACL SETUSER carl +set"));
        let saved = fs::read_to_string(server.path("users.acl")).expect("it is there");
        assert!(saved.contains("user carl on nopass") && !saved.contains("secret"), "{saved}");
        server.restart();
        let Value::Array(list) = acl_list(&server) else { panic!("no list") };
        let lines: Vec<_> = list
            .iter()
            .map(|line| String::from_utf8_lossy(line.as_bytes().expect("text")).into_owned())
            .collect();
        assert_eq!(lines.join("\n") + "\n", saved);
    }
}

#[test]
fn acl_load_takes_the_file_as_a_whole_or_not_at_all_and_connections_follow() {
    for shards in [1, 2] {
        let server =
            with_aclfile(shards, "user bob on nopass &news +@all\nuser carl on nopass &* +@all\n").start();
        let path = server.path("users.acl");
        let mut admin = server.connect();
        let login = |name: &str| {
            let mut clients: Vec<Client> = (0..4).map(|_| server.connect()).collect();
            clients.iter_mut().for_each(|client| {
                client.request(&["AUTH", name, "x"]);
                client.request(&words("SUBSCRIBE news"));
            });
            clients
        };
        let (mut bobs, mut carls) = (login("bob"), login("carl"));
        let before = acl_list(&server);
        fs::write(&path, "user bob on nopass +nosuch\n\nbob\nuser carl\nuser carl\n")
            .expect("it can be written");
        let told = error(&mut admin, "ACL LOAD");
        assert!(told.contains("users.acl:1: Error in applying operation '+nosuch'"), "{told}");
        assert!(told.contains("users.acl:3 should start with user keyword"), "{told}");
        assert!(told.contains("Duplicate user 'carl' found on line 5."), "{told}");
        assert_eq!(acl_list(&server), before);

        // Bob may still listen, carl is gone.
        fs::write(&path, "user bob on nopass &news ~x +subscribe +ping +get\n").expect("it can be written");
        admin.request(&["ACL", "LOAD"]);
        for carl in &mut carls {
            assert_eq!(carl.frame(PATIENCE), Frame::Closed);
        }
        assert_eq!(admin.int(&words("PUBLISH news x")), 4);
        bobs.iter_mut().for_each(|bob| {
            bob.value();
            bob.assert_quiet();
        });
        fs::write(&path, "user bob on nopass &other +@all\n").expect("it can be written");
        admin.request(&["ACL", "LOAD"]);
        for bob in &mut bobs {
            assert_eq!(bob.frame(PATIENCE), Frame::Closed);
        }
        fs::remove_file(&path).expect("it is there");
        assert!(error(&mut admin, "ACL LOAD").contains("No such file or directory"));
        admin.request(&["ACL", "SAVE"]);
        assert!(fs::read_to_string(&path).expect("it is there again").contains("user bob on"));
    }
}

#[test]
fn a_start_with_an_aclfile_that_cannot_be_used_fails_and_names_the_line() {
    for (users, expected) in [
        ("user bob on\nuser carl +nosuch\n", "users.acl:2: Error in applying operation '+nosuch'"),
        ("# bob\n", "users.acl:1 should start with user keyword"),
        ("user bob on\nuser bob on\n", "Duplicate user 'bob' found on line 2."),
    ] {
        let ended = with_aclfile(1, users).run();
        assert!(!ended.status.success() && ended.log.contains(expected), "{}", ended.log);
    }
    let ended = Launch::shards(1).args(&["--aclfile", "{folder}/none.acl"]).run();
    assert!(!ended.status.success() && ended.log.contains("none.acl': No such file"), "{}", ended.log);
    let both = "user bob on\naclfile {folder}/users.acl\n";
    let launch =
        Launch::shards(1).file("users.acl", "").file("redis.conf", both).config("{folder}/redis.conf");
    let ended = launch.run();
    assert!(!ended.status.success() && ended.log.contains("redis.conf:2: "), "{}", ended.log);
}

#[test]
fn a_transaction_reads_or_writes_a_file_of_settings_once() {
    for shards in [1, 2] {
        let server = with_aclfile(shards, "").start();
        let mut client = server.connect();
        for second in ["ACL SAVE", "ACL LOAD", "CONFIG REWRITE"] {
            for line in ["MULTI", "ACL SETUSER bob on", "ACL SAVE"] {
                client.request(&words(line));
            }
            let refused = error(&mut client, second);
            assert!(refused.starts_with("ERR a transaction reads or writes a file"), "{second}: {refused}");
            assert!(error(&mut client, "EXEC").starts_with("EXECABORT"), "{second}");
        }
        for line in ["MULTI", "ACL SETUSER bob on", "ACL SAVE", "ACL SETUSER bob off"] {
            client.request(&words(line));
        }
        let done = Value::Array(vec![Value::Simple(b"OK".to_vec()); 3]);
        assert_eq!(client.request(&["EXEC"]), done);
        // As of its end.
        assert!(fs::read_to_string(server.path("users.acl")).expect("it is there").contains("user bob off"));
    }
}

#[test]
fn without_an_aclfile_load_and_save_say_what_to_do() {
    let server = Server::sterna(1, &[]);
    let mut client = server.connect();
    for line in ["ACL LOAD", "ACL SAVE"] {
        assert!(
            error(&mut client, line)
                .starts_with("ERR This Redis instance is not configured to use an ACL file.")
        );
    }
}

#[test]
fn users_survive_a_restart_through_config_rewrite() {
    for (main, included) in [
        ("", None),
        ("user bob on >x ~a* +get\n", None),
        ("user bob on >x ~a* +get\ninclude {folder}/more.conf\n", Some("user carl on nopass (+set ~x)\n")),
    ] {
        let mut launch = Launch::shards(2).file("redis.conf", main);
        if let Some(text) = included {
            launch = launch.file("more.conf", text);
        }
        let mut server = launch.config("{folder}/redis.conf").start();
        let mut admin = server.connect();
        admin.request(&words("ACL SETUSER dora on >y ~b* &c* +@read -get (%R~x +set)"));
        admin.request(&words("ACL SETUSER bob on >z"));
        admin.request(&["CONFIG", "REWRITE"]);
        let before = acl_list(&server);
        let text = fs::read_to_string(server.path("redis.conf")).expect("it is there");
        assert!(!text.contains(">y"), "no password in the clear: {text}");
        server.restart();
        assert_eq!(acl_list(&server), before, "{text}");
        // What can't be written is an error, and nothing is written then.
        if included.is_some() {
            let mut admin = server.connect();
            admin.request(&words("ACL DELUSER carl"));
            assert!(error(&mut admin, "CONFIG REWRITE").contains("user 'carl' stands in an included file"));
            assert_eq!(fs::read_to_string(server.path("redis.conf")).expect("it is there"), text);
        }
    }
}

#[test]
fn config_rewrite_writes_no_users_beside_an_aclfile() {
    let launch =
        with_aclfile(1, "user bob on\n").file("redis.conf", "port 1\n").config("{folder}/redis.conf");
    let mut server = launch.start();
    let mut admin = server.connect();
    admin.request(&words("ACL SETUSER carl on"));
    admin.request(&["CONFIG", "REWRITE"]);
    let text = fs::read_to_string(server.path("redis.conf")).expect("it is there");
    assert!(text.contains("aclfile") && !text.contains("user carl"), "{text}");
    server.restart();
    server.connect().assert_quiet();
}

#[test]
fn acl_log_keeps_so_many_entries_of_bounded_length() {
    let server = Server::sterna(2, &["--acllog-max-len", "5"]);
    let mut admin = server.connect();
    admin.request(&words("ACL SETUSER bob on nopass ~a +@all"));
    let mut bob = server.connect();
    bob.request(&words("AUTH bob x"));
    for nth in 0..8 {
        bob.send(&["GET", &format!("{nth}{}", "k".repeat(1 << 20))]);
        assert!(bob.error().starts_with("NOPERM"));
    }
    admin.send(&words("ACL LOG 100"));
    let Frame::Bytes(log) = admin.frame(PATIENCE) else { panic!("no log") };
    assert!(log.starts_with(b"*5\r\n") && log.len() < 10_000, "{} bytes", log.len());
    admin.request(&words("CONFIG SET acllog-max-len 0"));
    bob.send(&["GET", "k"]);
    bob.error();
    assert_eq!(admin.request(&["ACL", "LOG"]), Value::Array(Vec::new()));
}

/// The same rules under both settings, as Redis lists them; who was there before keeps what he had.
#[test]
fn new_users_begin_with_the_channels_that_acl_pubsub_default_says() {
    let list = |client: &mut Client| {
        let Value::Array(list) = client.request(&["ACL", "LIST"]) else { panic!("no list") };
        let text = |line: &Value| String::from_utf8_lossy(line.as_bytes().expect("text")).into_owned();
        list.iter().map(text).collect::<Vec<_>>().join("\n")
    };
    let told = |launch: Launch| {
        let server = launch.start();
        let mut admin = server.connect();
        let mut seen = Vec::new();
        for setting in ["resetchannels", "allchannels", "ALLCHANNELS"] {
            admin.request(&["CONFIG", "SET", "acl-pubsub-default", setting]);
            let name = format!("user-{}", seen.len());
            admin.request(&["ACL", "SETUSER", &name, "on", "nopass", "+@all", "(+get ~x)"]);
            admin.request(&["ACL", "SETUSER", "own", "reset", "(+set ~y)"]);
            admin.request(&["ACL", "SETUSER", "kept", "on", "nopass", "&news", "+@all"]);
            admin.request(&["ACL", "SETUSER", "kept", "resetchannels", "&news"]);
            seen.push(list(&mut admin));
            seen.push(admin.text_at(&["CONFIG", "GET", "acl-pubsub-default"], 1));
            let mut user = server.connect();
            user.request(&["AUTH", &name, "x"]);
            user.send(&["PUBLISH", "c", "m"]);
            seen.push(format!("{:?}", user.value()));
        }
        admin.send(&["CONFIG", "SET", "acl-pubsub-default", "some"]);
        seen.push(admin.error());
        seen
    };
    // What may and what may not is listed in different words where the rest of the rules is: only these are compared.
    let expected = told(Launch::reference());
    let found = told(Launch::shards(2));
    assert_eq!(expected, found);
}

#[test]
fn user_lines_and_files_follow_acl_pubsub_default_wherever_it_stands() {
    let lines = "user bob on nopass +@all\nuser carl on nopass resetchannels &news +@all (+get ~a)\n";
    let expected = "user bob on nopass sanitize-payload &* +@all";
    let other = "user carl on nopass sanitize-payload resetchannels &news +@all (~a &* -@all +get)";
    for text in [
        format!("{lines}acl-pubsub-default allchannels\n"),
        format!("acl-pubsub-default allchannels\n{lines}"),
    ] {
        let mut server = Launch::shards(2).file("redis.conf", &text).config("{folder}/redis.conf").start();
        for _ in 0..2 {
            let list = format!("{:?}", acl_list_texts(&server));
            assert!(list.contains(expected) && list.contains(other), "{list}");
            server.connect().request(&["CONFIG", "REWRITE"]);
            server.restart();
        }
    }
    let server = with_aclfile(1, lines).args(&["--acl-pubsub-default", "allchannels"]).start();
    let list = format!("{:?}", acl_list_texts(&server));
    assert!(list.contains(expected) && list.contains(other), "{list}");
    let mut admin = server.connect();
    admin.request(&["CONFIG", "SET", "acl-pubsub-default", "resetchannels"]);
    fs::write(server.path("users.acl"), lines).expect("the folder can be written");
    admin.request(&["ACL", "LOAD"]);
    let list = format!("{:?}", acl_list_texts(&server));
    assert!(list.contains("user bob on nopass sanitize-payload resetchannels +@all"), "{list}");
}

fn acl_list_texts(server: &Server) -> Vec<String> {
    let Value::Array(list) = acl_list(server) else { panic!("no list") };
    list.iter().map(|line| String::from_utf8_lossy(line.as_bytes().expect("text")).into_owned()).collect()
}

#[test]
fn acl_log_says_where_a_denied_request_came_from() {
    /// The newest entry: context, object, and the command that the client's line shows.
    fn newest(admin: &mut Client) -> (String, String, String) {
        let text = |value: &Value| match value {
            Value::Bulk(text) => String::from_utf8_lossy(text).into_owned(),
            _ => String::new(),
        };
        let log = admin.request(&words("ACL LOG 1"));
        let fields = log.as_slice().expect("entries")[0].as_slice().expect("fields").to_vec();
        let of = |name: &str| {
            let pair = fields.chunks(2).find(|pair| text(&pair[0]) == name);
            text(&pair.expect("it is there")[1])
        };
        let client = of("client-info");
        let command = client.split(' ').find_map(|part| part.strip_prefix("cmd=")).expect("a command");
        (of("context"), of("object"), command.to_owned())
    }
    for shards in [1, 2] {
        let server = Server::sterna(shards, &[]);
        let (mut admin, mut bob) = (server.connect(), server.connect());
        admin.request(&words("ACL SETUSER bob on >secret ~* +@all -incr"));
        bob.request(&words("AUTH bob secret"));
        let mut step = |line: &[&str], expected: [&str; 3]| {
            bob.send(line);
            bob.value();
            let found = newest(&mut admin);
            assert_eq!([&found.0[..], &found.1, &found.2], expected, "{line:?}");
        };
        step(&["INCR", "k"], ["toplevel", "incr", "incr"]);
        step(&["EVAL", "return redis.pcall('Incr', 'k')", "0"], ["lua", "incr", "eval"]);
        step(&["AuTH", "bob", "wrong"], ["toplevel", "AuTH", "auth"]);
        step(&["MULTI"], ["toplevel", "AuTH", "auth"]);
        step(&["INCR", "k"], ["multi", "incr", "incr"]);
        step(&["DISCARD"], ["multi", "incr", "incr"]);
        bob.request(&["MULTI"]);
        bob.request(&["GET", "k"]);
        admin.request(&words("ACL SETUSER bob -get"));
        bob.request(&["EXEC"]);
        assert_eq!(newest(&mut admin), ("multi".to_owned(), "get".to_owned(), "exec".to_owned()));
    }
}

/// Changing the users takes a lock that comes before that of the scripts, which the script holds.
#[test]
fn users_that_have_been_read_beside_a_long_script_count_when_that_has_ended() {
    let launch = Launch::shards(1).args(&["--appendonly", "no", "--busy-reply-threshold", "20"]);
    fs::create_dir(launch.path("settings")).expect("a folder can be made");
    let launch = launch.file("settings/users.acl", "user bob on >secret ~* +@all\n");
    let (launch, faults) = Faults::under(launch, "settings");
    let server = launch.args(&["--aclfile", "{folder}/settings/users.acl"]).start();
    let text = "user default on nopass ~* &* +@all\nuser carol on nopass +@all\n";
    fs::write(server.path("settings/users.acl"), text).expect("it can be written");
    faults.delay_reads(Duration::from_secs(3600));
    let [mut loads, mut runs, mut other] = [(); 3].map(|()| server.connect());
    loads.send(&["ACL", "LOAD"]);
    wait_for("the file to be read", || {
        other.text(&["CLIENT", "LIST"]).contains("cmd=acl|load ").then_some(())
    });
    runs.send(&["EVAL", "while true do end", "0"]);
    wait_for("the script to run for long", || {
        matches!(other.try_request(&["GET", "k"])?, Value::Error(text) if text.starts_with(b"BUSY"))
            .then_some(())
    });
    faults.mend();
    for _ in 0..100 {
        other.send(&["GET", "k"]);
        assert!(other.error().starts_with("BUSY"));
    }
    assert_eq!(other.request(&["SCRIPT", "KILL"]), Value::Simple(b"OK".to_vec()));
    assert!(runs.error().contains("Script killed"));
    assert_eq!(loads.value(), Value::Simple(b"OK".to_vec()));
    let names = [&b"carol"[..], b"default"].map(|name| Value::Bulk(name.to_vec()));
    assert_eq!(other.request(&["ACL", "USERS"]), Value::Array(names.to_vec()));
}
