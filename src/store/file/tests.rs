//! The file store against real files, other processes and disks that refuse.

use std::{
    io::BufRead,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    process::{Child, Command, Stdio},
};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::{
    clock::UnixTime,
    secret::Secret,
    session::{
        Claims, Device, EndReason, LastRefresh, Notes, Observed, Origin, Outcome, Token, TokenKind, warning::Raised,
    },
};

pub(super) const NOW: Now = Now { wall: UnixTime::from_secs(2_000_000), boot: Duration::from_secs(77) };

/// How long a lock that nobody holds may take: a process that another test has just forked holds every lock of this one
/// until it runs a program.
const FREE: Duration = Duration::from_secs(60);

fn token(kind: TokenKind) -> Token {
    Token {
        jwt: Secret::new(format!("{}-{}", kind.as_str(), "x".repeat(1000))),
        claims: Claims {
            kind,
            subject: "4f1c".into(),
            username: "alice".into(),
            issuer: "https://issuer.example/pool".into(),
            client_id: "client".into(),
            issued_at: UnixTime::from_secs(1_999_000),
            expires_at: UnixTime::from_secs(2_002_600),
            auth_time: Some(UnixTime::from_secs(1_000_000)),
        },
        received: NOW,
    }
}

/// A session with every field in use.
pub(super) fn full() -> Session {
    Session {
        user_pool_id: "eu-west-1_Example".into(),
        client_id: "client".into(),
        subject: "4f1c".into(),
        username: "alice".into(),
        refresh_token: "refresh-0".into(),
        id_token: token(TokenKind::Id),
        access_token: Some(token(TokenKind::Access)),
        auth_time: Some(UnixTime::from_millis(1_000_000_001)),
        origin: Origin::Import,
        device: Some(Device { key: "key".into(), group_key: Some("group".into()), password: Some("secret".into()) }),
        generation: 7,
        notes: Notes {
            ended: Some(EndReason::Refused("Invalid Refresh Token".into())),
            locked: true,
            warned: Some(Raised { threshold: Duration::from_secs(3600), expiry: UnixTime::from_secs(5) }),
            observed: Observed {
                accepted_at: Some(Duration::from_millis(1)),
                refused_at: Some(Duration::from_secs(3)),
                learnt: Some(Duration::from_secs(2)),
                disproved: true,
            },
            last_refresh: Some(LastRefresh {
                at: UnixTime::from_secs(9),
                outcome: Outcome::Throttled,
                error: Some("slow down".into()),
            }),
            seed: Some("abc".into()),
        },
        jwks: Some(r#"{"keys":[]}"#.into()),
    }
}

pub(super) fn bare() -> Session {
    Session { access_token: None, auth_time: None, device: None, notes: Notes::default(), jwks: None, ..full() }
}

pub(super) fn place() -> (TempDir, FileStore) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = FileStore::new(dir.path().join("state/proxy.json"));
    (dir, store)
}

pub(super) fn save(store: &FileStore, session: &Session) -> Result<(), SaveError> {
    store.save(session, &store.lock(FREE).expect("locked"))
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("there").mode() & 0o7777
}

pub(super) fn names(store: &FileStore) -> Vec<String> {
    let entries = fs::read_dir(store.directory()).expect("a directory");
    let mut names: Vec<_> = entries.map(|entry| entry.expect("an entry").file_name().display().to_string()).collect();
    names.sort();
    names
}

#[test]
fn what_is_saved_is_loaded_and_counts_as_received_when_it_is() {
    let (_dir, store) = place();
    assert_eq!(store.load(NOW).expect("nothing is fine"), None);
    let mut ends: Vec<_> = [
        EndReason::Expired,
        EndReason::Revoked,
        EndReason::UserDisabled,
        EndReason::UserDeleted,
        EndReason::PasswordResetRequired,
        EndReason::UserNotConfirmed,
        EndReason::RotatedTokenLost,
    ]
    .map(|reason| Session { notes: Notes { ended: Some(reason), ..Notes::default() }, ..bare() })
    .into();
    ends.extend([full(), bare()]);
    for session in ends {
        save(&store, &session).expect("saved");
        assert_eq!(store.load(NOW).expect("loaded"), Some(session.clone()));
        let later = NOW.after(Duration::from_secs(5));
        let loaded = store.load(later).expect("loaded").expect("there");
        assert_eq!(loaded.id_token.received, later);
    }
    assert_eq!(names(&store), ["proxy.json", "proxy.lock"]);
    let lock = store.lock(FREE).expect("locked");
    store.clear(&lock).expect("cleared");
    store.clear(&lock).expect("nothing is fine");
    assert_eq!(store.load(NOW).expect("nothing is fine"), None);
}

#[test]
fn files_are_for_their_owner_alone() {
    let (_dir, store) = place();
    save(&store, &bare()).expect("saved");
    let (record, lock) = (&store.path, store.path.with_extension("lock"));
    assert_eq!((mode(store.directory()), mode(record), mode(&lock)), (0o700, 0o600, 0o600));
    // A record whose permissions somebody loosened is refused, and mended by the next one that is written.
    fs::set_permissions(record, Permissions::from_mode(0o640)).expect("set");
    let error = store.load(NOW).expect_err("refused").to_string();
    assert!(error.contains(&format!("chmod 600 {}", record.display())), "{error}");
    save(&store, &bare()).expect("saved");
    assert_eq!(mode(record), 0o600);
}

#[test]
fn a_directory_that_others_may_write_to_is_refused() {
    let (_dir, store) = place();
    save(&store, &bare()).expect("saved");
    for loose in [0o770, 0o707, 0o1777] {
        fs::set_permissions(store.directory(), Permissions::from_mode(loose)).expect("set");
        let error = store.load(NOW).expect_err("refused").to_string();
        assert!(error.contains(&format!("chmod go-w {}", store.directory().display())), "{error}");
        assert!(matches!(store.lock(Duration::ZERO), Err(LockError::Untrusted(Untrusted::Directory { .. }))));
    }
    fs::set_permissions(store.directory(), Permissions::from_mode(0o755)).expect("set");
    store.load(NOW).expect("others may look at the directory");
}

#[test]
fn a_link_or_a_pipe_in_the_records_place_is_refused_and_a_link_on_the_way_is_not() {
    let (dir, store) = place();
    save(&store, &bare()).expect("saved");
    let target = dir.path().join("target.json");
    fs::rename(&store.path, &target).expect("moved");
    symlink(&target, &store.path).expect("a link");
    let lock = store.lock(FREE).expect("locked");
    assert!(matches!(store.load(NOW), Err(LoadError::Untrusted(Untrusted::Link { .. }))));
    assert!(matches!(store.save(&full(), &lock), Err(SaveError::Untrusted(Untrusted::Link { .. }))));
    assert!(matches!(store.clear(&lock), Err(SaveError::Untrusted(Untrusted::Link { .. }))));

    fs::remove_file(&store.path).expect("removed");
    let made = Command::new("mkfifo").arg("-m600").arg(&store.path).status().expect("mkfifo");
    assert!(made.success());
    assert!(matches!(store.load(NOW), Err(LoadError::Untrusted(Untrusted::Kind { .. }))));

    fs::remove_file(&store.path).expect("removed");
    fs::rename(&target, &store.path).expect("moved back");
    symlink(store.directory(), dir.path().join("way")).expect("a link");
    let by_link = FileStore::new(dir.path().join("way/proxy.json"));
    assert_eq!(by_link.load(NOW).expect("loaded"), Some(bare()));
}

#[test]
fn what_root_writes_belongs_to_the_owner_of_the_directory() {
    let (_dir, store) = place();
    save(&store, &bare()).expect("saved");
    if rustix::process::geteuid().as_raw() != 0 {
        return;
    }
    std::os::unix::fs::chown(store.directory(), Some(12_345), Some(12_345)).expect("given away");
    fs::remove_file(store.path.with_extension("lock")).expect("removed");
    save(&store, &full()).expect("saved");
    for path in [&store.path, &store.path.with_extension("lock")] {
        assert_eq!(fs::metadata(path).expect("there").uid(), 12_345, "{}", path.display());
    }
    assert_eq!(store.load(NOW).expect("loaded"), Some(full()));
}

#[test]
fn a_record_of_a_newer_version_is_an_error_and_stays() {
    let (_dir, store) = place();
    save(&store, &bare()).expect("saved");
    let newer = r#"{"schema":2,"everything":"else"}"#;
    fs::write(&store.path, newer).expect("written");
    let lock = store.lock(FREE).expect("locked");
    assert!(matches!(store.load(NOW), Err(LoadError::Newer { schema: 2, .. })));
    assert!(matches!(store.save(&full(), &lock), Err(SaveError::Newer { schema: 2, .. })));
    assert!(matches!(store.clear(&lock), Err(SaveError::Newer { schema: 2, .. })));
    assert_eq!(fs::read_to_string(&store.path).expect("there"), newer);
}

#[test]
fn damaged_records_are_moved_aside_by_writers_alone_and_each_is_kept() {
    let (_dir, store) = place();
    save(&store, &bare()).expect("saved");
    for damaged in ["", "{", "not a record"] {
        fs::write(&store.path, damaged).expect("written");
        assert!(matches!(store.load(NOW), Err(LoadError::Corrupt { .. })), "{damaged:?}");
        assert_eq!(fs::read_to_string(&store.path).expect("a reader leaves it"), damaged);
        save(&store, &full()).expect("saved");
    }
    fs::write(&store.path, "at logout").expect("written");
    store.clear(&store.lock(FREE).expect("locked")).expect("cleared");
    let aside = names(&store).into_iter().filter(|name| name.starts_with("proxy.json.corrupt-"));
    let mut kept: Vec<_> = aside.map(|name| fs::read_to_string(store.directory().join(name)).expect("there")).collect();
    kept.sort();
    assert_eq!(kept, ["", "at logout", "not a record", "{"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn damage_is_noticed_and_never_written_over(at in any::<prop::sample::Index>(), bit in 0_u8..8, cut: bool) {
        let (_dir, store) = place();
        save(&store, &full()).expect("saved");
        let mut bytes = fs::read(&store.path).expect("there");
        let at = at.index(bytes.len());
        if cut {
            bytes.truncate(at);
        } else {
            bytes[at] ^= 1 << bit;
        }
        fs::write(&store.path, &bytes).expect("written");
        match store.load(NOW) {
            // Only blanks were hit.
            Ok(loaded) => prop_assert_eq!(loaded, Some(full())),
            Err(LoadError::Newer { .. }) => {
                prop_assert!(save(&store, &bare()).is_err());
                prop_assert_eq!(fs::read(&store.path).expect("there"), bytes);
            }
            Err(LoadError::Corrupt { .. }) => {
                prop_assert_eq!(fs::read(&store.path).expect("there"), bytes.clone());
                save(&store, &bare()).expect("saved");
                let aside = names(&store).into_iter().find(|name| name.contains(".corrupt-")).expect("kept");
                prop_assert_eq!(fs::read(store.directory().join(aside)).expect("there"), bytes);
                prop_assert_eq!(store.load(NOW).expect("loaded"), Some(bare()));
            }
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
}

#[test]
fn leftovers_of_a_writer_that_died_are_removed() {
    let (_dir, store) = place();
    save(&store, &bare()).expect("saved");
    fs::write(store.directory().join(".proxy.json.new-abc"), "half a record").expect("written");
    fs::write(store.directory().join(".other.json.new-abc"), "somebody else's").expect("written");
    save(&store, &full()).expect("saved");
    assert_eq!(names(&store), [".other.json.new-abc", "proxy.json", "proxy.lock"]);
}

#[test]
fn a_lock_that_is_held_is_waited_for_and_no_longer() {
    let (_dir, store) = place();
    let held = store.lock(FREE).expect("locked");
    let error = store.lock(Duration::from_millis(30)).expect_err("held");
    assert!(matches!(error, LockError::Held { .. }), "{error}");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| store.lock(FREE));
        drop(held);
        waiting.join().expect("no panic").expect("locked");
    });
}

/// Runs the test `name` again in a process of its own, with a store's path; `shell` prepares that process.
pub(super) fn child(name: &str, store: &FileStore, shell: &str) -> Child {
    Command::new("sh")
        .args(["-c", &format!("{shell} exec \"$0\" \"$@\"")])
        .arg(std::env::current_exe().expect("this test"))
        .args(["--exact", "--nocapture", &format!("store::file::{name}")])
        .env("STORE_TEST_PATH", &store.path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("a child")
}

/// The store that a child was given, or `None` in the parent.
pub(super) fn given() -> Option<FileStore> {
    std::env::var_os("STORE_TEST_PATH").map(|path| FileStore::new(path.into()))
}

#[test]
fn a_disk_that_refuses_leaves_the_old_record_whole() {
    if let Some(store) = given() {
        let error = save(&store, &Session { generation: 99, ..full() }).expect_err("the disk refuses");
        assert!(matches!(error, SaveError::Io { deed: "written", .. }), "{error}");
        return;
    }
    let (_dir, store) = place();
    save(&store, &full()).expect("saved");
    // No file may grow beyond a block (setrlimit(2), RLIMIT_FSIZE); the signal that says so is ignored.
    let refused = child("tests::a_disk_that_refuses_leaves_the_old_record_whole", &store, "trap '' XFSZ; ulimit -f 1;");
    let output = refused.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    assert_eq!(store.load(NOW).expect("loaded"), Some(full()));
    assert_eq!(names(&store), ["proxy.json", "proxy.lock"]);
}

#[test]
fn processes_that_share_a_store_lose_no_generation() {
    const CYCLES: u64 = 50;
    if let Some(store) = given() {
        for _ in 0..CYCLES {
            let lock = store.lock(Duration::from_secs(60)).expect("locked");
            let mut session = store.load(NOW).expect("loaded").expect("there");
            session.generation += 1;
            store.save(&session, &lock).expect("saved");
        }
        return;
    }
    let (_dir, store) = place();
    save(&store, &Session { generation: 0, ..bare() }).expect("saved");
    let children: Vec<_> =
        (0..3).map(|_| child("tests::processes_that_share_a_store_lose_no_generation", &store, "")).collect();
    for child in children {
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    assert_eq!(store.load(NOW).expect("loaded").expect("there").generation, 3 * CYCLES);
}

#[test]
fn the_lock_of_a_process_that_is_killed_is_free() {
    if let Some(store) = given() {
        let _lock = store.lock(FREE).expect("locked");
        println!("locked");
        std::thread::sleep(Duration::from_secs(600));
        return;
    }
    let (_dir, store) = place();
    let mut child = child("tests::the_lock_of_a_process_that_is_killed_is_free", &store, "");
    let output = io::BufReader::new(child.stdout.take().expect("a pipe"));
    assert!(output.lines().any(|line| line.expect("text").ends_with("locked")));
    assert!(store.lock(Duration::ZERO).is_err(), "the child has it");
    child.kill().expect("killed");
    child.wait().expect("it ends");
    store.lock(FREE).expect("the kernel gave it back");
}
