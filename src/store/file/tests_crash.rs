//! What a crash, or a disk that fails, leaves behind at each step of a write.

use std::{cell::RefCell, fs::File, os::unix::fs::MetadataExt, os::unix::process::ExitStatusExt as _};

use rustix::process::{Signal, getpid, kill_process};
use tempfile::NamedTempFile;

use super::{
    disk::{Disk, Kernel},
    tests::{NOW, bare, child, full, given, names, place, save},
    *,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Write,
    Sync,
    Rename,
    SyncDirectory,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Break {
    /// The process ends as after a failed assertion.
    Abort,
    /// The process ends as after `kill -9`.
    Kill,
    /// The disk says that it has no room.
    Fail,
}

const STEPS: [Step; 4] = [Step::Write, Step::Sync, Step::Rename, Step::SyncDirectory];
const BREAKS: [Break; 3] = [Break::Abort, Break::Kill, Break::Fail];

/// The operating system's disk, which breaks at a step, and remembers the steps with the file that each was about.
#[derive(Default)]
struct Fragile {
    breaks: Option<(Step, Break)>,
    did: RefCell<Vec<(Step, u64)>>,
}

impl Fragile {
    /// Says whether `step` fails, or ends the process once `deed` is done.
    fn at(&self, step: Step, inode: u64, deed: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        self.did.borrow_mut().push((step, inode));
        match self.breaks {
            Some((at, Break::Fail)) if at == step => Err(io::ErrorKind::StorageFull.into()),
            Some((at, how)) if at == step => {
                deed().expect("done");
                if how == Break::Kill {
                    kill_process(getpid(), Signal::KILL).expect("killed");
                }
                std::process::abort()
            }
            _ => deed(),
        }
    }

    fn steps(&self) -> Vec<Step> {
        self.did.borrow().iter().map(|(step, _)| *step).collect()
    }
}

fn inode(file: &File) -> u64 {
    file.metadata().expect("open").ino()
}

impl Disk for Fragile {
    fn write(&self, file: &mut NamedTempFile, bytes: &[u8]) -> io::Result<()> {
        let inode = inode(file.as_file());
        // A disk without room takes what it has room for.
        Kernel.write(file, &bytes[..bytes.len() / 2])?;
        self.at(Step::Write, inode, || Kernel.write(file, &bytes[bytes.len() / 2..]))
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.at(Step::Sync, inode(file), || Kernel.sync(file))
    }

    fn rename(&self, file: NamedTempFile, path: &Path) -> io::Result<()> {
        self.at(Step::Rename, inode(file.as_file()), || Kernel.rename(file, path))
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        self.at(Step::SyncDirectory, 0, || Kernel.sync_directory(directory))
    }
}

#[test]
fn the_file_is_durable_before_it_is_in_place_and_its_name_before_anybody_hears_of_it() {
    let (_dir, store) = place();
    save(&store, &bare()).expect("saved");
    let disk = Fragile::default();
    store.save_on(&full(), &disk).expect("saved");
    assert_eq!(disk.steps(), STEPS);
    let written = fs::metadata(&store.path).expect("there").ino();
    let did = disk.did.take();
    assert!(did[..3].iter().all(|(_, inode)| *inode == written), "one file from first to last: {did:?}");

    store.clear_on(&disk).expect("cleared");
    assert_eq!(disk.steps(), [Step::SyncDirectory]);
    assert!(!store.path.exists());
}

/// Which error fsync(2) reports of a file it reports once, and the pages that it could not write are gone.
#[test]
fn a_file_that_could_not_be_made_durable_is_given_up_and_not_asked_again() {
    let (_dir, store) = place();
    save(&store, &bare()).expect("saved");
    let disk = Fragile { breaks: Some((Step::Sync, Break::Fail)), ..Fragile::default() };
    let error = store.save_on(&full(), &disk).expect_err("not durable");
    assert!(matches!(error, SaveError::Io { deed: "made durable", .. }), "{error}");
    assert_eq!(disk.steps(), [Step::Write, Step::Sync]);
    assert_eq!(store.load(NOW).expect("loaded"), Some(bare()));
    assert_eq!(names(&store), ["proxy.json", "proxy.lock"], "nothing of it is left");
    let disk = Fragile::default();
    store.save_on(&full(), &disk).expect("saved");
    assert_eq!(disk.steps(), STEPS, "written anew");
}

/// Each step × {abort, kill -9, a full disk}: one record or the other, whole, and the next write goes through.
#[test]
fn wherever_a_write_breaks_off_one_record_is_there_and_whole() {
    if let (Some(store), Ok(number)) = (given(), std::env::var("STORE_TEST_BREAK")) {
        let number: usize = number.parse().expect("a number");
        let breaks = (STEPS[number / BREAKS.len()], BREAKS[number % BREAKS.len()]);
        let _lock = store.lock(Duration::from_secs(20)).expect("the kernel gave it back");
        let disk = Fragile { breaks: Some(breaks), ..Fragile::default() };
        let error = store.save_on(&full(), &disk).expect_err("it breaks");
        assert!(matches!(error, SaveError::Io { .. }), "{error}");
        return;
    }
    let (_dir, store) = place();
    let name = "tests_crash::wherever_a_write_breaks_off_one_record_is_there_and_whole";
    if std::env::var_os("STORE_TEST_ALONE").is_none() {
        // Each process that is begun here holds the locks of other tests until it is another program.
        let alone = child(name, &store, "export STORE_TEST_ALONE=1;").wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&alone.stdout);
        assert!(alone.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    for number in 0..STEPS.len() * BREAKS.len() {
        let (step, how) = (STEPS[number / BREAKS.len()], BREAKS[number % BREAKS.len()]);
        save(&store, &bare()).expect("saved");
        let shell = format!("ulimit -c 0; export STORE_TEST_BREAK={number};");
        let ended = child(name, &store, &shell).wait_with_output().expect("it ends").status;
        let expected = match how {
            Break::Abort => Some(Signal::ABORT.as_raw()),
            Break::Kill => Some(Signal::KILL.as_raw()),
            Break::Fail => None,
        };
        assert_eq!((ended.signal(), ended.success()), (expected, expected.is_none()), "{step:?} {how:?}");
        let is_in_place = match step {
            Step::Write | Step::Sync => false,
            Step::Rename => how != Break::Fail,
            Step::SyncDirectory => true,
        };
        let whole = if is_in_place { full() } else { bare() };
        assert_eq!(store.load(NOW).expect("loaded"), Some(whole), "{step:?} {how:?}");
        save(&store, &Session { generation: 9, ..full() }).expect("the next write");
        assert_eq!(names(&store), ["proxy.json", "proxy.lock"], "{step:?} {how:?}");
    }
}
