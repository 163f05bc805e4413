//! Files that hold secrets: read only where nobody else could have read or replaced them.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

use super::{environment::Environment, locate::reason, problem::Problem};
use crate::secret::Secret;

/// No secret that Cognito or a person makes is longer.
const MAX_BYTES: u64 = 16 * 1024;

/// The secret in `path`, without the line end that editors and `echo` leave.
pub(super) fn read(path: &Path, environment: &Environment) -> Result<Secret, Problem> {
    let text = guarded(path, environment)?;
    let secret = text.trim_end_matches(['\n', '\r']);
    if secret.is_empty() {
        return Err(Problem::new(format!("names {}, which is empty", path.display())).fix("put the secret into it"));
    }
    if !secret.chars().all(|c| c.is_ascii_graphic()) {
        return Err(Problem::new(format!("names {}, which holds more than one word", path.display()))
            .fix("leave the secret alone in it: no spaces, no second line, plain ASCII"));
    }
    Ok(Secret::from(secret))
}

/// The text of a file whose owner and permissions keep a secret.
pub(super) fn guarded(path: &Path, environment: &Environment) -> Result<String, Problem> {
    let shown = path.display();
    let unreadable = |error: &io::Error| {
        let problem = Problem::new(format!("names {shown}, which cannot be read: {}", reason(error)));
        match error.kind() {
            io::ErrorKind::NotFound => problem.fix("make the file, or name another"),
            io::ErrorKind::PermissionDenied => problem.fix("make it this user's own, with mode 0600").refused(),
            _ => problem,
        }
    };
    let link = path.symlink_metadata().map_err(|error| unreadable(&error))?;
    let is_credential = is_credential(path, environment);
    if link.is_symlink() && !is_credential {
        return Err(Problem::new(format!("names {shown}, which is a symbolic link"))
            .fix("name the file itself: whoever may change the link could replace the secret")
            .refused());
    }
    let flags = i32::try_from((rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY).bits()).unwrap_or(0);
    let file = File::options().read(true).custom_flags(flags).open(path).map_err(|error| unreadable(&error))?;
    let metadata = file.metadata().map_err(|error| unreadable(&error))?;
    if !metadata.is_file() {
        return Err(Problem::new(format!("names {shown}, which is not a file")).fix("name a file"));
    }
    if !is_credential {
        check_owner(path, &metadata, environment)?;
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| unreadable(&error))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Problem::new(format!("names {shown}, which is longer than any secret")).fix("name the right file"));
    }
    String::from_utf8(bytes)
        .map_err(|_| Problem::new(format!("names {shown}, which is not text")).fix("name the right file"))
}

/// Whether systemd made the file for this service: it keeps credentials by an access list, in a directory of its own,
/// so that their mode and owner say nothing (systemd.exec(5), `LoadCredential=`).
fn is_credential(path: &Path, environment: &Environment) -> bool {
    path.starts_with("/run/credentials")
        || environment.directory_in("CREDENTIALS_DIRECTORY").is_some_and(|directory| path.starts_with(directory))
}

fn check_owner(path: &Path, metadata: &Metadata, environment: &Environment) -> Result<(), Problem> {
    let shown = path.display();
    let parent = path.parent().unwrap_or(Path::new("/"));
    let directory = fs::metadata(parent)
        .map_err(|error| Problem::new(format!("names {shown}, whose directory cannot be read: {}", reason(&error))))?;
    let mine = |uid: u32| uid == environment.uid || uid == 0;
    // Root works for the service whose directory it is in: `sudo cognito-proxy login`.
    let is_of_service = environment.uid == 0 && metadata.uid() == directory.uid();
    if !mine(metadata.uid()) && !is_of_service {
        return Err(Problem::new(format!("names {shown}, which belongs to uid {}", metadata.uid()))
            .fix(format!("make it this user's own: chown {} {shown}", environment.uid))
            .refused());
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(Problem::new(format!(
            "names {shown}, which others may read or write: its mode is {:04o}",
            metadata.mode() & 0o7777
        ))
        .fix(format!("keep it to its owner: chmod 600 {shown}"))
        .refused());
    }
    if directory.mode() & 0o022 != 0 {
        return Err(Problem::new(format!(
            "names {shown}, in a directory that others may write to: its mode is {:04o}",
            directory.mode() & 0o7777
        ))
        .fix(format!("keep others from replacing the file: chmod go-w {}", parent.display()))
        .refused());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, os::unix::fs::PermissionsExt};

    use super::*;

    struct Place {
        directory: tempfile::TempDir,
        environment: Environment,
    }

    impl Place {
        fn new() -> Self {
            let environment = Environment {
                variables: BTreeMap::new(),
                directory: "/".into(),
                uid: rustix::process::geteuid().as_raw(),
                etc: "/etc".into(),
            };
            Self { directory: tempfile::tempdir().expect("a directory"), environment }
        }

        fn write(&self, content: &str, mode: u32) -> std::path::PathBuf {
            let path = self.directory.path().join("secret");
            fs::write(&path, content).expect("a file");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
            path
        }
    }

    #[test]
    fn the_line_end_is_not_part_of_the_secret() {
        let place = Place::new();
        for content in ["s3cr3t", "s3cr3t\n", "s3cr3t\r\n"] {
            assert_eq!(read(&place.write(content, 0o600), &place.environment).expect("a secret").expose(), "s3cr3t");
        }
        for content in ["", "\n", "two words\n", "two\nlines\n", "smörgås"] {
            let problem = read(&place.write(content, 0o600), &place.environment).expect_err(content);
            assert!(!problem.refused);
            assert!(content.trim().is_empty() || !format!("{problem:?}").contains(content.trim()), "{problem:?}");
        }
    }

    #[test]
    fn a_file_that_others_can_touch_is_refused_with_the_command_that_mends_it() {
        let place = Place::new();
        for mode in [0o644, 0o640, 0o620, 0o604] {
            let problem = read(&place.write("s", mode), &place.environment).expect_err("loose");
            assert!(
                problem.refused && problem.fix.as_deref().is_some_and(|fix| fix.contains("chmod 600")),
                "{problem:?}"
            );
        }
        let path = place.write("s", 0o600);
        let link = place.directory.path().join("link");
        std::os::unix::fs::symlink(&path, &link).expect("a link");
        assert!(read(&link, &place.environment).expect_err("a link").refused);

        fs::set_permissions(place.directory.path(), fs::Permissions::from_mode(0o777)).expect("a mode");
        let problem = read(&path, &place.environment).expect_err("a loose directory");
        assert!(problem.fix.is_some_and(|fix| fix.starts_with("keep others from replacing")));
    }

    #[test]
    fn a_foreign_owner_is_refused_and_a_credential_of_systemd_is_not() {
        let mut place = Place::new();
        let path = place.write("s", 0o440);
        if place.environment.uid == 0 {
            std::os::unix::fs::chown(&path, Some(4242), None).expect("root may");
        } else {
            place.environment.uid += 1;
        }
        let problem = read(&path, &place.environment).expect_err("foreign");
        assert!(problem.refused && problem.message.contains("belongs to uid"), "{problem:?}");
        let directory = place.directory.path().as_os_str().to_owned();
        place.environment.variables.insert("CREDENTIALS_DIRECTORY".into(), directory);
        assert_eq!(read(&path, &place.environment).expect("a credential").expose(), "s");
    }
}
