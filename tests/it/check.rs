//! `check` through the binary: exit codes, which stream says what, and streams that are not there.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

const SOUND: &str = r#"
[cognito]
user_pool_id = "eu-west-1_AbCdEfGhI"
client_id = "1example23456789"
[upstream]
url = "https://api.example.com"
"#;

struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).expect("a file");
        path
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cognito-proxy"));
        command.args(args).env_clear().env("HOME", self.0.path()).current_dir(self.0.path()).stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("it runs")
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

fn name(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn a_sound_configuration_is_0_and_says_so_on_standard_output() {
    let home = Home::new();
    let file = home.write("work.toml", SOUND);
    let output = home.run(&["check", "-c", name(&file)]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), format!("{}: ok, profile work\n", file.display()));
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn mistakes_are_78_with_file_line_and_column_on_standard_error() {
    let home = Home::new();
    let file = home.write("proxy.toml", &format!("{SOUND}[refresh]\nlead = 5\n"));
    let output = home.run(&["-c", name(&file), "check"]);
    assert_eq!(output.status.code(), Some(78));
    assert_eq!(text(&output.stdout), "");
    let shown = text(&output.stderr);
    assert!(shown.contains(&format!("{}:8:8", file.display())) && shown.contains("lead = 5"), "{shown}");
    assert!(!shown.contains('\u{1b}'), "no colours without a terminal: {shown}");
    let coloured = home.run(&["-c", name(&file), "check", "--color", "always"]);
    assert!(text(&coloured.stderr).contains('\u{1b}'));
}

#[test]
fn a_user_that_this_machine_does_not_know_is_78_as_it_is_for_run() {
    let home = Home::new();
    let file = home.write("proxy.toml", &format!("{SOUND}[guard]\nusers = [\"self\", \"nobody-of-that-name\"]\n"));
    let output = home.run(&["check", "-c", name(&file)]);
    assert_eq!(output.status.code(), Some(78));
    let shown = text(&output.stderr);
    for words in ["guard.users", "nobody-of-that-name", name(&file)] {
        assert!(shown.contains(words), "{words} in {shown}");
    }
    let output = home.run(&["check", "--json", "-c", name(&file)]);
    assert_eq!(output.status.code(), Some(78));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&document["ok"], &document["errors"][0]["key"]), (&false.into(), &"guard.users".into()));
    // What it knows is sound.
    let file = home.write("proxy.toml", &format!("{SOUND}[guard]\nusers = [\"self\", \"root\", \"4711\"]\n"));
    assert_eq!(home.run(&["check", "-c", name(&file)]).status.code(), Some(0));
}

#[test]
fn loose_permissions_alone_are_77() {
    use std::os::unix::fs::PermissionsExt;

    let home = Home::new();
    let key = home.write("key", "k");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("a mode");
    let file = home.write("proxy.toml", &format!("{SOUND}[guard]\nclient_key_file = \"key\"\n"));
    let output = home.run(&["check", "-c", name(&file)]);
    assert_eq!(output.status.code(), Some(77));
    assert!(text(&output.stderr).contains(&format!("chmod 600 {}", key.display())));
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("a mode");
    assert_eq!(home.run(&["check", "-c", name(&file)]).status.code(), Some(0));
}

#[test]
fn a_file_that_merely_lies_here_is_not_read() {
    let home = Home::new();
    home.write("proxy.toml", SOUND);
    let output = home.run(&["check"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stderr).contains("-c ./proxy.toml"), "{}", text(&output.stderr));
    assert_eq!(home.run(&["check", "-c", "./proxy.toml"]).status.code(), Some(0));
}

#[test]
fn json_tells_of_settings_and_of_mistakes() {
    let home = Home::new();
    let file = home.write("proxy.toml", &format!("{SOUND}[refresh]\nlead = \"10m\"\n"));
    let output = home.run(&["check", "--json", "-c", name(&file)]);
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(document["ok"], true);
    let settings = document["settings"].as_array().expect("a list");
    let lead = settings.iter().find(|one| one["key"] == "refresh.lead").expect("lead");
    assert_eq!((&lead["value"], &lead["origin"], &lead["line"]), (&"10m".into(), &"file".into(), &8.into()));
    let hosts = settings.iter().find(|one| one["key"] == "guard.hosts").expect("hosts");
    assert_eq!((&hosts["value"], &hosts["origin"]), (&serde_json::json!([]), &"default".into()));

    let file = home.write("proxy.toml", &format!("{SOUND}[refresh]\nlead = 5\n"));
    let output = home.run(&["check", "--json", "-c", name(&file)]);
    assert_eq!(output.status.code(), Some(78));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let mistake = &document["errors"][0];
    assert_eq!((&document["ok"], &mistake["key"]), (&false.into(), &"refresh.lead".into()));
    assert_eq!((&mistake["line"], &mistake["column"], &mistake["fix"]), (&8.into(), &8.into(), &"write \"5s\"".into()));
}

#[test]
fn explain_is_toml_that_reads_back() {
    let home = Home::new();
    let file = home.write("proxy.toml", SOUND);
    let mut command = home.command(&["check", "--explain", "-c", name(&file)]);
    let output = command.env("COGNITO_PROXY_REFRESH__MODE", "on-demand").output().expect("it runs");
    let shown = text(&output.stdout);
    assert!(
        shown
            .lines()
            .any(|line| line.starts_with("mode = \"on-demand\"") && line.contains("$COGNITO_PROXY_REFRESH__MODE"))
    );
    assert!(shown.lines().any(|line| line.starts_with("client_id = ") && line.ends_with("# proxy.toml:4")), "{shown}");
    // What follows from other keys is no setting of its own.
    let own: Vec<&str> = shown.lines().filter(|line| !line.contains("# from ")).collect();
    let again = home.write("again.toml", &own.join("\n"));
    let output = home.run(&["check", "-c", name(&again)]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
fn streams_that_are_closed_or_full_make_no_panic() {
    let home = Home::new();
    let file = home.write("proxy.toml", SOUND);
    let full = || Stdio::from(File::options().write(true).open("/dev/full").expect("/dev/full"));
    let output = home.command(&["check", "--explain", "-c", name(&file)]).stdout(full()).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("standard output cannot be written"), "{}", text(&output.stderr));
    let status = home.command(&["check", "-c", "absent.toml"]).stderr(full()).status().expect("it runs");
    assert_eq!(status.code(), Some(78));

    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let output = home.command(&["check", "--explain", "-c", name(&file)]).stdout(writer).output().expect("it runs");
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
}

#[test]
fn usage_errors_are_2_and_login_says_what_to_do_instead() {
    let home = Home::new();
    assert_eq!(home.run(&["chekc"]).status.code(), Some(2));
    assert_eq!(home.run(&["check", "--log-level", "loud"]).status.code(), Some(2));
    assert_eq!(home.run(&[]).status.code(), Some(2));
    let output = home.run(&["login", "--no-browser"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("cognito-proxy import"));
}
