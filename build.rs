//! Has the linker lay the release program out as `packaging/layout.ld` says, where the linker can; all else is left to
//! Cargo. Whether it can is tried with an empty program, so that no linker, however configured, fails over it: rustc's own
//! LLD and GNU ld can, gold and mold cannot.

use std::{
    env,
    ffi::OsString,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const LAYOUT: &str = "packaging/layout.ld";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let variable = |name: &str| env::var(name).unwrap_or_default();
    // The profiles that inherit from `release` are `release` here; with another one this is all.
    let here = variable("CARGO_CFG_TARGET_ARCH") == "x86_64"
        && variable("CARGO_CFG_TARGET_OS") == "linux"
        && variable("CARGO_CFG_TARGET_ENV") == "gnu";
    if variable("PROFILE") != "release" || !here {
        return;
    }
    println!("cargo:rerun-if-changed={LAYOUT}");
    // Whatever says which linker it is, Cargo's configuration apart.
    for name in ["RUSTFLAGS", "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    let layout = Path::new(&variable("CARGO_MANIFEST_DIR")).join(LAYOUT);
    let argument = format!("-Wl,-T,{}", layout.display());
    if links_with(&argument).is_some() {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
}

/// Links an empty program as the real one will be linked, with one argument more; `None` where that does not succeed.
fn links_with(argument: &str) -> Option<()> {
    let out = PathBuf::from(env::var_os("OUT_DIR")?).join("empty");
    let mut rustc = Command::new(env::var_os("RUSTC")?);
    rustc.args(["-", "--crate-name", "empty", "--edition", "2024", "--target", &env::var("TARGET").ok()?]);
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        let mut option = OsString::from("linker=");
        option.push(linker);
        rustc.arg("-C").arg(option);
    }
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    rustc.args(flags.split('\u{1f}').filter(|flag| !flag.is_empty()));
    rustc.arg("-C").arg(format!("link-arg={argument}")).arg("-o").arg(&out);
    let mut child = rustc.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
    child.stdin.take()?.write_all(b"fn main() {}").ok()?;
    child.wait().ok()?.success().then_some(())
}
