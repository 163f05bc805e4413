//! What is packaged elsewhere than by cargo has every file that the build reads: the container's build sees no more than
//! its file and its ignore file name, and the Debian package takes its files by name.

use std::{
    collections::BTreeSet,
    fs,
    path::{Component, Path, PathBuf},
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every Rust file below `directory`.
fn sources(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path());
    let (directories, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let own = files.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    directories.iter().flat_map(|directory| sources(directory)).chain(own).collect()
}

/// What the build reads beside Rust: the first part, below the root, of every path that a source includes.
fn included() -> BTreeSet<String> {
    let literal = |rest: &str| rest.split('"').nth(1).map(str::to_owned);
    let of_file = |file: PathBuf| {
        let text = fs::read_to_string(&file).expect("a source");
        let paths: Vec<String> = text.split("include_str!(").skip(1).filter_map(literal).collect();
        paths.into_iter().map(move |path| below_root(&file.with_file_name(path)))
    };
    sources(&root().join("src")).into_iter().flat_map(of_file).collect()
}

fn below_root(path: &Path) -> String {
    let mut parts: Vec<Component> = Vec::new();
    for part in path.strip_prefix(root()).expect("below the root").components() {
        if part == Component::ParentDir {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts[0].as_os_str().to_string_lossy().into_owned()
}

#[test]
fn the_container_is_built_from_all_that_the_build_reads() {
    let container = text("packaging/Containerfile");
    // Of a COPY all but the last word is what is copied.
    let from_context =
        container.lines().filter_map(|line| line.strip_prefix("COPY ")).filter(|copy| !copy.contains("--"));
    let copied: BTreeSet<String> = from_context
        .flat_map(|copy| copy.rsplit_once(' ').expect("a destination").0.split(' ').map(str::to_owned))
        .collect();
    for path in &copied {
        assert!(root().join(path).exists(), "{path} is copied and is not there");
    }
    let ignore = text("packaging/Containerfile.dockerignore");
    let admitted: BTreeSet<String> =
        ignore.lines().filter_map(|line| line.strip_prefix('!')).map(str::to_owned).collect();
    assert_eq!(admitted, copied, "the ignore file (left) against what is copied (right)");
    let of_build = ["build.rs", "packaging/layout.ld"].map(str::to_owned);
    let missing: Vec<_> = included().into_iter().chain(of_build).filter(|path| !copied.contains(path)).collect();
    assert!(missing.is_empty(), "the build reads {missing:?}, which the container file does not copy");
    assert!(included().contains("systemd") && included().contains("proxy.toml"), "{:?}", included());
}

#[test]
fn the_debian_package_is_made_of_files_that_are_there() {
    let manifest: toml_edit::DocumentMut = text("Cargo.toml").parse().expect("TOML");
    let assets = manifest["package"]["metadata"]["deb"]["assets"].as_array().expect("assets");
    let sources = assets.iter().filter_map(|asset| asset.as_array()?.get(0)?.as_str());
    // What is below target is made by packaging/deb.
    let (made, kept): (Vec<_>, Vec<_>) = sources.partition(|path| path.starts_with("target/"));
    for path in kept {
        let path = root().join(path.trim_end_matches('*'));
        assert!(path.exists(), "{} is packaged and is not there", path.display());
    }
    let script = text("packaging/deb");
    for path in made.iter().filter_map(|path| path.strip_prefix("target/package/")) {
        let part = path.split('/').next().expect("a part");
        assert!(script.contains(part), "target/package/{path} is packaged and packaging/deb does not make it");
    }
}
