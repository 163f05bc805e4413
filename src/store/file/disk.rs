//! The calls that put a record on a disk, one by one: what a crash or a broken disk can come between.

use std::{
    fs::File,
    io::{self, Write as _},
    path::Path,
};

use tempfile::NamedTempFile;

/// What is done to a disk, in the order in which a record is written.
pub(super) trait Disk {
    /// Writes all of `bytes` to a new file.
    fn write(&self, file: &mut NamedTempFile, bytes: &[u8]) -> io::Result<()>;

    /// Makes the file's content durable (fsync(2)).
    fn sync(&self, file: &File) -> io::Result<()>;

    /// Puts the file in the place of whatever is at `path` (rename(2)); where that is refused, the file is removed.
    fn rename(&self, file: NamedTempFile, path: &Path) -> io::Result<()>;

    /// Makes the names in `directory` durable.
    fn sync_directory(&self, directory: &Path) -> io::Result<()>;
}

/// The operating system's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kernel;

impl Disk for Kernel {
    fn write(&self, file: &mut NamedTempFile, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn rename(&self, file: NamedTempFile, path: &Path) -> io::Result<()> {
        file.persist(path).map(drop).map_err(|refused| refused.error)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        File::open(directory)?.sync_all()
    }
}
