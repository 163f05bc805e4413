//! What the fuzz targets share. The properties themselves stand in the rooms that they are of: `guard::fuzz`,
//! `message::fuzz`, `proxy::fuzz`, `cognito::fuzz`, `store::fuzz` and `config::fuzz`.

use std::{env, fs, path::Path};

/// A property by its name, with inputs to begin from.
pub type Target = (&'static str, fn(&[u8]), &'static [&'static str]);

/// Writes what the target `name` begins from into the directory that `FUZZ_SEEDS` names, if it names one. Runs before
/// the fuzzer reads its corpus.
///
/// # Panics
/// Where there is no such target, or the seeds cannot be written.
pub fn plant(name: &str, targets: &[Target]) {
    let Some(directory) = env::var_os("FUZZ_SEEDS") else { return };
    let (.., seeds) = targets.iter().find(|target| target.0 == name).expect("a target of that name");
    for (index, seed) in seeds.iter().enumerate() {
        fs::write(Path::new(&directory).join(format!("seed-{index}")), seed).expect("a writable directory");
    }
}
