//! What this process is allowed: to keep its memory to itself, and to have many files open.
//!
//! Both are done at the very start, before a secret is read and before there is a second thread.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Keeps the memory of this process, where tokens are, out of core files and from other processes of the same user.
///
/// Not dumpable (`PR_SET_DUMPABLE`, `prctl(2)`) means no core, also where `core_pattern` is a pipe, which knows no
/// limit (`core(5)`), and that `/proc/PID/mem`, `environ` and the like belong to root. `execve` resets that, which is
/// why the limit is set too: children such as the warning hook inherit it.
///
/// # Errors
/// What the system says where it refuses one of the two; the other is in effect then.
pub fn seal() -> io::Result<()> {
    let undumpable = undumpable();
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    undumpable
}

#[cfg(target_os = "linux")]
fn undumpable() -> io::Result<()> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};

    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "other systems know no such attribute")]
fn undumpable() -> io::Result<()> {
    Ok(())
}

/// Raises the soft limit of open files to the hard one: every request may need two sockets, and the usual soft limit,
/// 1024, is kept low only for programs that use `select(2)`.
///
/// # Errors
/// What the system says where it refuses.
pub fn raise_open_files() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return Ok(());
    }
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?)
}
