//! Whether a place may hold a secret: owner, permissions, links.
//!
//! The rule is that of `ssh`: nobody but the owner may read the record or put another in its place. Root is trusted as
//! the owner is, and acts for the owner of the directory.

use std::{
    fs::{self, DirBuilder, File, Metadata, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, chown, fchown},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

/// Why a place is not safe to keep a secret in. Each says what mends it.
#[derive(Debug, thiserror::Error)]
pub enum Untrusted {
    /// Others may put files there.
    #[error("others than its owner may write to {path} (mode {mode:o}); mend it with: chmod go-w {path}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Others may read or write it.
    #[error("others than its owner may use {path} (mode {mode:o}); mend it with: chmod 600 {path}")]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is somebody else's.
    #[error("{path} belongs to user id {owner}, and this is user id {us}; run the command as its owner, or with sudo")]
    Owner {
        /// The file or directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who we are.
        us: u32,
    },
    /// A symbolic link stands in its place.
    #[error("{path} is a symbolic link; put the file itself there, or set store.path to where it points")]
    Link {
        /// The link.
        path: PathBuf,
    },
    /// It is a directory, a pipe, a device.
    #[error("{path} is not a regular file; move it away, or set store.path to another place")]
    Kind {
        /// What stands there.
        path: PathBuf,
    },
}

/// Whose files are made in a directory, and who checks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner {
    pub(super) uid: u32,
    pub(super) gid: u32,
    us: u32,
}

impl Owner {
    /// Gives `file` to the owner of the directory, where root has made it.
    pub(super) fn adopt(self, file: &File) -> io::Result<()> {
        if self.us == 0 && self.uid != 0 { fchown(file, Some(self.uid), Some(self.gid)) } else { Ok(()) }
    }
}

fn us() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The directory of `record`; a bare name lies in the current one.
pub(super) fn directory(record: &Path) -> &Path {
    record.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Checks the directory of a record, following links on the way to it.
///
/// # Errors
/// Of the operating system first (not found, not allowed), then of what was found.
pub(super) fn checked_directory(path: &Path) -> io::Result<Result<Owner, Untrusted>> {
    let found = fs::metadata(path)?;
    let us = us();
    let mode = found.mode() & 0o7777;
    Ok(if !is_trusted(found.uid(), us) {
        Err(Untrusted::Owner { path: path.to_owned(), owner: found.uid(), us })
    } else if mode & 0o022 != 0 {
        Err(Untrusted::Directory { path: path.to_owned(), mode })
    } else {
        Ok(Owner { uid: found.uid(), gid: found.gid(), us })
    })
}

/// Whether a directory of `owner` is fit for secrets of `us`: root's is, and root acts for whoever it belongs to.
const fn is_trusted(owner: u32, us: u32) -> bool {
    us == 0 || owner == us || owner == 0
}

/// Makes the directory and those above it, 0700, where they are not there; they belong to whom the nearest one does
/// that was there.
pub(super) fn make_directory(path: &Path) -> io::Result<()> {
    let missing: Vec<_> = path.ancestors().take_while(|path| !path.exists() && !path.as_os_str().is_empty()).collect();
    let Some(first) = missing.last() else { return Ok(()) };
    let above = fs::metadata(directory(first))?;
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    if us() == 0 && above.uid() != 0 {
        for made in missing {
            chown(made, Some(above.uid()), Some(above.gid()))?;
        }
    }
    Ok(())
}

/// Opens a file of ours beside the record, making it 0600 where it is not there. A link is not followed.
pub(super) fn open_beside(path: &Path, owner: Owner) -> io::Result<File> {
    let made = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path);
    match made {
        Ok(file) => {
            owner.adopt(&file)?;
            Ok(file)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            OpenOptions::new().read(true).write(true).custom_flags(no_follow()).open(path)
        }
        Err(error) => Err(error),
    }
}

/// Opens `path` to read it, following no link, and without waiting where it is a pipe.
pub(super) fn open_to_read(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(no_follow()).open(path)
}

#[expect(clippy::cast_possible_wrap, reason = "flags of open(2), which are a C int")]
const fn no_follow() -> i32 {
    OFlags::NOFOLLOW.union(OFlags::NONBLOCK).bits() as i32
}

/// Whether opening failed because of a link in the last place (open(2), `O_NOFOLLOW`).
pub(super) fn is_link(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
}

/// Checks a record that was opened. Its permissions count where it is read, not where it is replaced.
pub(super) fn check_record(path: &Path, found: &Metadata, owner: Owner, reading: bool) -> Result<(), Untrusted> {
    let path = path.to_owned();
    let mode = found.mode() & 0o7777;
    if !found.is_file() {
        Err(Untrusted::Kind { path })
    } else if found.uid() != owner.us && !(owner.us == 0 && found.uid() == owner.uid) {
        Err(Untrusted::Owner { path, owner: found.uid(), us: owner.us })
    } else if reading && mode & 0o077 != 0 {
        Err(Untrusted::Mode { path, mode })
    } else {
        Ok(())
    }
}

/// Whether locks on files in `directory` may not hold between machines.
#[cfg(target_os = "linux")]
pub(super) fn is_on_network(directory: &Path) -> bool {
    // The type is 64 bits wide or 32, with a sign or without, by platform; the numbers have 32 bits.
    // What is not there yet will be made where the nearest directory above it is.
    let found = directory.ancestors().find_map(|above| rustix::fs::statfs(above).ok());
    found.is_some_and(|found| is_network(i128::from(found.f_type) & 0xFFFF_FFFF))
}

/// Whether a file system with this magic number (`linux/magic.h`) lies on another machine.
#[cfg(target_os = "linux")]
fn is_network(magic: i128) -> bool {
    /// CIFS and SMB2, of which rustix knows none.
    const SMB: [u32; 2] = [0xFF53_4D42, 0xFE53_4D42];
    magic == i128::from(rustix::fs::NFS_SUPER_MAGIC) || SMB.iter().any(|smb| magic == i128::from(*smb))
}

/// Elsewhere it cannot be told.
#[cfg(not(target_os = "linux"))]
pub(super) fn is_on_network(_directory: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_owner_and_root_on_their_behalf_may_use_a_record() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let found = file.as_file().metadata().expect("there");
        let uid = found.uid();
        for (owner, us, trusted) in
            [(uid, uid, true), (uid + 7, uid, true), (uid, uid + 7, false), (uid, 0, true), (uid + 7, uid + 7, false)]
        {
            let owner = Owner { uid: owner, gid: 0, us };
            let checked = check_record(file.path(), &found, owner, true);
            assert_eq!(checked.is_ok(), trusted, "{owner:?} {checked:?}");
            assert!(trusted || matches!(checked, Err(Untrusted::Owner { .. })), "{checked:?}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn file_systems_of_other_machines_are_told_from_ones_own() {
        for (magic, on_network) in
            [(0x6969, true), (0xFF53_4D42, true), (0xFE53_4D42, true), (0xEF53, false), (0x0102_1994, false)]
        {
            assert_eq!(is_network(magic), on_network, "{magic:x}");
        }
    }

    #[test]
    fn a_directory_belongs_to_us_or_to_root_where_we_are_not_root() {
        for (owner, us, trusted) in [(7, 7, true), (0, 7, true), (8, 7, false), (8, 0, true), (0, 0, true)] {
            assert_eq!(is_trusted(owner, us), trusted, "{owner} {us}");
        }
    }

    #[test]
    fn directories_are_made_for_the_owner_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let made = dir.path().join("a/b");
        make_directory(&made).expect("made");
        for path in [made.as_path(), &dir.path().join("a")] {
            assert_eq!(fs::metadata(path).expect("there").mode() & 0o7777, 0o700);
            assert!(checked_directory(path).expect("there").is_ok());
        }
        make_directory(&made).expect("there already");
    }
}
