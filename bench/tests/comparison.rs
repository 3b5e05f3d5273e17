//! The comparison from the outside: a short run of it writes a report, says what is missing, and leaves nothing behind.
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn bench() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sterna-bench"));
    command.stdin(Stdio::null());
    command
}

#[test]
fn a_quick_run_against_the_floor_writes_a_report() {
    let folder = tempfile::tempdir().unwrap();
    let output = bench()
        .args(["--quick", "--peers", "floor", "--only", "fan-out-64,one-to-one,unpipelined,latency", "--out"])
        .arg(folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let page = fs::read_to_string(folder.path().join("README.md")).unwrap();
    for name in ["`fan-out-64`", "`one-to-one`", "`unpipelined-1000`", "`latency`"] {
        assert!(page.contains(name), "no {name} in:\n{page}");
    }
    assert!(!page.contains("failed"), "{page}");

    let samples = fs::read_to_string(folder.path().join("samples.csv")).unwrap();
    let mut lines = samples.lines();
    assert_eq!(lines.next(), Some("workload,peer,round,figure,value"));
    let mut fan_out = 0;
    for line in lines {
        let [workload, peer, round, _, value] = line.split(',').collect::<Vec<_>>()[..] else {
            panic!("not a sample: {line}");
        };
        assert_eq!((peer, round), ("floor", "1"));
        let value: f64 = value.parse().unwrap();
        assert!(value >= 0.0, "{line}");
        fan_out += usize::from(workload == "fan-out-64");
    }
    assert!(fan_out >= 1, "{samples}");
}

#[test]
fn a_peer_that_is_missing_is_a_column_that_says_so() {
    let output = bench()
        .args(["--quick", "--peers", "floor,valkey", "--only", "one-to-one-64"])
        .env("VALKEY_SERVER", "nowhere/valkey-server")
        .output()
        .unwrap();
    let page = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{page}");
    assert!(page.contains("not installed"), "{page}");
    assert!(page.contains("- valkey: not installed."), "{page}");
}

#[test]
fn instructions_are_counted_of_work_alone_and_not_without_valgrind() {
    let list = |arguments: &[&str]| {
        let output = bench().args(arguments).arg("--list").output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(list(&["--instructions", "--only", "get"]).contains("(instructions/op)"));
    assert!(list(&["--only", "entry-memory"]).contains("entry-memory"));
    assert!(!list(&["--instructions", "--only", "entry-memory"]).contains("entry-memory"));

    let output = bench().args(["--instructions", "--only", "get"]).env("PATH", "nowhere").output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("valgrind is not installed"));
}

#[test]
fn an_unknown_name_is_refused_before_anything_starts() {
    for arguments in [["--only", "nonsense"], ["--peers", "nonsense"]] {
        let output = bench().args(arguments).output().unwrap();
        assert!(!output.status.success());
        assert!(String::from_utf8_lossy(&output.stderr).contains("\"nonsense\""));
    }
}

#[test]
fn an_interrupted_run_ends_and_stops_its_server() {
    let mut run = bench()
        .args(["--peers", "floor", "--only", "latency", "--rounds", "1000"])
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let pid = run.id();
    let server = wait_for(|| children(pid).first().copied());
    kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::INT).unwrap();
    let status = wait_for(|| run.try_wait().unwrap());
    assert!(!status.success());
    assert!(!Path::new(&format!("/proc/{server}")).exists(), "the server outlived the run");
}

/// Processes whose parent is `pid`.
fn children(pid: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|id| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        // The name in parentheses may hold anything; what follows it is the state and the parent.
        let parent = stat.rsplit(')').next().and_then(|rest| rest.split_ascii_whitespace().nth(1));
        parent == Some(&pid.to_string())
    })
    .collect()
}

fn wait_for<T>(mut what: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = what() {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "waited for 60 seconds");
        std::thread::sleep(Duration::from_millis(5));
    }
}
