//! Faults under a real server: `faults/layer.c`, compiled here and preloaded, with a page of memory that says what fails.
//!
//! ```text
//! test ──► page ◄──► layer.so in the server ──► file system
//!                        └──► synced/: what survives a power loss
//! ```

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use tempfile::TempDir;

use crate::server::{Launch, Server, wait_for};

/// Words of the page; see `layer.c`.
const SYNC_US: u64 = 0;
const SYNC_ERRNO: u64 = 1;
const WRITE_US: u64 = 2;
const WRITE_ERRNO: u64 = 3;
const CREATE_ERRNO: u64 = 4;
const RENAME_ERRNO: u64 = 5;
const ROOM: u64 = 6;
const KILL_AT: u64 = 7;
const OPERATIONS: u64 = 8;
const BYTES: u64 = 10;
const SYNCS: u64 = 11;
const FAILED: u64 = 12;
const SYNCS_BEGUN: u64 = 13;
const READ_US: u64 = 14;
const BREAK_CLOCK: u64 = 15;
const CLOCK_S: u64 = 16;
const HOLD: u64 = 17;
const HELD: u64 = 18;
const WAITING: u64 = 19;
const ONLY: u64 = 32;
const THREAD: u64 = 40;
const PAGE_BYTES: usize = 4096;

/// What the kernel says of a broken disk.
pub const EIO: i64 = 5;
/// What it says of one that is full.
pub const ENOSPC: i64 = 28;
/// What it says when a process has too many files open.
pub const EMFILE: i64 = 24;

/// The faults of one server's files.
#[derive(Debug)]
pub struct Faults {
    page: File,
    /// The files that fail.
    directory: PathBuf,
    synced: PathBuf,
}

impl Faults {
    /// Puts the layer under the files in `directory`, a folder in the server's own.
    pub fn under(launch: Launch, directory: &str) -> (Launch, Faults) {
        let (page, synced) = (launch.path("faults"), launch.path("synced"));
        fs::create_dir(&synced).expect("the folder can be written");
        fs::write(&page, [0; PAGE_BYTES]).expect("the folder can be written");
        let directory = launch.path(directory);
        let launch = launch
            .env("LD_PRELOAD", layer())
            .env("FAULTS_CONTROL", &page)
            .env("FAULTS_DIRECTORY", &directory)
            .env("FAULTS_SYNCED", &synced);
        let page = File::options().read(true).write(true).open(&page).expect("written above");
        let faults = Faults { page, directory, synced };
        faults.mend();
        (launch, faults)
    }

    /// Has every operation succeed from now on.
    pub fn mend(&self) {
        for word in [SYNC_US, SYNC_ERRNO, WRITE_US, WRITE_ERRNO, CREATE_ERRNO, RENAME_ERRNO, KILL_AT, READ_US]
        {
            self.set(word, 0);
        }
        self.set(ROOM, -1);
        self.only("");
    }

    /// Only files are concerned whose name has this in it.
    pub fn only(&self, part: &str) {
        let mut bytes = [0; 64];
        bytes[..part.len()].copy_from_slice(part.as_bytes());
        self.page.write_all_at(&bytes, ONLY * 8).expect("the page can be written");
    }

    /// How long each sync takes, beside its own time.
    pub fn delay_syncs(&self, delay: Duration) {
        self.set(SYNC_US, delay.as_micros() as i64);
    }

    /// How long each write takes, beside its own time.
    pub fn delay_writes(&self, delay: Duration) {
        self.set(WRITE_US, delay.as_micros() as i64);
    }

    /// How long each read takes, beside its own time.
    pub fn delay_reads(&self, delay: Duration) {
        self.set(READ_US, delay.as_micros() as i64);
    }

    /// Has the thread of this name panic when it next asks for the time.
    pub fn break_thread(&self, name: &str) {
        self.name_thread(name);
        self.set(BREAK_CLOCK, 1);
    }

    /// Has the thread of this name stand still from when it would next wait for something to do, and waits until it does.
    pub fn hold_thread(&self, name: &str) {
        self.name_thread(name);
        self.set(HOLD, 1);
        wait_for("a thread that stands still", || (self.word(HELD) == 1).then_some(()));
    }

    /// It goes on.
    pub fn release_thread(&self) {
        self.set(HOLD, 0);
    }

    fn name_thread(&self, name: &str) {
        let mut bytes = [0; 16];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        self.page.write_all_at(&bytes, THREAD * 8).expect("the page can be written");
    }

    /// What syncs fail with; 0: they don't.
    pub fn fail_syncs(&self, errno: i64) {
        self.set(SYNC_ERRNO, errno);
    }

    /// What writes fail with; 0: they don't.
    pub fn fail_writes(&self, errno: i64) {
        self.set(WRITE_ERRNO, errno);
    }

    /// What making a file fails with; 0: it doesn't.
    pub fn fail_creations(&self, errno: i64) {
        self.set(CREATE_ERRNO, errno);
    }

    /// What renaming a file fails with; 0: it doesn't.
    pub fn fail_renames(&self, errno: i64) {
        self.set(RENAME_ERRNO, errno);
    }

    /// Bytes that files may still grow by.
    pub fn room(&self, bytes: i64) {
        self.set(ROOM, bytes);
    }

    /// Has the process killed at its `operation`th creation, write, sync, rename or removal, counted since it started.
    pub fn kill_at(&self, operation: i64) {
        self.set(KILL_AT, operation);
    }

    /// Operations so far.
    pub fn operations(&self) -> i64 {
        self.word(OPERATIONS)
    }

    /// Has the system's clock be wrong by so many seconds, as an administrator or a time server may set it.
    pub fn set_clock(&self, seconds: i64) {
        self.set(CLOCK_S, seconds);
    }

    /// Counts operations anew.
    pub fn count_anew(&self) {
        self.set(OPERATIONS, 0);
    }

    /// Bytes written.
    pub fn written_bytes(&self) -> i64 {
        self.word(BYTES)
    }

    /// Syncs that have succeeded.
    pub fn syncs(&self) -> i64 {
        self.word(SYNCS)
    }

    /// Syncs that have begun.
    pub fn syncs_begun(&self) -> i64 {
        self.word(SYNCS_BEGUN)
    }

    /// Operations that are being delayed now.
    pub fn waiting(&self) -> i64 {
        self.word(WAITING)
    }

    /// Operations that were failed.
    pub fn failed(&self) -> i64 {
        self.word(FAILED)
    }

    /// Takes away from the directory what had not been synced, names as well as bytes. The server has ended.
    pub fn lose_power(&self) {
        let names = fs::read_to_string(self.synced.join("names")).unwrap_or_default();
        for entry in fs::read_dir(&self.directory).into_iter().flatten().flatten() {
            fs::remove_file(entry.path()).expect("a file can be removed");
        }
        let mut kept = String::new();
        for line in names.lines() {
            let (inode, name) = line.split_once(' ').expect("inode and name");
            // A name that was synced before any of its bytes.
            let bytes = fs::read(self.synced.join(inode)).unwrap_or_default();
            let path = self.directory.join(name);
            fs::write(&path, &bytes).expect("the folder can be written");
            // As it is now it is on the disk: the next loss of power leaves it.
            let inode = fs::metadata(&path).expect("it is there").ino();
            fs::write(self.synced.join(inode.to_string()), bytes).expect("the folder can be written");
            fs::hard_link(&path, self.synced.join(format!("{inode}.held")))
                .expect("the folder can be written");
            kept += &format!("{inode} {name}\n");
        }
        fs::write(self.synced.join("names"), kept).expect("the folder can be written");
    }

    /// Kills the server, takes away what had not been synced, and starts it again.
    pub fn lose_power_of(&self, server: &mut Server) {
        server.kill();
        self.lose_power();
        server.start_again();
    }

    fn set(&self, word: u64, value: i64) {
        self.page.write_all_at(&value.to_le_bytes(), word * 8).expect("the page can be written");
    }

    fn word(&self, word: u64) -> i64 {
        let mut bytes = [0; 8];
        self.page.read_exact_at(&mut bytes, word * 8).expect("the page can be read");
        i64::from_le_bytes(bytes)
    }
}

/// The layer, compiled once for all tests of the process.
fn layer() -> &'static Path {
    static LAYER: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = LAYER.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder for the layer");
        let path = folder.path().join("layer.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("faults/layer.c");
        let compiled = Command::new("gcc")
            .args(["-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o"])
            .arg(&path)
            .arg(&source)
            .arg("-ldl")
            .output()
            .expect("gcc is installed");
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        (folder, path)
    });
    path
}
