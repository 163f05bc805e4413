//! `kill -9` at any moment of a refresh with rotation: what was durable is never lost, a grace period saves every
//! session, and without one each loss is reported at the next start.

use std::{env, time::Duration};

use cognito_proxy::{
    clock::{Clock as _, SystemClock},
    devpool::{AppClient, Fault, Lie, Scope, Settings},
    session::Session,
    store::{FileStore, TokenStore as _},
};
use rustix::process::Signal;
use tokio::time::timeout;

use crate::support::{process::Process, stage::Stage, wait::BOUND};

/// Tokens come with so little left that a refresh is due at each start.
const LEFT: i64 = 100;

fn rounds() -> u64 {
    if env::var_os("COGNITO_PROXY_LONG").is_some() { 1_000 } else { 30 }
}

async fn stage(grace: u64) -> Stage {
    let stage = Stage::of(AppClient::public(Settings::CLIENT).rotating(Duration::from_secs(grace))).await;
    stage.configure("cognito.refresh_token_validity = \"30d\"\nrefresh.wait = \"30s\"\nruntime.workers = 1");
    stage.pool.fail_always(Scope::Refresh, Fault::Lie(Lie::Times(LEFT - 3600)));
    stage.signed_in().await;
    stage
}

fn stored(stage: &Stage) -> Session {
    let record = FileStore::new(stage.home.store()).load(SystemClock.now());
    record.expect("whole, whatever happened").expect("never gone")
}

/// What the pool's log calls a refresh token.
fn fingerprint(session: &Session) -> String {
    let token = session.refresh_token.expose().as_bytes();
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token);
    hash.as_ref()[..6].iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

fn is_spent(stage: &Stage, session: &Session) -> bool {
    let fingerprint = fingerprint(session);
    let is_it = |text: &Option<String>| text.as_deref() == Some(fingerprint.as_str());
    stage.pool.calls().count(|call| call.committed && call.operation.is_refresh() && is_it(&call.refresh_token)) > 0
}

/// How many calls were refused: the only reason here is a token that was used up.
fn refused(stage: &Stage) -> usize {
    stage.pool.calls().count(|call| call.operation.is_refresh() && !call.committed)
}

/// Starts the proxy, lets it call the pool, and kills it `after` that.
async fn killed(stage: &Stage, after: Duration) {
    let before = stage.pool.calls().refreshes();
    let mut process = Process::spawn("cognito-proxy run", &mut stage.home.command(&["run"])).expect("built");
    let called = timeout(BOUND, stage.pool.wait_for(|calls| calls.refreshes() > before)).await;
    assert!(called.is_ok(), "no refresh at the start:\n{}", process.printed());
    tokio::time::sleep(after).await;
    process.signal(Signal::KILL);
    process.finish(BOUND).await;
}

/// Any moment from the call to well after its end.
fn moment(dice: &mut fastrand::Rng) -> Duration {
    Duration::from_micros(dice.u64(0..60_000))
}

#[tokio::test]
async fn with_a_grace_period_no_session_is_lost() {
    let stage = stage(10).await;
    let mut dice = fastrand::Rng::with_seed(1);
    let (mut caught, mut generation) = (0, stored(&stage).generation);
    for round in 0..rounds() {
        killed(&stage, moment(&mut dice)).await;
        let session = stored(&stage);
        assert!(session.generation >= generation, "round {round}: what was durable is gone");
        generation = session.generation;
        caught += u64::from(is_spent(&stage, &session));
    }
    stage.pool.heal();
    let mut proxy = stage.home.serve_with(&[]).await;
    proxy.ready().await;
    proxy.status_that("a session", |status| (status["state"] == "fresh").then_some(())).await;
    proxy.stop().await;
    let refused = refused(&stage);
    println!("grace 10 s: {} kills, {caught} between commit and disk, {refused} refused", rounds());
    assert_eq!(refused, 0);
}

#[tokio::test]
async fn without_one_every_loss_is_reported_and_nothing_durable_is_lost() {
    let stage = stage(0).await;
    let mut dice = fastrand::Rng::with_seed(2);
    let (mut lost, mut generation) = (0_usize, stored(&stage).generation);
    for round in 0..rounds() {
        killed(&stage, moment(&mut dice)).await;
        let session = stored(&stage);
        assert!(session.generation >= generation, "round {round}: what was durable is gone");
        if is_spent(&stage, &session) {
            lost += 1;
            let mut proxy = stage.home.serve_with(&[]).await;
            proxy.status_that("the verdict", |status| (status["state"] == "session_ended").then_some(())).await;
            let event = proxy.logged("session ended").await;
            assert!(event.to_string().contains("rotated token lost"), "{event}");
            proxy.stop().await;
            stage.signed_in().await;
        }
        generation = stored(&stage).generation;
    }
    let refused = refused(&stage);
    println!("grace 0: {} kills, {lost} lost and reported, {refused} refusals", rounds());
    // Twice for each loss, since a verdict wants to be confirmed; and never for a token that was durable.
    assert!(refused >= lost * 2 && (lost > 0 || refused == 0), "{refused} refusals, {lost} losses");
}
