//! The session in one file.

mod disk;

use std::{
    ffi::OsString,
    fs::{self, Permissions},
    io::{self, Read},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use zeroize::Zeroizing;

use self::disk::{Disk, Kernel};
use super::{
    LoadError, Lock, LockError, ON_NETWORK, SaveError, TokenStore,
    place::{self, Owner, Untrusted},
    record::{self, Unreadable},
};
use crate::{
    clock::Now,
    session::Session,
    watch::{Changes, WatchError},
};

/// Far more than any record: tokens of the greatest size, and a key set.
const SIZE_LIMIT: u64 = 4 * 1024 * 1024;

/// A store of one file, and the files beside it.
#[derive(Clone, Debug)]
pub struct FileStore {
    path: PathBuf,
}

/// What stands where the record is to be.
enum Found {
    Nothing,
    Bytes(Zeroizing<Vec<u8>>, fs::Metadata),
}

impl FileStore {
    /// The store at `path`. Nothing is read or made yet.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self { path }
    }

    fn directory(&self) -> &Path {
        place::directory(&self.path)
    }

    /// Opens and reads the record, if it may be trusted.
    fn read(&self, owner: Owner, reading: bool) -> Result<Found, LoadError> {
        let file = match place::open_to_read(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
            Err(error) if place::is_link(&error) => return Err(Untrusted::Link { path: self.path.clone() }.into()),
            Err(error) => return Err(unreadable(&self.path, error)),
        };
        let failed = |source| LoadError::Io { path: self.path.clone(), source };
        let found = file.metadata().map_err(failed)?;
        place::check_record(&self.path, &found, owner, reading)?;
        let mut bytes = Zeroizing::new(Vec::new());
        file.take(SIZE_LIMIT + 1).read_to_end(&mut bytes).map_err(failed)?;
        Ok(Found::Bytes(bytes, found))
    }

    /// Makes way for a new record: a damaged one is moved aside, and one of a newer version stays.
    fn make_way(&self, owner: Owner) -> Result<(), SaveError> {
        let found = self.read(owner, false).map_err(|error| self.not_replaceable(error))?;
        let Found::Bytes(bytes, found) = found else { return Ok(()) };
        match record::check(&bytes) {
            Ok(()) => Ok(()),
            Err(Unreadable::Newer(schema)) => Err(SaveError::Newer { place: self.location(), schema }),
            Err(Unreadable::Corrupt(problem)) => {
                let aside = self.aside(found.mtime());
                fs::rename(&self.path, &aside).map_err(self.failed("moved aside"))?;
                tracing::warn!(path = %self.path.display(), moved_to = %aside.display(), problem, "damaged record");
                Ok(())
            }
        }
    }

    /// A free name for a damaged record that was last written at `seconds`.
    fn aside(&self, seconds: i64) -> PathBuf {
        let name = |suffix: &str| {
            let mut name = OsString::from(&self.path);
            name.push(format!(".corrupt-{seconds}{suffix}"));
            PathBuf::from(name)
        };
        let mut candidates = std::iter::once(name("")).chain((1_u32..).map(|count| name(&format!("-{count}"))));
        candidates.find(|name| fs::symlink_metadata(name).is_err()).unwrap_or_else(|| name("-more"))
    }

    fn not_replaceable(&self, error: LoadError) -> SaveError {
        match error {
            LoadError::Untrusted(untrusted) => untrusted.into(),
            LoadError::Denied { source, .. } | LoadError::Io { source, .. } => self.failed("replaced")(source),
            LoadError::Newer { place, schema } => SaveError::Newer { place, schema },
            LoadError::Corrupt { problem, .. } => self.failed("replaced")(io::Error::other(problem)),
            LoadError::Keyring(error) => error.into(),
        }
    }

    fn failed(&self, deed: &'static str) -> impl Fn(io::Error) -> SaveError {
        move |source| SaveError::Io { path: self.path.clone(), deed, source }
    }

    /// Writes a new file beside the record and puts it in its place.
    ///
    /// An error of fsync means that the kernel may have dropped what it could not write, so that asking again says
    /// nothing: the file is given up, and the next attempt begins with a new one.
    fn replace(&self, bytes: &[u8], owner: Owner, disk: &impl Disk) -> Result<(), SaveError> {
        self.remove_leftovers();
        let mut file = tempfile::Builder::new()
            .prefix(&self.temporary_prefix())
            .permissions(Permissions::from_mode(0o600))
            .tempfile_in(self.directory())
            .map_err(self.failed("written"))?;
        disk.write(&mut file, bytes).map_err(self.failed("written"))?;
        owner.adopt(file.as_file()).map_err(self.failed("given to the owner of its directory"))?;
        disk.sync(file.as_file()).map_err(self.failed("made durable"))?;
        disk.rename(file, &self.path).map_err(self.failed("put in place"))?;
        disk.sync_directory(self.directory()).map_err(self.failed("made durable"))
    }

    fn save_on(&self, session: &Session, disk: &impl Disk) -> Result<(), SaveError> {
        let owner = self.checked_for_writing()?;
        self.make_way(owner)?;
        let bytes = record::encode(session).map_err(|error| self.failed("written")(error.into()))?;
        self.replace(&bytes, owner, disk)
    }

    fn clear_on(&self, disk: &impl Disk) -> Result<(), SaveError> {
        let owner = self.checked_for_writing()?;
        self.remove_leftovers();
        self.make_way(owner)?;
        match fs::remove_file(&self.path) {
            Ok(()) => disk.sync_directory(self.directory()).map_err(self.failed("made durable")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(self.failed("removed")(error)),
        }
    }

    fn temporary_prefix(&self) -> OsString {
        let mut prefix = OsString::from(".");
        prefix.push(self.path.file_name().unwrap_or_default());
        prefix.push(".new-");
        prefix
    }

    /// Removes what a process left that died while it wrote. Whoever holds the lock is the only one that writes.
    fn remove_leftovers(&self) {
        let prefix = self.temporary_prefix();
        let Ok(entries) = fs::read_dir(self.directory()) else { return };
        for entry in entries.flatten() {
            if entry.file_name().as_encoded_bytes().starts_with(prefix.as_encoded_bytes()) {
                // It is no worse than before where it cannot be removed.
                drop(fs::remove_file(entry.path()));
            }
        }
    }

    fn checked_for_writing(&self) -> Result<Owner, SaveError> {
        let failed = self.failed("written");
        place::make_directory(self.directory()).map_err(&failed)?;
        Ok(place::checked_directory(self.directory()).map_err(&failed)??)
    }
}

impl TokenStore for FileStore {
    fn load(&self, now: Now) -> Result<Option<Session>, LoadError> {
        let owner = match place::checked_directory(self.directory()) {
            Ok(checked) => checked?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(self.directory(), error)),
        };
        let Found::Bytes(bytes, _) = self.read(owner, true)? else { return Ok(None) };
        record::decode(&bytes, now).map(Some).map_err(|unreadable| match unreadable {
            Unreadable::Corrupt(problem) => LoadError::Corrupt { place: self.location(), problem },
            Unreadable::Newer(schema) => LoadError::Newer { place: self.location(), schema },
        })
    }

    fn save(&self, session: &Session, _lock: &Lock) -> Result<(), SaveError> {
        self.save_on(session, &Kernel)
    }

    fn clear(&self, _lock: &Lock) -> Result<(), SaveError> {
        self.clear_on(&Kernel)
    }

    fn lock(&self, wait: Duration) -> Result<Lock, LockError> {
        Lock::beside(&self.path, wait)
    }

    fn watch(&self) -> Result<Changes, WatchError> {
        // Where the directory cannot be made, watching says so.
        let _made = place::make_directory(self.directory());
        Changes::of(&self.path)
    }

    fn location(&self) -> String {
        self.path.display().to_string()
    }

    fn caveat(&self) -> Option<&'static str> {
        place::is_on_network(self.directory()).then_some(ON_NETWORK)
    }
}

/// Why `path` cannot be opened, with its owner where that can be seen.
fn unreadable(path: &Path, source: io::Error) -> LoadError {
    let path = path.to_owned();
    if source.kind() == io::ErrorKind::PermissionDenied {
        let owner = fs::symlink_metadata(&path).ok().map(|found| found.uid());
        LoadError::Denied { path, owner, source }
    } else {
        LoadError::Io { path, source }
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_crash;
