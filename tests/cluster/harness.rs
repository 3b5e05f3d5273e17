//! Three nodes and three NATS servers with a wire in every connection between any two of them, and all faults that can be made: under
//! load, one after the other, at random; once with one leader, and once with several groups of keys. `STERNA_CRASH_ROUNDS=200` is the long
//! form, `STERNA_CRASH_SEED` a story told again, `STERNA_CRASH_FAULT=FullDisk` one of that fault alone; `STERNA_OLD_BIN` is another
//! version of Sterna, which nodes are now and then.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use sterna_tests::faults::Faults;
use sterna_tests::nats::Nats;
use sterna_tests::server::{PATIENCE, Server, wait_for};
use sterna_tests::wire::{Way, Wire};
use sterna_tests::{crash_rounds, number, skipped};
use tempfile::TempDir;

use crate::groups::{GROUPS, TAGS, leads_group, log_figure, make_logs, of_groups};
use crate::keys::{Ends, Load, await_same, keys_node, make_log};
use crate::snapshots::files;
use crate::tools::{await_joined, figure, name};

const NODES: usize = 3;
const SERVERS: usize = 3;
const WRITERS: usize = 6;

/// What is done. Each is mended before the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    KillLeader,
    KillFollower,
    KillMajority,
    KillAll,
    /// The leader stands still until another leads.
    PauseLeader,
    /// The leader's connections to all NATS servers are closed, and it can't connect.
    CutLeader,
    /// The leader hears nothing; what it says arrives.
    DeafLeader,
    /// What the leader says arrives later; it hears everything.
    MuteLeader,
    /// All that passes between the leader and NATS is slow.
    SlowLeader,
    /// All that passes between nodes and NATS takes a second.
    LateLines,
    /// Little passes between the leader and NATS in a second.
    NarrowLeader,
    /// What nodes publish arrives twice or in another order.
    StutteringLines,
    /// A node and the NATS server that it has chosen are apart.
    CutOneLine,
    KillNats,
    KillAllNats,
    /// A NATS server stands still.
    PauseNats,
    /// A NATS server is cut off from the other two.
    CutNats,
    /// Of two NATS servers one does not hear the other.
    DeafNats,
    /// All that passes between NATS servers is slow.
    SlowNats,
    /// The leader's disk is full: it stops.
    FullDisk,
    /// The disk of a NATS server takes nothing more.
    FullNats,
    /// The power fails for the leader: what it has not synced is gone.
    LoseLeader,
    /// The power fails for all nodes, and all NATS servers are killed.
    LoseAll,
    /// The clock of a node is set.
    SetClock,
    /// One node after the other is stopped and started, the leader last, and is of the other version if there is one.
    Upgrade,
    /// A byte of a killed follower's journal is another: it does not start with that, and begins anew.
    FlipJournal,
    /// A byte of a killed NATS server's store is another; later it is emptied, as the doctor says.
    FlipNats,
    /// A killed follower has lost all it had.
    EmptyFollower,
    /// A killed NATS server has lost all it had.
    EmptyNats,
}

const FAULTS: [Fault; 29] = [
    Fault::KillLeader,
    Fault::KillFollower,
    Fault::KillMajority,
    Fault::KillAll,
    Fault::PauseLeader,
    Fault::CutLeader,
    Fault::DeafLeader,
    Fault::MuteLeader,
    Fault::SlowLeader,
    Fault::LateLines,
    Fault::NarrowLeader,
    Fault::StutteringLines,
    Fault::CutOneLine,
    Fault::KillNats,
    Fault::KillAllNats,
    Fault::PauseNats,
    Fault::CutNats,
    Fault::DeafNats,
    Fault::SlowNats,
    Fault::FullDisk,
    Fault::FullNats,
    Fault::LoseLeader,
    Fault::LoseAll,
    Fault::SetClock,
    Fault::Upgrade,
    Fault::FlipJournal,
    Fault::FlipNats,
    Fault::EmptyFollower,
    Fault::EmptyNats,
];

/// Those of the short form, in this order.
const SHORT: [Fault; 3] = [Fault::DeafLeader, Fault::CutNats, Fault::Upgrade];

/// The same with several groups of keys.
const SHORT_OF_GROUPS: [Fault; 3] = [Fault::StutteringLines, Fault::FlipJournal, Fault::LoseAll];

struct Cluster {
    nats: Nats,
    groups: usize,
    nodes: Vec<Server>,
    disks: Vec<Faults>,
    /// By node and NATS server.
    wires: Vec<Vec<Wire>>,
    name: String,
    /// Of which program each node is not, and will be.
    others: Option<Vec<PathBuf>>,
    /// Where the nodes keep snapshots.
    _shelf: TempDir,
}

impl Cluster {
    fn start(groups: usize) -> Option<Cluster> {
        let nats = Nats::start_wired(SERVERS, "always")?;
        let name = name();
        match groups {
            1 => make_log(&nats, &name, SERVERS),
            _ => make_logs(&nats, &name),
        }
        let shelf = tempfile::tempdir().expect("a folder");
        let place = format!("file://{}", shelf.path().display());
        let (mut nodes, mut disks, mut wires) = (Vec::new(), Vec::new(), Vec::new());
        for at in 0..NODES {
            let own: Vec<Wire> = nats.ports().into_iter().map(Wire::to_nats).collect();
            let hosts = (0..SERVERS).map(|n| format!("127.0.0.1:{}", own[(at + n) % SERVERS].port));
            let url = format!("nats://{}", hosts.collect::<Vec<_>>().join(","));
            let launch = keys_node(&name, &url).args(&["--dir", "{folder}"]);
            let launch = match groups {
                // The log is trimmed all the time, and who has lost everything begins with a snapshot.
                1 => launch.args(&["--cluster-log-size", "500kb", "--cluster-snapshots", &place]),
                // Who has lost everything reads the logs from their beginning.
                _ => of_groups(launch),
            };
            let (launch, disk) = Faults::under(launch, "appendonlydir");
            nodes.push(launch.start());
            disks.push(disk);
            wires.push(own);
        }
        await_joined(&nodes);
        let others = std::env::var_os("STERNA_OLD_BIN").map(|old| vec![old.into(); NODES]);
        Some(Cluster { nats, groups, nodes, disks, wires, name, others, _shelf: shelf })
    }

    /// Which of these nodes leads each group, as soon as all are led.
    fn leaders(&self, among: &[usize]) -> Vec<usize> {
        wait_for("every group to be led", || {
            let leads = |at: usize, group| match self.groups {
                1 => figure(&self.nodes[at], "cluster_keys").as_deref() == Some("me"),
                _ => leads_group(&self.nodes[at], group),
            };
            let of = |group| among.iter().copied().find(|at| leads(*at, group));
            (0..self.groups).map(of).collect()
        })
    }

    /// A node that leads, be it one group of several, and the others.
    fn roles(&self, random: &mut fastrand::Rng) -> (usize, [usize; 2]) {
        let leaders = self.leaders(&[0, 1, 2]);
        let at = leaders[random.usize(..leaders.len())];
        (at, [(at + 1) % NODES, (at + 2) % NODES])
    }

    fn kill(&mut self, nodes: &[usize]) {
        nodes.iter().for_each(|at| self.nodes[*at].kill());
    }

    fn start_again(&mut self, nodes: &[usize], load: &Load) {
        for at in nodes {
            self.nodes[*at].start_again();
            load.note_port(*at, &self.nodes[*at]);
        }
    }

    /// Stops the node in order, and starts it again, as the other version if there is one.
    fn upgrade(&mut self, at: usize, load: &Load) {
        if let Some(others) = &mut self.others {
            let other = std::mem::replace(&mut others[at], self.nodes[at].program().to_owned());
            self.nodes[at].become_program(&other);
            println!("  {} from now on", other.display());
        }
        self.nodes[at].signal(Signal::TERM);
        let ended = self.nodes[at].wait_for_end();
        assert!(ended.status.success(), "{}", ended.log);
        self.start_again(&[at], load);
        wait_for("the node to have its part in the log", || {
            let has_part = |role: String| ["following", "leading"].contains(&role.as_str());
            (0..self.groups)
                .all(|group| log_figure(&self.nodes[at], group, "cluster_log_role").is_some_and(has_part))
                .then_some(())
        });
    }

    fn lose_power(&mut self, nodes: &[usize]) {
        self.kill(nodes);
        nodes.iter().for_each(|at| self.disks[*at].lose_power());
    }

    fn others_lead(&self, others: [usize; 2]) {
        let began = Instant::now();
        self.leaders(&others);
        println!("  another leads after {:?}", began.elapsed());
    }

    fn mend(&self) {
        self.wires.iter().flatten().chain(self.nats.all_routes()).for_each(Wire::mend);
    }

    fn suffer(&mut self, fault: Fault, random: &mut fastrand::Rng, load: &Load) {
        let (at, others) = self.roles(random);
        let server = random.usize(..SERVERS);
        let (one, two) = ((server + 1) % SERVERS, (server + 2) % SERVERS);
        let while_ms = Duration::from_millis(random.u64(500..6000));
        match fault {
            Fault::KillLeader => {
                self.kill(&[at]);
                self.others_lead(others);
                self.start_again(&[at], load);
            }
            Fault::KillFollower => {
                self.kill(&others[..1]);
                self.await_frames(&[at, others[1]]);
                self.start_again(&others[..1], load);
            }
            Fault::KillMajority => {
                let both = [at, others[0]];
                self.kill(&both);
                self.leaders(&others[1..]);
                self.start_again(&both, load);
            }
            Fault::KillAll => {
                self.kill(&[0, 1, 2]);
                self.start_again(&[0, 1, 2], load);
            }
            Fault::PauseLeader => {
                self.nodes[at].freeze();
                self.others_lead(others);
                self.nodes[at].signal(Signal::CONT);
            }
            Fault::CutLeader => {
                self.wires[at].iter().for_each(Wire::cut);
                self.others_lead(others);
            }
            Fault::DeafLeader | Fault::MuteLeader => {
                let way = if fault == Fault::DeafLeader { Way::Back } else { Way::There };
                self.wires[at].iter().for_each(|wire| wire.hold(way, true));
                self.others_lead(others);
            }
            Fault::SlowLeader => {
                self.wires[at].iter().for_each(|wire| wire.delay(Duration::from_millis(random.u64(1..400))));
                thread::sleep(while_ms);
            }
            Fault::LateLines => {
                self.wires.iter().flatten().for_each(|wire| wire.delay(Duration::from_secs(1)));
                thread::sleep(while_ms);
            }
            Fault::NarrowLeader => {
                let bytes_a_second = random.u64(10_000..300_000);
                self.wires[at].iter().for_each(|wire| wire.narrow(bytes_a_second));
                thread::sleep(while_ms);
            }
            Fault::StutteringLines => {
                self.wires.iter().flatten().for_each(|wire| wire.stutter(true));
                thread::sleep(while_ms);
            }
            Fault::CutOneLine => {
                self.wires[random.usize(..NODES)][server].cut();
                thread::sleep(while_ms);
            }
            Fault::KillNats => {
                self.nats.kill(server);
                load.await_writes(&self.nodes, 1);
                self.nats.start_again(server);
            }
            Fault::KillAllNats => {
                (0..SERVERS).for_each(|server| self.nats.kill(server));
                (0..SERVERS).for_each(|server| self.nats.start_again(server));
            }
            Fault::PauseNats => {
                self.nats.signal(server, Signal::STOP);
                thread::sleep(while_ms);
                self.nats.signal(server, Signal::CONT);
            }
            Fault::CutNats => {
                [one, two].iter().for_each(|other| self.nats.routes(server, *other).for_each(Wire::cut));
                thread::sleep(while_ms);
            }
            Fault::DeafNats => {
                let way = if random.bool() { Way::There } else { Way::Back };
                self.nats.routes(server, one).for_each(|wire| wire.hold(way, true));
                thread::sleep(while_ms);
            }
            Fault::SlowNats => {
                self.nats.all_routes().for_each(|wire| wire.delay(Duration::from_millis(random.u64(1..200))));
                thread::sleep(while_ms);
            }
            Fault::FullDisk => {
                self.disks[at].room(random.i64(0..10_000));
                let ended = self.nodes[at].wait_for_end();
                println!("  {}", ended.log.lines().last().unwrap_or_default());
                self.disks[at].mend();
                self.start_again(&[at], load);
            }
            Fault::FullNats => {
                self.nats.fill_disk(server, random.u64(0..100_000));
                load.await_writes(&self.nodes, 1);
                self.nats.kill(server);
                self.nats.start_again(server);
                self.await_replicas(server);
            }
            Fault::LoseLeader => {
                self.lose_power(&[at]);
                self.others_lead(others);
                self.start_again(&[at], load);
            }
            Fault::LoseAll => {
                self.lose_power(&[0, 1, 2]);
                (0..SERVERS).for_each(|server| self.nats.kill(server));
                (0..SERVERS).for_each(|server| self.nats.start_again(server));
                self.start_again(&[0, 1, 2], load);
            }
            Fault::SetClock => {
                let which = random.usize(..NODES);
                self.disks[which].set_clock(random.i64(-100_000..100_000));
                load.await_writes(&self.nodes, 1);
                self.disks[which].set_clock(0);
            }
            Fault::Upgrade => {
                for at in [others[0], others[1], at] {
                    self.upgrade(at, load);
                }
            }
            Fault::FlipJournal => {
                self.kill(&others[..1]);
                let node = &mut self.nodes[others[0]];
                let folder = node.path("appendonlydir");
                flip(&folder, "", random);
                if !starts(node) {
                    fs::remove_dir_all(&folder).expect("it can be removed");
                    println!("  refused: it begins anew");
                }
                self.start_again(&others[..1], load);
            }
            Fault::EmptyFollower => {
                self.kill(&others[..1]);
                fs::remove_dir_all(self.nodes[others[0]].path("appendonlydir")).expect("it can be removed");
                self.start_again(&others[..1], load);
            }
            Fault::FlipNats => {
                self.nats.kill(server);
                flip(&self.nats.store(server), ".blk", random);
                self.nats.start_again(server);
                load.await_writes(&self.nodes, 1);
                self.empty_nats(server, load);
            }
            Fault::EmptyNats => self.empty_nats(server, load),
        }
        self.mend();
    }

    fn empty_nats(&mut self, server: usize, load: &Load) {
        self.nats.kill(server);
        fs::remove_dir_all(self.nats.store(server)).expect("it can be removed");
        self.nats.start_again(server);
        load.await_writes(&self.nodes, 1);
        self.await_replicas(server);
    }

    /// Waits until more is in the logs, as these nodes see it.
    fn await_frames(&self, which: &[usize]) {
        let slots = || {
            let slot = |at: usize, group| {
                log_figure(&self.nodes[at], group, "cluster_log_slot")?.parse::<u64>().ok()
            };
            let most = |group| which.iter().filter_map(|at| slot(*at, group)).max();
            (0..self.groups).map(most).sum::<Option<u64>>()
        };
        let before = slots().unwrap_or(0);
        wait_for("frames", || (slots()? > before + 20).then_some(()));
    }

    /// Waits until each of the NATS servers has all of the log: of two that have not, the log could lose what it has. One that has begun
    /// with nothing, and does not come to have it, is started once more.
    fn await_replicas(&mut self, emptied: usize) {
        let (url, name) = (self.nats.url((emptied + 1) % SERVERS), self.name.clone());
        let (began, mut said, mut is_again) = (Instant::now(), String::new(), false);
        while began.elapsed() < 3 * PATIENCE {
            let words = ["cluster", "status", "--url", &url, "--name", &name];
            let output = sterna_tests::server::sterna_tool(&words);
            said = String::from_utf8_lossy(&output.stdout).into_owned();
            let followers = said.lines().filter(|line| line.contains("follow")).count();
            let behind = said.lines().any(|line| line.contains("behind") || line.contains("away"));
            if output.status.success() && followers == self.groups * (SERVERS - 1) && !behind {
                return;
            }
            if began.elapsed() > PATIENCE && !std::mem::replace(&mut is_again, true) {
                println!("  NATS server {emptied} has not come to have the log: it is started again\n{said}");
                self.nats.kill(emptied);
                self.nats.start_again(emptied);
            }
            thread::sleep(Duration::from_millis(100));
        }
        panic!("the replicas do not come to have the log:\n{said}");
    }
}

/// Flips a bit somewhere in a file whose name ends so.
fn flip(folder: &Path, ending: &str, random: &mut fastrand::Rng) {
    let is_meant = |path: &PathBuf| {
        path.to_string_lossy().ends_with(ending) && fs::metadata(path).is_ok_and(|about| about.len() > 0)
    };
    let meant: Vec<PathBuf> = files(folder).into_iter().filter(is_meant).collect();
    let Some(path) = random.choice(meant) else { return };
    let mut bytes = fs::read(&path).expect("it can be read");
    let at = random.usize(..bytes.len());
    bytes[at] ^= 1 << random.u32(..8);
    fs::write(&path, bytes).expect("it can be written");
    println!("  bit of byte {at} of {}", path.display());
}

/// Whether a node that was killed starts; it is killed again.
fn starts(node: &mut Server) -> bool {
    let starts = node.try_start_again();
    if starts {
        node.kill();
    }
    starts
}

#[test]
fn what_was_acknowledged_survives_every_fault_of_lines_processes_and_disks() {
    survive(1, &[""], &SHORT);
}

#[test]
fn with_several_groups_of_keys_what_was_acknowledged_survives_every_fault_in_each() {
    survive(GROUPS, &TAGS, &SHORT_OF_GROUPS);
}

/// Writes to streams whose names begin so, while everything befalls the cluster. `short`: what the short form has.
fn survive(groups: usize, streams: &'static [&'static str], short: &[Fault]) {
    let Some(mut cluster) = Cluster::start(groups) else {
        return skipped("needs NATS_SERVER; ./test installs one");
    };
    let seed = number("STERNA_CRASH_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("STERNA_CRASH_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let only = std::env::var("STERNA_CRASH_FAULT").unwrap_or_default();
    let meant = || FAULTS.into_iter().filter(|fault| only.is_empty() || format!("{fault:?}") == only);
    cluster.leaders(&[0, 1, 2]);
    let load = Load::new(&cluster.nodes, streams);
    let stories = thread::scope(|scope| {
        let load = &load;
        let writers: Vec<_> = (0..WRITERS).map(|writer| scope.spawn(move || load.write(writer))).collect();
        let ends = Ends(&load.is_over);
        let rounds = crash_rounds(short.len() as u64);
        for round in 0..rounds {
            load.await_writes(&cluster.nodes, 1);
            let fault = match short.get(round as usize) {
                Some(fault) if only.is_empty() => *fault,
                _ => random.choice(meant().collect::<Vec<_>>()).expect("there are some"),
            };
            println!("round {round}: {fault:?}");
            cluster.suffer(fault, &mut random, load);
        }
        load.await_writes(&cluster.nodes, 1);
        drop(ends);
        writers.into_iter().map(|writer| writer.join().expect("a writer ends")).collect::<Vec<_>>()
    });
    await_same(&cluster.nodes);
    cluster.nodes.iter().for_each(|node| load.check_all(node, &stories));
    let loaded =
        cluster.nodes.iter().map(|node| node.log().matches("a snapshot of another node is loaded").count());
    println!("{} snapshots loaded since the last starts", loaded.sum::<usize>());
    println!("{} acknowledged", stories.iter().map(|(stored, _)| stored.len()).sum::<usize>());
}
