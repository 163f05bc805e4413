//! The architecture that the crate documentation draws holds in the code: a file imports rooms of a lower rank, or
//! siblings in its own folder, never in a circle; what only one file may do, only that file does.
//!
//! Read from the sources as text, with comments, strings and test modules taken out: a test may look up the stairs.

mod source;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use source::{Shipped, paths_after, shipped};

/// A file that is longer hides a second noun.
const MAX_LINES: usize = 500;

/// What one file alone may say, and why.
const RESERVED: [(&str, &str, &str); 6] = [
    ("dangerous()", "tls.rs", "turning off certificate checks must be seen in one place"),
    ("SystemTime::now", "clock.rs", "`now` is a parameter"),
    ("Timestamp::now", "clock.rs", "`now` is a parameter"),
    ("Zoned::now", "clock.rs", "`now` is a parameter"),
    ("clock_gettime", "clock.rs", "`now` is a parameter"),
    ("UNIX_EPOCH.elapsed", "clock.rs", "`now` is a parameter"),
];

/// One file of `src`, without what is not shipped.
struct File {
    /// Below `src`, with forward slashes.
    path: String,
    code: String,
}

impl File {
    /// The room that it belongs to: its folder below `src`, or itself.
    fn room(&self) -> &str {
        self.path.split('/').next().expect("split yields one").trim_end_matches(".rs")
    }

    /// Its module within the room; None for the room's own `mod.rs` and for a room of one file.
    fn module(&self) -> Option<&str> {
        let module = self.path.split('/').nth(1)?.trim_end_matches(".rs");
        (module != "mod").then_some(module)
    }
}

#[test]
fn every_room_has_one_rank_and_every_rank_names_rooms_that_are() {
    let ranks = ranks();
    let rooms: BTreeSet<_> = files().iter().map(|file| file.room().to_owned()).collect();
    let ranked: BTreeSet<_> = ranks.keys().cloned().collect();
    assert_eq!(rooms, ranked, "rooms of src (left) against the table in src/lib.rs (right)");
}

#[test]
fn a_file_imports_only_lower_ranks_and_its_own_room() {
    let ranks = ranks();
    let wrong: Vec<_> = files().iter().flat_map(|file| climbs(file, &ranks)).collect();
    assert!(wrong.is_empty(), "against the ranks in src/lib.rs:\n{}", wrong.join("\n"));
}

#[test]
fn siblings_never_import_each_other_in_a_circle() {
    let circles: Vec<_> =
        sibling_imports(&files()).into_iter().filter_map(|(room, graph)| circle(&room, &graph)).collect();
    assert!(circles.is_empty(), "{}", circles.join("\n"));
}

#[test]
fn what_one_file_may_do_no_other_does() {
    let wrong: Vec<_> = files().iter().flat_map(trespasses).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_file_hides_a_second_noun() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let long: Vec<_> = ["src", "tests", "benches"]
        .iter()
        .flat_map(|folder| rust_files(&root.join(folder)))
        .filter_map(|path| {
            let lines = fs::read_to_string(&path).expect("a source file").lines().count();
            (lines > MAX_LINES).then(|| format!("{} has {lines} lines, more than {MAX_LINES}", path.display()))
        })
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

/// The imports of a file that lead to its own rank or above.
fn climbs(file: &File, ranks: &BTreeMap<String, usize>) -> Vec<String> {
    let rank = ranks.get(file.room()).copied();
    paths_after("crate::", &file.code)
        .iter()
        .filter_map(|path| path.first())
        .filter(|room| *room != file.room())
        .collect::<BTreeSet<_>>()
        .into_iter()
        .filter(|room| ranks.get(*room).is_none_or(|other| rank.is_some_and(|rank| *other >= rank)))
        .map(|room| format!("{} (rank {rank:?}) imports {room} (rank {:?})", file.path, ranks.get(room)))
        .collect()
}

/// For each room, which of its modules names which of its siblings.
fn sibling_imports(files: &[File]) -> BTreeMap<String, BTreeMap<String, BTreeSet<String>>> {
    let modules: BTreeSet<_> = files.iter().filter_map(|file| Some((file.room(), file.module()?))).collect();
    let mut graphs: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for file in files {
        let Some(module) = file.module() else { continue };
        let within = paths_after("crate::", &file.code).into_iter().filter(|path| path[0] == file.room());
        let beside = paths_after(&supers(file), &file.code).into_iter();
        let siblings = within.filter_map(|path| path.get(1).cloned()).chain(beside.map(|path| path[0].clone()));
        let known = siblings.filter(|name| name != module && modules.contains(&(file.room(), name.as_str())));
        graphs.entry(file.room().to_owned()).or_default().entry(module.to_owned()).or_default().extend(known);
    }
    graphs
}

/// How a file of a room says the room: `super::`, or one more for each folder further down.
fn supers(file: &File) -> String {
    let deeper = file.path.split('/').skip(2).filter(|part| *part != "mod.rs").count();
    "super::".repeat(1 + deeper)
}

/// A circle in the graph, written out.
fn circle(room: &str, graph: &BTreeMap<String, BTreeSet<String>>) -> Option<String> {
    graph.keys().find_map(|start| {
        let mut trail = vec![start.as_str()];
        leads_back(graph, &mut trail, &mut BTreeSet::new()).then(|| format!("{room}: {}", trail.join(" -> ")))
    })
}

fn leads_back<'a>(
    graph: &'a BTreeMap<String, BTreeSet<String>>,
    trail: &mut Vec<&'a str>,
    visited: &mut BTreeSet<&'a str>,
) -> bool {
    let here = *trail.last().expect("a trail has a start");
    for next in graph.get(here).into_iter().flatten() {
        let closes = next == trail[0];
        if closes || visited.insert(next) {
            trail.push(next);
            if closes || leads_back(graph, trail, visited) {
                return true;
            }
            trail.pop();
        }
    }
    false
}

fn trespasses(file: &File) -> Vec<String> {
    RESERVED
        .iter()
        .filter(|(phrase, owner, _)| file.path != *owner && file.code.contains(phrase))
        .map(|(phrase, owner, why)| format!("{}: {phrase} belongs in {owner} alone: {why}", file.path))
        .collect()
}

/// The table in the crate documentation: rows of a rank and the rooms that it holds.
fn ranks() -> BTreeMap<String, usize> {
    let library = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).expect("src/lib.rs");
    let ranks = ranks_in(&library);
    assert!(!ranks.is_empty(), "src/lib.rs holds no table of ranks");
    ranks
}

fn ranks_in(documentation: &str) -> BTreeMap<String, usize> {
    let mut ranks = BTreeMap::new();
    for line in documentation.lines() {
        let mut cells = line.trim_start_matches("//!").split('|').map(str::trim).skip(1);
        let Some(rank) = cells.next().and_then(|cell| cell.parse().ok()) else { continue };
        for room in cells.next().unwrap_or_default().split("[`").skip(1).filter_map(|rest| rest.split('`').next()) {
            assert!(ranks.insert(room.to_owned(), rank).is_none(), "{room} has two ranks");
        }
    }
    ranks
}

/// Every file of `src` but the crate's two roots, which name everything, and but test modules.
fn files() -> Vec<File> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    let mut tests = Vec::new();
    for path in rust_files(&source) {
        let Shipped { code, test_files } = shipped(&fs::read_to_string(&path).expect("a source file"));
        let below = path.strip_prefix(&source).expect("below src");
        tests.extend(test_files.iter().map(|name| modules_of(below).join(name)));
        files.push((below.to_owned(), code));
    }
    files.retain(|(path, _)| !is_root(path) && !tests.iter().any(|test| path.with_extension("").starts_with(test)));
    assert!(!files.is_empty(), "no sources below {}", source.display());
    let slashed =
        |path: &Path| path.iter().map(|part| part.to_str().expect("plain names")).collect::<Vec<_>>().join("/");
    files.into_iter().map(|(path, code)| File { path: slashed(&path), code }).collect()
}

fn is_root(path: &Path) -> bool {
    [Path::new("lib.rs"), Path::new("main.rs")].contains(&path)
}

/// The folder that holds a file's own modules.
fn modules_of(path: &Path) -> PathBuf {
    let folder = path.parent().unwrap_or(Path::new(""));
    if is_root(path) || path.ends_with("mod.rs") { folder.to_owned() } else { path.with_extension("") }
}

/// The Rust files below a folder, in order; none where there is no such folder.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
        .into_iter()
        .flat_map(|path| if path.is_dir() { rust_files(&path) } else { vec![path] })
        .filter(|path| is_rust(path))
        .collect()
}

fn is_rust(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "rs")
}

/// The rules themselves, against small houses that break them.
mod rules {
    use super::*;

    fn file(path: &str, code: &str) -> File {
        File { path: path.to_owned(), code: shipped(code).code }
    }

    fn house() -> BTreeMap<String, usize> {
        ranks_in(
            "//! | rank | rooms |\n//! |---|---|\n//! | 0 | [`clock`] [`tls`] |\n//! | 1 | [`session`] |\n//! | 3 | [`proxy`] |",
        )
    }

    #[test]
    fn the_table_is_read() {
        let expected = [("clock", 0), ("proxy", 3), ("session", 1), ("tls", 0)];
        assert_eq!(house(), expected.map(|(room, rank)| (room.to_owned(), rank)).into());
    }

    #[test]
    fn climbing_is_noticed_in_every_spelling() {
        let climbing = |code| climbs(&file("session/state.rs", code), &house()).len();
        assert_eq!(climbing("use crate::clock::Now;"), 0);
        assert_eq!(climbing("use crate::{clock::{Now, UnixTime}, session::Token};"), 0);
        assert_eq!(climbing("// use crate::proxy;\nconst A: &str = \"crate::proxy\";"), 0);
        assert_eq!(climbing("#[cfg(test)]\nmod tests { use crate::proxy; }"), 0);
        assert_eq!(climbing("use crate::proxy;"), 1);
        assert_eq!(climbing("use crate::{clock::Now,\n    proxy::{Route, inject}};"), 1);
        assert_eq!(climbing("fn f() { let _ = crate::proxy::route(); }"), 1);
        assert_eq!(climbing("use crate::cellar;"), 1, "a room without a rank");
        assert_eq!(climbs(&file("clock.rs", "use crate::tls;"), &house()).len(), 1, "the same rank, another room");
    }

    #[test]
    fn circles_are_noticed() {
        let house = |code| {
            let files =
                [file("proxy/a.rs", "use super::b::B;"), file("proxy/b/mod.rs", code), file("proxy/b/c.rs", "")];
            sibling_imports(&files).into_iter().filter_map(|(room, graph)| circle(&room, &graph)).collect::<Vec<_>>()
        };
        assert!(house("use super::Settings;").is_empty());
        assert_eq!(house("use super::a::A;"), ["proxy: a -> b -> a"]);
        assert_eq!(house("use crate::proxy::{a::A};"), ["proxy: a -> b -> a"]);
    }

    #[test]
    fn a_module_of_its_own_file_is_found_where_rust_looks_for_it() {
        let folder = |path| modules_of(Path::new(path)).display().to_string();
        assert_eq!(folder("lib.rs"), "");
        assert_eq!(folder("clock.rs"), "clock");
        assert_eq!(folder("guard/mod.rs"), "guard");
        assert_eq!(folder("guard/check.rs"), "guard/check");
    }

    #[test]
    fn trespassing_is_noticed() {
        assert_eq!(trespasses(&file("proxy/mod.rs", "let now = SystemTime::now();")).len(), 1);
        assert_eq!(trespasses(&file("clock.rs", "let now = SystemTime::now();")).len(), 0);
        assert_eq!(trespasses(&file("proxy/mod.rs", "config.dangerous().set_certificate_verifier(v)")).len(), 1);
    }
}
