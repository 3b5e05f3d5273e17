//! What is there after a restart, for every combination of `save`, `appendonly` and a server's end: at least what Redis has
//! kept, whom the same is done to.

use rustix::process::Signal;
use sterna_protocol::decode::Value;
use sterna_tests::client::Client;
use sterna_tests::server::{Launch, Server, wait_for};

/// How a server is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Kill,
    Sigterm,
    Shutdown(&'static [&'static str]),
}

/// What is asked for between two writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Between {
    Nothing,
    Save,
    Bgsave,
}

const SAVES: [Option<&str>; 3] = [None, Some(""), Some("900 1")];
const ENDS: [End; 5] =
    [End::Kill, End::Sigterm, End::Shutdown(&[]), End::Shutdown(&["NOSAVE"]), End::Shutdown(&["SAVE"])];

fn launch(launch: Launch, save: Option<&str>, appendonly: &str) -> Launch {
    let launch = launch.args(&["--dir", "{folder}", "--appendfsync", "always", "--appendonly", appendonly]);
    match save {
        Some(points) => launch.args(&["--save", points]),
        None => launch,
    }
}

fn between(client: &mut Client, what: Between) {
    match what {
        Between::Nothing => {}
        Between::Save => drop(client.request(&["SAVE"])),
        Between::Bgsave => {
            client.request(&["BGSAVE"]);
            wait_for("BGSAVE", || {
                client.text(&["INFO", "persistence"]).contains("rdb_bgsave_in_progress:0").then_some(())
            });
        }
    }
}

fn end(server: &mut Server, how: End) {
    match how {
        End::Kill => server.kill(),
        End::Sigterm => server.signal(Signal::TERM),
        End::Shutdown(words) => {
            let request: Vec<&str> = ["SHUTDOWN"].iter().chain(words).copied().collect();
            assert_eq!(server.connect().try_request(&request), None, "{how:?} was answered");
        }
    }
    if how == End::Kill { server.start_again() } else { server.wait_and_start_again() }
}

/// Which of two keys are there after a restart: one written before `what`, one after it.
fn kept(mut server: Server, what: Between, how: End) -> [bool; 2] {
    let mut client = server.connect();
    client.request(&["SET", "early", "1"]);
    between(&mut client, what);
    client.request(&["SET", "late", "1"]);
    end(&mut server, how);
    let mut client = server.connect();
    ["early", "late"].map(|key| client.int(&["EXISTS", key]) == 1)
}

#[test]
fn in_every_combination_at_least_what_redis_keeps_is_kept() {
    let mut rows = 0;
    for save in SAVES {
        for appendonly in ["yes", "no"] {
            for what in [Between::Nothing, Between::Save, Between::Bgsave] {
                for how in ENDS {
                    let ours =
                        kept(launch(Launch::shards(1 + rows % 3), save, appendonly).start(), what, how);
                    let theirs = kept(launch(Launch::reference_as_is(), save, appendonly).start(), what, how);
                    let row = format!("save {save:?}, appendonly {appendonly}, {what:?}, {how:?}");
                    for (ours, theirs) in ours.iter().zip(theirs) {
                        assert!(*ours || !theirs, "{row}: Redis keeps it, Sterna does not");
                    }
                    let says_no = save == Some("") && appendonly == "no";
                    let nothing_asked = what == Between::Nothing && how != End::Shutdown(&["SAVE"]);
                    if says_no && nothing_asked {
                        assert_eq!(ours, [false, false], "{row}: kept though both say no");
                    }
                    rows += 1;
                }
            }
        }
    }
    println!("{rows} rows");
}

#[test]
fn a_save_point_takes_a_snapshot_also_if_it_is_set_at_run_time() {
    for at_run_time in [false, true] {
        let points = if at_run_time { "" } else { "1 1" };
        let mut server = launch(Launch::shards(2), Some(points), "no").start();
        let mut client = server.connect();
        let last_save = client.int(&["LASTSAVE"]);
        if at_run_time {
            client.request(&["CONFIG", "SET", "save", "1 1"]);
        }
        client.request(&["MSET", "one", "1", "other", "1"]);
        wait_for("the save point", || {
            client.text(&["INFO", "persistence"]).contains("rdb_changes_since_last_save:0").then_some(())
        });
        assert!(client.int(&["LASTSAVE"]) >= last_save);
        server.kill();
        server.start_again();
        assert_eq!(server.connect().int(&["EXISTS", "one", "other"]), 2);
    }
}

#[test]
fn debians_configuration_keeps_what_it_keeps_in_redis() {
    let conf = "port 0\nappendonly no\nappenddirname \"appendonlydir\"\ndbfilename dump.rdb\ndir {folder}\n";
    let launch = Launch::shards(2).file("redis.conf", conf);
    let path = launch.path("redis.conf").display().to_string();
    let mut server = launch.config(&path).start();
    server.connect().request(&["SET", "k", "v"]);
    let points = server.connect().request(&["CONFIG", "GET", "save"]);
    assert_eq!(points.as_slice().expect("an array")[1].as_bytes(), Some(&b"3600 1 300 100 60 10000"[..]));
    server.restart();
    assert_eq!(server.connect().text(&["GET", "k"]), "v");
}

#[test]
fn a_last_snapshot_that_fails_keeps_the_server_running() {
    use sterna_tests::faults::Faults;
    let (launch, faults) = Faults::under(launch(Launch::shards(2), Some("900 1"), "no"), "appendonlydir");
    let server = launch.start();
    let mut client = server.connect();
    client.request(&["SET", "k", "1"]);
    faults.room(0);
    let Some(Value::Error(text)) = client.try_request(&["SHUTDOWN"]) else { panic!("it stopped") };
    assert_eq!(text, b"ERR Errors trying to SHUTDOWN. Check logs.");
    server.signal(Signal::TERM);
    server.await_log("the failure of SIGTERM", |log| log.matches("the server does not stop").count() == 2);
    assert_eq!(client.text(&["GET", "k"]), "1");
    assert_eq!(client.try_request(&["SHUTDOWN", "FORCE"]), None);
    server.wait();
}

#[test]
fn where_snapshots_are_all_that_is_kept_a_failed_one_refuses_writes_until_one_succeeds() {
    use sterna_tests::faults::{EMFILE, Faults};
    for (appendonly, refuses) in [("no", true), ("yes", false)] {
        let (launch, faults) =
            Faults::under(launch(Launch::shards(2), Some("900 1"), appendonly), "appendonlydir");
        let server = launch.start();
        let mut client = server.connect();
        client.request(&["SET", "k", "1"]);
        faults.fail_creations(EMFILE);
        let Some(Value::Error(_)) = client.try_request(&["SAVE"]) else { panic!("it was saved") };
        let answer = client.try_request(&["SET", "k", "2"]);
        if refuses {
            assert!(
                matches!(&answer, Some(Value::Error(text)) if text.starts_with(b"MISCONF ")),
                "{answer:?}"
            );
        } else {
            assert_eq!(answer, Some(Value::Simple(b"OK".to_vec())), "the journal has it");
        }
        faults.mend();
        client.request(&["SAVE"]);
        client.request(&["SET", "k", "3"]);
    }
}

#[test]
fn save_answers_only_when_what_was_there_is_in_a_snapshot() {
    let mut server =
        launch(Launch::shards(2), Some(""), "no").args(&["--enable-debug-command", "yes"]).start();
    for round in 0..20 {
        let mut client = server.connect();
        // A rewrite that runs, and may end at any moment.
        let mut other = server.connect();
        other.send(&["BGREWRITEAOF"]);
        let value = round.to_string();
        client.request(&["SET", "k", &value]);
        client.request(&["SAVE"]);
        drop((client, other));
        server.kill();
        server.start_again();
        assert_eq!(server.connect().text(&["GET", "k"]), value);
    }
}

#[test]
fn files_of_redis_are_named_at_the_start_and_never_mixed_with_the_journals() {
    use std::fs;
    // A snapshot beside: named, and left as it is.
    let server = launch(Launch::shards(1).file("dump.rdb", "REDIS0011"), None, "yes").start();
    server.connect().request(&["SET", "k", "v"]);
    assert!(server.log().contains("dump.rdb") && server.log().contains("sterna import"), "{}", server.log());
    assert_eq!(fs::read(server.path("dump.rdb")).expect("it is there"), b"REDIS0011");

    // Redis's log in the place of the journal: refused, and nothing is put there.
    let mut redis = launch(Launch::reference_as_is(), Some(""), "yes").start();
    redis.connect().request(&["SET", "k", "v"]);
    end(&mut redis, End::Sigterm);
    let folder = redis.path("").display().to_string();
    let names = |server: &Server| {
        let entries = fs::read_dir(server.path("appendonlydir")).expect("a folder").flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
        names.sort();
        names
    };
    redis.signal(Signal::TERM);
    redis.wait_for_end();
    let before = names(&redis);
    for words in [&["--appendonly", "yes"][..], &["--appendonly", "no"]] {
        let ended = Launch::shards(1).args(&["--dir", &folder]).args(words).run();
        assert!(!ended.status.success(), "{}", ended.log);
        assert!(ended.log.contains(".aof") && ended.log.contains("appenddirname"), "{}", ended.log);
    }
    // Where nothing is kept it is only named; SAVE is refused.
    let cache = Launch::shards(1).args(&["--dir", &folder, "--appendonly", "no", "--save", ""]).start();
    assert!(cache.log().contains(".aof"), "{}", cache.log());
    assert!(matches!(cache.connect().try_request(&["SAVE"]), Some(Value::Error(_))));
    drop(cache);
    assert_eq!(names(&redis), before, "nothing was put beside them");
}
