//! Whatever keeps a sign-in from its end is said with what mends it, leaves nothing behind, and has its exit code.

use std::time::Duration;

use cognito_proxy::devpool::{AppClient, Exception, Fault, HostedPages, Lie, Operation, Scope, Settings};
use rustix::process::Signal;

use super::{Login, Scene, agent::visit, free_port};
use crate::support::process::Finished;

/// Nobody is signed in, and the person is told.
fn says(finished: &Finished, code: i32, words: &[&str]) {
    assert_eq!(finished.code(), code, "{words:?}: {finished:?}");
    assert_eq!(finished.stdout, "", "{words:?}");
    for word in words {
        assert!(finished.stderr.contains(word), "{word}: {}", finished.stderr);
    }
}

#[tokio::test]
async fn what_the_token_endpoint_says_is_passed_on() {
    let scene = Scene::new().await;
    let exception =
        |name: &str, message: &str| Fault::Exception { exception: Exception::new(name, message), retry_after: None };
    for (fault, code, words) in [
        (exception("invalid_grant", ""), 4, vec!["invalid_grant", "run the command again"]),
        (exception("invalid_client", "invalid_client_secret"), 78, vec!["invalid_client_secret", "client_secret_file"]),
        (Fault::status(503), 69, vec!["503", "cognito.domain"]),
        (Fault::status(429), 69, vec!["429"]),
        (Fault::Portal(cognito_proxy::devpool::Portal::Page), 69, vec!["captive portal"]),
        (Fault::Portal(cognito_proxy::devpool::Portal::Redirect), 69, vec!["302"]),
        (Fault::Truncated, 69, vec!["closed the connection"]),
        (Fault::Lie(Lie::BadSignature), 1, vec!["signature"]),
        (Fault::Lie(Lie::Issuer), 1, vec!["`iss`", "cognito.user_pool_id"]),
        (Fault::Lie(Lie::Audience), 1, vec!["`aud`"]),
        (Fault::Lie(Lie::Nonce), 1, vec!["`nonce`", "another sign-in"]),
        (Fault::Lie(Lie::NoIdToken), 78, vec!["no ID token", "openid"]),
    ] {
        let login = scene.login(&["--no-browser"]).await;
        scene.stage.pool.fail_next(1, Scope::Only(Operation::OauthToken), fault.clone());
        let page = scene.agent().signs_in(&login.address).await;
        assert_eq!(page.status, 400, "{fault:?}");
        assert!(page.text().contains("Not signed in"), "{fault:?}: {}", page.text());
        says(&login.finish().await, code, &words);
        assert!(!scene.stage.home.store().exists(), "{fault:?}: nothing is stored");
    }
}

#[tokio::test]
async fn a_wrong_client_secret_is_called_one() {
    let scene = Scene::of(AppClient::public(Settings::CLIENT).with_secret("right"), "").await;
    let path = scene.stage.home.write("client-secret", "wrong");
    scene.configure(&format!("cognito.client_secret_file = {path:?}"));
    let login = scene.login(&["--no-browser"]).await;
    scene.agent().signs_in(&login.address).await;
    let done = login.finish().await;
    says(&done, 78, &["invalid_client_secret", "cognito.client_secret_file"]);
    assert!(!done.stderr.contains("wrong"), "{}", done.stderr);
}

#[tokio::test]
async fn what_the_page_refuses_is_passed_on() {
    // A user who cancels; a scope that the client may not ask for.
    let scene = Scene::of(AppClient::public(Settings::CLIENT), "cognito.scopes = [\"openid\", \"orders/read\"]").await;
    let login = scene.login(&["--no-browser"]).await;
    let refused = visit(&login.address).await;
    let back = refused.header("location").expect("back to us").to_owned();
    assert_eq!(visit(&back).await.status, 400);
    says(&login.finish().await, 78, &["invalid_scope", "cognito.scopes"]);

    scene.configure("");
    let login = scene.login(&["--no-browser"]).await;
    let cancelled = format!(
        "{}?error=access_denied&error_description=User+cancelled%1b&state={}",
        scene.redirect_uri,
        login.asked("state")
    );
    let page = visit(&cancelled).await;
    assert!(page.text().contains("access_denied"), "{}", page.text());
    let done = login.finish().await;
    says(&done, 4, &["access_denied, User cancelled"]);
    assert!(!done.stderr.contains('\u{1b}'), "{:?}", done.stderr);

    let login = scene.login(&["--no-browser"]).await;
    let other = format!("{}?code=c&iss=https%3A%2F%2Fevil.test&state={}", scene.redirect_uri, login.asked("state"));
    visit(&other).await;
    says(&login.finish().await, 1, &["https://evil.test"]);
}

#[tokio::test]
async fn nobody_is_waited_for_for_ever() {
    let scene = Scene::new().await;
    let login = scene.login(&["--no-browser", "--timeout", "1s"]).await;
    says(&login.finish().await, 75, &["nobody signed in within 1s", "redirect_mismatch", &scene.redirect_uri]);

    let mut login = scene.login(&["--no-browser"]).await;
    login.process.error_line("that it waits", |line| line.contains("waiting for it").then_some(())).await;
    login.process.signal(Signal::INT);
    says(&login.finish().await, 1, &["stopped"]);
}

#[tokio::test]
async fn a_port_that_is_taken_is_passed_over_and_the_last_one_is_named() {
    let scene = Scene::new().await;
    // Another process on ::1 alone would get half of the browsers.
    let taken = std::net::TcpListener::bind("[::1]:0").expect("a port");
    let busy = format!("http://localhost:{}/callback", taken.local_addr().expect("bound").port());
    let free = format!("http://127.0.0.1:{}/callback", free_port());
    let mut client = scene.stage.pool.client(Settings::CLIENT).expect("a client");
    client.callback_urls = vec![busy.clone(), free.clone()];
    scene.stage.pool.put_client(client);
    let domain = scene.stage.pool.endpoint();
    scene.stage.configure(&format!("cognito.domain = {domain:?}\ncognito.redirect_uris = [{busy:?}, {free:?}]"));
    let login = scene.login(&["--no-browser"]).await;
    assert_eq!(login.asked("redirect_uri"), free);
    assert_eq!(scene.agent().signs_in(&login.address).await.status, 200);
    assert_eq!(login.finish().await.code(), 0);

    scene.stage.configure(&format!("cognito.domain = {domain:?}\ncognito.redirect_uris = [{busy:?}]"));
    says(&scene.stage.home.run(&["login", "--no-browser"]).await, 75, &[&busy, "cognito.redirect_uris"]);
}

#[tokio::test]
async fn what_must_be_there_is_looked_for_before_anybody_is_asked() {
    let scene = Scene::new().await;
    scene.stage.configure("");
    says(&scene.stage.home.run(&["login", "--method", "browser"]).await, 78, &["cognito.domain"]);

    scene.configure("");
    scene.stage.pool.go_offline().await;
    says(&scene.stage.home.run(&["login", "--no-browser"]).await, 69, &["key set"]);
    scene.stage.pool.go_online().await.expect("its old port");

    // A directory that cannot be made, for root as for anybody: a file is in its place.
    let place = scene.stage.home.write("occupied", "");
    scene.configure(&format!("store.path = {:?}", place.join("proxy.json")));
    says(&scene.stage.home.run(&["login", "--no-browser"]).await, 73, &["occupied"]);
    assert_eq!(scene.stage.pool.calls().count(|call| call.operation.is_oauth()), 0);
}

#[tokio::test]
async fn a_live_session_of_another_client_is_not_written_over() {
    let other = "5another0client";
    let scene = Scene::new().await;
    scene.stage.pool.put_client(AppClient::public(other).with_callback(&scene.redirect_uri));
    scene.stage.signed_in().await;
    let toml = scene.stage.toml(&scene.more("")).replace(Settings::CLIENT, other);
    scene.stage.home.configure(&toml);
    let refused = scene.stage.home.run(&["login", "--no-browser"]).await;
    says(&refused, 78, &[Settings::CLIENT, "use -p NAME, or logout first"]);
    assert_eq!(scene.stage.home.run(&["logout"]).await.code(), 0);
    let login: Login = scene.login(&["--no-browser"]).await;
    scene.agent().signs_in(&login.address).await;
    assert_eq!(login.finish().await.code(), 0);
}

#[tokio::test]
async fn a_browser_with_a_session_comes_back_without_a_page() {
    let scene = Scene::new().await;
    scene.stage.pool.change_rules(|rules| rules.hosted_pages = HostedPages::SignIn(Settings::USER.into()));
    let login = scene.login(&["--no-browser", "--timeout", "1m"]).await;
    let sent = visit(&login.address).await;
    let back = sent.header("location").expect("back to us").to_owned();
    let began = std::time::Instant::now();
    assert_eq!(visit(&back).await.status, 200);
    assert_eq!(login.finish().await.code(), 0);
    assert!(began.elapsed() < Duration::from_secs(20), "it does not wait for anything but its page");
}
