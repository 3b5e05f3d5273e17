//! Killed at random instants: under `appendfsync always` everything that was acknowledged is there again.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use sterna_tests::server::{Launch, Server};
use sterna_tests::{crash_rounds, seed};

use crate::writer::Writer;

/// Clients that write at once.
const WRITERS: usize = 5;

/// Small enough that snapshots are taken while the load runs, and killed.
const SNAPSHOT_OFTEN: [&str; 4] =
    ["--auto-aof-rewrite-min-size", "30kb", "--auto-aof-rewrite-percentage", "10"];

/// With a slow disk fewer rounds are as good as many.
const LONGEST: Duration = Duration::from_secs(120);

fn launch(appendfsync: &str) -> Launch {
    Launch::shards(2).args(&["--dir", "{folder}", "--appendfsync", appendfsync]).args(&SNAPSHOT_OFTEN)
}

fn prepare(server: &Server, writers: &[Writer]) {
    let mut client = server.connect();
    writers.iter().for_each(|writer| writer.prepare(&mut client));
}

/// Lets all write until `end` has ended them, which it is called to do.
fn write_until(server: &mut Server, writers: &mut [Writer], end: impl FnOnce(&mut Server)) {
    let enough = AtomicBool::new(false);
    let port = server.port;
    thread::scope(|scope| {
        for writer in writers {
            scope.spawn(|| writer.write(port, &enough));
        }
        end(server);
        enough.store(true, Relaxed);
    });
}

fn check(server: &Server, writers: &mut [Writer]) {
    let mut client = server.connect();
    writers.iter_mut().for_each(|writer| writer.check(&mut client));
}

#[test]
fn after_a_kill_everything_that_was_acknowledged_is_there() {
    let mut random = fastrand::Rng::with_seed(seed(5));
    let mut writers: Vec<Writer> = (0..WRITERS).map(|name| Writer::new(name, random.u64(..))).collect();
    let mut server = launch("always").start();
    prepare(&server, &writers);
    let began = Instant::now();
    let mut rounds = 0;
    while rounds < crash_rounds(200) && began.elapsed() < LONGEST {
        // The instant is what is tested: it is chosen by a sleep on purpose.
        let life = Duration::from_micros(random.u64(0..60_000));
        write_until(&mut server, &mut writers, |server| {
            thread::sleep(life);
            server.kill();
        });
        server.start_again();
        check(&server, &mut writers);
        rounds += 1;
    }
    let acknowledged: u64 = writers.iter().map(|writer| writer.acknowledged).sum();
    println!("{rounds} kills, {acknowledged} requests acknowledged, {} ms", began.elapsed().as_millis());
    assert!(acknowledged > 10 * rounds, "hardly anything was written");
}

#[test]
fn after_sigterm_under_load_everything_is_there_whatever_the_policy() {
    let mut random = fastrand::Rng::with_seed(seed(6));
    for appendfsync in ["always", "everysec", "no"] {
        let mut writers: Vec<Writer> = (0..WRITERS).map(|name| Writer::new(name, random.u64(..))).collect();
        let mut server = launch(appendfsync).start();
        prepare(&server, &writers);
        for _ in 0..5 {
            let life = Duration::from_millis(random.u64(20..150));
            write_until(&mut server, &mut writers, |server| {
                thread::sleep(life);
                server.signal(Signal::TERM);
            });
            server.wait_and_start_again();
            check(&server, &mut writers);
        }
    }
}

#[test]
fn what_reached_the_system_survives_a_kill_under_everysec() {
    let mut server = launch("everysec").start();
    let mut client = server.connect();
    client.request(&["SET", "k", "v"]);
    // WAITAOF is the promise for a single write.
    assert_eq!(client.request(&["WAITAOF", "1", "0", "0"]).as_slice().map(|r| r[0].as_int()), Some(Some(1)));
    server.kill();
    server.start_again();
    assert_eq!(server.connect().text(&["GET", "k"]), "v");
}
