//! The epoch of positions: it stays for as long as nothing that was acknowledged can have been lost, and no longer.

use sterna_tests::client::Client;
use sterna_tests::server::{Launch, Server};

fn epoch(client: &mut Client) -> String {
    let info = client.text(&["INFO", "persistence"]);
    let line = info.lines().find_map(|line| line.strip_prefix("position_epoch:"));
    line.expect("an epoch").to_owned()
}

fn of(server: &Server) -> String {
    epoch(&mut server.connect())
}

fn start(args: &[&str]) -> Server {
    Launch::shards(2).args(&[&["--dir", "{folder}", "--retain", "c"][..], args].concat()).start()
}

const JOURNALED: [&str; 2] = ["--appendonly", "yes"];

#[test]
fn it_outlives_kills_and_ends_in_order_where_every_write_is_journaled() {
    let mut server = start(&JOURNALED);
    let first = of(&server);
    server.connect().int(&["PUBLISH", "c", "x"]);
    server.kill();
    server.start_again();
    assert_eq!(of(&server), first, "a killed process has written what it acknowledged");
    server.restart();
    assert_eq!(of(&server), first);
    assert_ne!(of(&start(&JOURNALED)), first, "another journal");
}

#[test]
fn it_is_another_where_nothing_is_journaled_and_the_process_was_killed() {
    let mut server = start(&["--appendonly", "no", "--save", ""]);
    let first = of(&server);
    server.kill();
    server.start_again();
    assert_ne!(of(&server), first);
}

#[test]
fn a_snapshot_at_an_end_in_order_keeps_it_once_and_what_follows_is_not_journaled() {
    let mut server = start(&["--appendonly", "no", "--save", "3600 1"]);
    let first = of(&server);
    server.connect().int(&["PUBLISH", "c", "x"]);
    server.restart();
    assert_eq!(of(&server), first);
    assert_eq!(server.connect().int(&["XLEN", "channel:c"]), 1);
    server.kill();
    server.start_again();
    assert_ne!(of(&server), first);
}

#[test]
fn it_is_another_after_the_machine_went_down_with_the_server_running() {
    for damage in ["running another-boot", "running", "nonsense", ""] {
        let mut server = start(&JOURNALED);
        let first = of(&server);
        server.connect().int(&["PUBLISH", "c", "x"]);
        server.kill();
        let file = server.path("appendonlydir").join("EPOCH");
        let text = std::fs::read_to_string(&file).expect("the file of a running server");
        assert!(text.starts_with(&first), "{text}");
        std::fs::write(&file, format!("{first} 0 {damage}\n")).expect("written");
        server.start_again();
        let second = of(&server);
        assert_ne!(second, first, "{damage}");
        server.kill();
        server.start_again();
        assert_eq!(of(&server), second);
    }
}

#[test]
fn while_the_journal_is_off_a_kill_loses_it_and_once_it_is_on_again_it_holds() {
    let mut server = start(&JOURNALED);
    let first = of(&server);
    let set =
        |server: &Server, value| drop(server.connect().request(&["CONFIG", "SET", "appendonly", value]));
    set(&server, "no");
    assert_eq!(of(&server), first, "nothing is lost yet");
    set(&server, "yes");
    server.kill();
    server.start_again();
    assert_eq!(of(&server), first);
    set(&server, "no");
    server.connect().int(&["PUBLISH", "c", "lost"]);
    server.kill();
    server.start_again();
    assert_ne!(of(&server), first);
}
