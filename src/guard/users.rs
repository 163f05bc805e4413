//! `guard.users`: which local users' processes may connect.
//!
//! Names are looked up in `/etc/passwd` and nowhere else: asking the name service would mean C library calls, and
//! users of a directory can be given by uid.

use std::fs;

/// An entry of `guard.users`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserSpec {
    /// `self`: the user that this proxy runs as.
    Myself,
    /// `any`: everybody on this machine.
    Any,
    /// A uid.
    Uid(u32),
    /// A login name.
    Name(String),
}

/// Why a text is no entry of `guard.users`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserSpecError {
    /// Digits that are no uid.
    #[error("{0:?} is no uid; uids go from 0 to 4294967294")]
    Uid(String),
    /// Something that cannot be a login name (`passwd(5)`).
    #[error("{0:?} is no user; write a name, a uid, \"self\" or \"any\"")]
    Name(String),
}

/// A name that nobody on this machine has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsersError {
    /// It is not in `/etc/passwd`.
    #[error("guard.users: /etc/passwd has no user {0:?}; give the uid instead (`id -u {0}`)")]
    NoSuchUser(String),
}

impl UserSpec {
    /// Reads an entry of `guard.users`.
    pub fn parse(text: &str) -> Result<Self, UserSpecError> {
        match text {
            "self" => return Ok(Self::Myself),
            "any" => return Ok(Self::Any),
            _ => {}
        }
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            // 2³² − 1 is what system calls take for "no user" (chown(2)).
            let uid = text.parse().ok().filter(|uid| *uid != u32::MAX);
            return uid.map(Self::Uid).ok_or_else(|| UserSpecError::Uid(text.to_owned()));
        }
        let odd = |character: char| character == ':' || character.is_whitespace() || character.is_control();
        if text.is_empty() || text.contains(odd) || text.contains('*') {
            return Err(UserSpecError::Name(text.to_owned()));
        }
        Ok(Self::Name(text.to_owned()))
    }
}

/// `guard.users`, resolved on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Users {
    any: bool,
    uids: Vec<u32>,
    /// The uid that unmapped users read as, where this process sees only some of them.
    overflow: Option<u32>,
    announcements: Vec<String>,
}

impl Users {
    /// Looks up the names of `specs` in `/etc/passwd`.
    pub fn resolve(specs: &[UserSpec]) -> Result<Self, UsersError> {
        Self::resolve_on(&Machine::read(), specs)
    }

    /// Whether processes of `uid` may connect. The overflow uid stands for everybody whom this user namespace does
    /// not know, so it is nobody's, even where it is listed.
    #[must_use]
    pub fn admits(&self, uid: u32) -> bool {
        self.any || (self.overflow != Some(uid) && self.uids.contains(&uid))
    }

    /// Whether everybody is admitted, known or not.
    #[must_use]
    pub const fn is_any(&self) -> bool {
        self.any
    }

    /// What a person should be told at every start, a sentence each.
    #[must_use]
    pub fn announcements(&self) -> &[String] {
        &self.announcements
    }

    fn resolve_on(machine: &Machine, specs: &[UserSpec]) -> Result<Self, UsersError> {
        let mut users = Self { any: false, uids: Vec::new(), overflow: None, announcements: Vec::new() };
        for spec in specs {
            match spec {
                UserSpec::Any => users.any = true,
                UserSpec::Myself => users.uids.push(machine.myself),
                UserSpec::Uid(uid) => users.uids.push(*uid),
                UserSpec::Name(name) => users.uids.push(machine.uid_of(name)?),
            }
        }
        users.uids.sort_unstable();
        users.uids.dedup();
        users.overflow = machine.overflow();
        users.announce(machine);
        Ok(users)
    }

    fn announce(&mut self, machine: &Machine) {
        if self.any {
            self.announcements.push("guard.users holds \"any\": processes of every local user may connect".into());
            return;
        }
        if !cfg!(target_os = "linux") {
            self.announcements.push(
                "guard.users is not enforced on TCP: this operating system cannot tell who a peer is; \
                 listen on a Unix socket, or set guard.client_key_file"
                    .into(),
            );
        }
        let Some(overflow) = self.overflow else { return };
        let lost: Vec<String> =
            self.uids.iter().filter(|uid| !machine.is_mapped(**uid)).map(ToString::to_string).collect();
        if !lost.is_empty() || self.uids.contains(&overflow) {
            let lost = if lost.is_empty() { overflow.to_string() } else { lost.join(", ") };
            self.announcements.push(format!(
                "in this user namespace only \"self\" of guard.users can work: uid {lost} is not mapped into it and reads as \
                 {overflow}, which is never admitted"
            ));
        }
    }
}

/// What of this machine `guard.users` depends on.
#[derive(Clone, Debug)]
struct Machine {
    /// The effective uid of this process.
    myself: u32,
    /// `/etc/passwd`.
    passwd: String,
    /// The uids that are mapped into this user namespace: first and number of each range (`user_namespaces(7)`).
    mapped: Vec<(u32, u32)>,
    /// What the others read as.
    overflow: u32,
}

/// `/proc/sys/kernel/overflowuid` where nobody has changed it (`proc(5)`).
const DEFAULT_OVERFLOW_UID: u32 = 65_534;

impl Machine {
    fn read() -> Self {
        // Without /proc, or on another system, everybody is taken to be mapped, as is so outside user namespaces.
        let mapped = fs::read_to_string("/proc/self/uid_map").map_or_else(|_| vec![(0, u32::MAX)], |map| ranges(&map));
        let overflow = fs::read_to_string("/proc/sys/kernel/overflowuid").ok();
        Self {
            myself: rustix::process::geteuid().as_raw(),
            passwd: fs::read_to_string("/etc/passwd").unwrap_or_default(),
            mapped,
            overflow: overflow.and_then(|uid| uid.trim().parse().ok()).unwrap_or(DEFAULT_OVERFLOW_UID),
        }
    }

    /// The overflow uid, where some users are not mapped and so read as it.
    fn overflow(&self) -> Option<u32> {
        let known: u64 = self.mapped.iter().map(|(_, count)| u64::from(*count)).sum();
        (known < u64::from(u32::MAX)).then_some(self.overflow)
    }

    fn is_mapped(&self, uid: u32) -> bool {
        self.mapped.iter().any(|(first, count)| uid.checked_sub(*first).is_some_and(|offset| offset < *count))
    }

    /// `root` is 0 also where an image has no `/etc/passwd`.
    fn uid_of(&self, name: &str) -> Result<u32, UsersError> {
        let uid = self.passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            (fields.next() == Some(name)).then(|| fields.nth(1)).flatten()?.parse().ok()
        });
        match uid {
            Some(uid) => Ok(uid),
            None if name == "root" => Ok(0),
            None => Err(UsersError::NoSuchUser(name.to_owned())),
        }
    }
}

/// The lines of a `uid_map`: first uid inside, first uid outside, how many.
fn ranges(map: &str) -> Vec<(u32, u32)> {
    map.lines()
        .filter_map(|line| {
            let mut numbers = line.split_whitespace().map(str::parse);
            let inside = numbers.next()?.ok()?;
            numbers.next()?.ok()?;
            Some((inside, numbers.next()?.ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(map: &str) -> Machine {
        Machine {
            myself: 1000,
            passwd: "root:x:0:0:root:/root:/bin/sh\nalice:x:1001:1001::/home/alice:/bin/sh\nbroken:x\n".into(),
            mapped: ranges(map),
            overflow: 65_534,
        }
    }

    const WHOLE: &str = "         0          0 4294967295\n";

    fn specs(texts: &[&str]) -> Vec<UserSpec> {
        texts.iter().map(|text| UserSpec::parse(text).unwrap()).collect()
    }

    #[test]
    fn entries_are_words_uids_or_names() {
        assert_eq!(
            specs(&["self", "any", "0", "alice"]),
            [UserSpec::Myself, UserSpec::Any, UserSpec::Uid(0), UserSpec::Name("alice".into())]
        );
        for text in ["", "*", "a b", "a:b", "4294967295", "99999999999"] {
            assert!(UserSpec::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn names_and_self_become_uids() {
        let users = Users::resolve_on(&machine(WHOLE), &specs(&["self", "root", "alice"])).unwrap();
        assert_eq!([0, 1000, 1001, 1002, 65_534].map(|uid| users.admits(uid)), [true, true, true, false, false]);
        assert!(users.announcements().iter().all(|line| line.contains("operating system")));
        for name in ["bob", "broken", "x"] {
            let error = Users::resolve_on(&machine(WHOLE), &specs(&[name])).unwrap_err();
            assert_eq!(error, UsersError::NoSuchUser(name.into()));
        }
    }

    #[test]
    fn root_is_root_without_a_passwd() {
        let machine = Machine { passwd: String::new(), ..machine(WHOLE) };
        assert!(Users::resolve_on(&machine, &specs(&["root"])).unwrap().admits(0));
    }

    #[test]
    fn any_admits_everybody_and_says_so() {
        let users = Users::resolve_on(&machine(WHOLE), &specs(&["any"])).unwrap();
        assert!(users.admits(4711) && users.is_any());
        assert!(users.announcements()[0].contains("\"any\""));
    }

    #[test]
    fn the_overflow_uid_is_nobodys_inside_a_user_namespace() {
        let inside = machine("1000 1000 1\n");
        let users = Users::resolve_on(&inside, &specs(&["self", "root", "65534"])).unwrap();
        assert!(users.admits(1000));
        assert!(!users.admits(65_534));
        assert!(users.announcements().iter().any(|line| line.contains("only \"self\"") && line.contains("0, 65534")));
        // Outside, it is a user like any other.
        let outside = Users::resolve_on(&machine(WHOLE), &specs(&["65534"])).unwrap();
        assert!(outside.admits(65_534));
        // With everybody who is listed mapped there is nothing to say.
        let container = Users::resolve_on(&machine("0 1000 1\n1 100000 65536\n"), &specs(&["root", "self"])).unwrap();
        assert_eq!(container.announcements().iter().filter(|line| line.contains("namespace")).count(), 0);
    }

    #[test]
    fn this_machine_can_be_read() {
        let users = Users::resolve(&specs(&["self"])).unwrap();
        assert!(users.admits(rustix::process::geteuid().as_raw()));
    }
}
