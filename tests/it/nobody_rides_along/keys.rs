//! What a client must show: the client key, and a header that a page cannot send unasked.

use super::scene::{
    Scene,
    Wants::{Answered, Forwarded, Refused},
};
use crate::support::{proxy::Home, stage::Stage};

const KEY: &str = "s3cret-key";

#[tokio::test]
async fn without_the_client_key_nothing_passes_and_it_never_goes_upstream() {
    let keys = Home::new();
    let file = keys.write("key", &format!("{KEY}\n"));
    let toml = format!("guard.client_key_file = {file:?}\nguard.origins = [\"http://localhost:3000\"]");
    let scene = Scene::with_arguments(&toml, &["--log-level", "trace"]).await;
    let refused = Refused(403, "client_key_required", "guard.client_key_file");
    scene
        .both(&[
            ("S27", "GET /x\nHost\nCognito-Proxy-Key: s3cret-key", Forwarded),
            ("S20", "GET /x\nHost\nCognito-Proxy-Key: s3cret-key\nX_Forwarded_For: 1.2.3.4", Forwarded),
            ("S27 missing", "GET /x\nHost", refused),
            ("S27 empty", "GET /x\nHost\nCognito-Proxy-Key:", refused),
            ("S27 wrong", "GET /x\nHost\nCognito-Proxy-Key: s3cret-kez", refused),
            ("S27 longer", "GET /x\nHost\nCognito-Proxy-Key: s3cret-keys", refused),
            ("S27 shorter", "GET /x\nHost\nCognito-Proxy-Key: s3cret-ke", refused),
            ("S27 twice", "GET /x\nHost\nCognito-Proxy-Key: s3cret-key\nCognito-Proxy-Key: s3cret-key", refused),
            ("S27 elsewhere", "GET /x?key=s3cret-key\nHost\nAuthorization: s3cret-key", refused),
            ("S27 disguised", "GET /x\nHost\nCognito_Proxy_Key: s3cret-key", refused),
            ("S27 a listed page", "GET /x\nHost\nOrigin: http://localhost:3000", refused),
            (
                "S27 does not open to pages",
                "GET /x\nHost\nCognito-Proxy-Key: s3cret-key\nOrigin: http://evil.example",
                Refused(403, "origin_not_allowed", "guard.origins"),
            ),
            (
                "S13",
                "OPTIONS /x\nHost\nOrigin: http://localhost:3000\nAccess-Control-Request-Method: GET",
                Answered(204),
            ),
        ])
        .await;
    let got = scene.send_admin("GET /status.json\nHost").await;
    assert_eq!(got.status, 200, "a browser on this machine cannot send it");
    // S29: neither what was asked for nor what was tried is in the log, at any level.
    let ended = scene.proxy.stop().await;
    assert!(ended.stderr.contains("\"level\":\"debug\""), "it logged more than usual");
    assert!(!ended.stderr.contains("s3cret-k"), "the client key is in the log");
    assert!(!ended.stdout.contains("s3cret-k"), "the client key is in the output");
}

#[tokio::test]
async fn a_required_header_must_be_there() {
    let scene =
        Scene::with("guard.require_header = \"X-Requested-By\"\nguard.origins = [\"http://localhost:3000\"]").await;
    let refused = Refused(403, "header_required", "guard.require_header");
    scene
        .both(&[
            ("header", "GET /x\nHost\nX-Requested-By: me", Forwarded),
            ("header empty", "GET /x\nHost\nX-Requested-By:", Forwarded),
            ("header missing", "GET /x\nHost", refused),
            ("header disguised", "GET /x\nHost\nX_Requested_By: me", refused),
            ("header of a listed page", "GET /x\nHost\nOrigin: http://localhost:3000", refused),
            (
                "S13",
                "OPTIONS /x\nHost\nOrigin: http://localhost:3000\nAccess-Control-Request-Method: GET",
                Answered(204),
            ),
        ])
        .await;
}

#[tokio::test]
async fn what_would_let_anybody_in_or_a_token_out_is_an_error_at_the_start() {
    let stage = Stage::new().await;
    let home = Home::new();
    let loose = home.write("loose-key", "k3y\n");
    std::fs::set_permissions(&loose, std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("ours");
    let loose = format!("guard.client_key_file = {loose:?}");
    let upstream = stage.upstream.url();
    for (id, keys, code, words) in [
        ("S9 null", "guard.origins = [\"null\"]", 78, "guard.origins"),
        ("S9 *", "guard.origins = [\"*\"]", 78, "guard.origins"),
        ("S9 pattern", "guard.origins = [\"http://*.example\"]", 78, "guard.origins"),
        ("S9 scheme alone", "guard.origins = [\"http://\"]", 78, "guard.origins"),
        ("S9 no scheme", "guard.origins = [\"localhost:3000\"]", 78, "guard.origins"),
        ("S2 pattern", "guard.hosts = [\"*.test\"]", 78, "guard.hosts"),
        ("S24", "upstream.url = \"http://api.example.com\"", 78, "upstream.allow_plaintext"),
        ("S25", "listen.proxy = [\"0.0.0.0:0\"]", 78, "listen.allow_remote"),
        ("S25 no key", "listen.proxy = [\"0.0.0.0:0\"]\nlisten.allow_remote = true", 78, "guard.client_key_file"),
        ("S25 admin", "listen.admin = \"0.0.0.0:0\"", 78, "listen.allow_remote"),
        ("S30", loose.as_str(), 77, "chmod 600"),
        ("nobody of that name", "guard.users = [\"nobody-of-that-name\"]", 78, "guard.users"),
    ] {
        let mut toml = stage.toml(keys);
        for (key, usual) in [
            ("listen.proxy", "listen.proxy = [\"127.0.0.1:0\"]\n".to_owned()),
            ("listen.admin", "listen.admin = \"127.0.0.1:0\"\n".to_owned()),
            ("upstream.url", format!("upstream.url = {upstream:?}\n")),
        ] {
            if keys.contains(key) {
                toml = toml.replacen(&usual, "", 1);
            }
        }
        stage.home.configure(&toml);
        let ended = stage.home.run(&["run"]).await;
        assert_eq!(ended.code(), code, "{id}: {}", ended.stderr);
        assert!(ended.stderr.contains(words), "{id}: {words} in {}", ended.stderr);
        assert!(!ended.stderr.contains("\"listening\""), "{id}");
    }
}
