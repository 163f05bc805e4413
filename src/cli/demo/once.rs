//! `demo --once`: one session from its beginning to its end and beyond, each step observed and not believed.

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::Instant};

use super::stage::Stage;
use crate::{
    cli::{Exit, output},
    devpool::Settings,
    session::{snapshot::Snapshot, status::StateName, warning::Level},
};

/// The whole play has less than a minute.
const CURTAIN: Duration = Duration::from_secs(58);

/// Between looks at a proxy whose last token is running out.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// A step that did not happen, and what was seen instead.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Missed(String);

/// Plays it. Only where every step was observed it ends well.
pub(super) async fn play(stage: &Stage) -> Exit {
    let began = Instant::now();
    match tokio::time::timeout(CURTAIN, acts(stage)).await {
        Ok(Ok(())) => {
            output::to_stdout(&format!("all observed in {:.1} s\n", began.elapsed().as_secs_f64()));
            Exit::Ok
        }
        Ok(Err(missed)) => fail(&missed.to_string()),
        Err(_) => fail(&format!("the next step did not happen within {} s", CURTAIN.as_secs())),
    }
}

fn fail(missed: &str) -> Exit {
    output::to_stderr(&format!("error: not observed: {missed}"));
    Exit::Other
}

async fn acts(stage: &Stage) -> Result<(), Missed> {
    let first = injected(stage, &BTreeSet::new()).await?;
    observed("inject", "a request without a credential reached the API with a token that the pool's keys verify");

    let generation = generation(&stage.current().snapshot());
    until(stage, |snapshot| self::generation(snapshot) > generation).await?;
    observed("refresh", "the proxy has a newer token, before the first one ended");

    let second = injected(stage, &first).await?;
    observed("inject", "the next request carried the newer token");

    let validity = stage.lifetimes().refresh_token;
    stage.pool().age(Settings::USER, validity * 19 / 20);
    until(stage, |snapshot| snapshot.facts.level > Level::None).await?;
    observed("warn", "the session is near its end, and the proxy says so");

    stage.pool().expire_session(Settings::USER);
    until(stage, |snapshot| snapshot.facts.state == StateName::SessionEnded).await?;
    observed("end", "Cognito refuses the refresh token, twice: the session has ended");

    refused(stage).await?;
    observed("503", "the last token is used up, and nobody has signed in: the reply names the command that mends it");

    let known = first.union(&second).cloned().collect();
    let third = held(stage, &known).await?;
    observed("hold", "the next request waits, unread; somebody signs in, and it goes on with the new token");

    let validity = stage.lifetimes().refresh_token;
    stage.pool().age(Settings::USER, validity * 19 / 20);
    until(stage, |snapshot| snapshot.facts.level > Level::None).await?;
    stage.sign_in().await.map_err(|error| Missed(error.to_string()))?;
    until(stage, |snapshot| snapshot.facts.level == Level::None).await?;
    observed("sign-in", "the same day ending well: warned, and signed in again before the end, without a restart");

    injected(stage, &known.union(&third).cloned().collect()).await?;
    observed("inject", "and no request has noticed");
    Ok(())
}

/// Sends a request that finds the session at its end, signs in while it waits, and finds it at the API with a new token.
async fn held(stage: &Stage, known: &BTreeSet<String>) -> Result<BTreeSet<String>, Missed> {
    let waits = async {
        let mut held = stage.current().subscribe_held();
        held.wait_for(|count| *count > 0).await.map_err(|_| Missed("the proxy has ended".into()))?;
        stage.sign_in().await.map_err(|error| Missed(error.to_string()))
    };
    let (seen, signed_in) = tokio::join!(injected(stage, known), waits);
    signed_in?;
    seen
}

fn observed(step: &str, what: &str) {
    output::to_stdout(&format!("ok  {step:<9}{what}\n"));
}

fn generation(snapshot: &Snapshot) -> u64 {
    snapshot.id_token.as_ref().map_or(0, |token| token.generation)
}

/// Sends a request and finds it at the API with a good token that is none of `known`. Returns all tokens seen so far.
async fn injected(stage: &Stage, known: &BTreeSet<String>) -> Result<BTreeSet<String>, Missed> {
    let status = get(stage).await?;
    let log = stage.echo().log();
    if status != StatusCode::OK || log.invalid() + log.expired_on_arrival() + log.without_token() > 0 {
        return Err(Missed(format!("a good token at the API (the reply was {status})")));
    }
    let seen = log.distinct_tokens().clone();
    if seen.is_subset(known) { Err(Missed("a token that was not seen before".into())) } else { Ok(seen) }
}

/// Sends requests until one is refused; until then each must be served with a token that has not expired.
async fn refused(stage: &Stage) -> Result<(), Missed> {
    loop {
        match get(stage).await? {
            StatusCode::SERVICE_UNAVAILABLE => return Ok(()),
            StatusCode::OK if stage.echo().log().expired_on_arrival() == 0 => tokio::time::sleep(LOOK_AGAIN).await,
            status => return Err(Missed(format!("503, or a good token until then (the reply was {status})"))),
        }
    }
}

async fn until(stage: &Stage, is_met: impl Fn(&Snapshot) -> bool) -> Result<(), Missed> {
    let mut changes = stage.current().subscribe();
    while !is_met(&stage.current().snapshot()) {
        changes.changed().await.map_err(|_| Missed("the proxy has ended".into()))?;
    }
    Ok(())
}

/// A request as any client makes it: no credential, a connection of its own.
async fn get(stage: &Stage) -> Result<StatusCode, Missed> {
    let failed = |error: &dyn std::fmt::Display| Missed(format!("a reply of the proxy ({error})"));
    let stream = TcpStream::connect(stage.address()).await.map_err(|error| failed(&error))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
    let request = Request::get("/hello").header("host", stage.address()).body(Empty::<Bytes>::new());
    let exchange = async {
        let response = sender.send_request(request.map_err(|error| failed(&error))?).await;
        let response = response.map_err(|error| failed(&error))?;
        let status = response.status();
        response.into_body().collect().await.map_err(|error| failed(&error))?;
        Ok(status)
    };
    tokio::select! {
        status = exchange => status,
        ended = connection => Err(failed(&ended.err().map_or_else(|| "closed".into(), |error| error.to_string()))),
    }
}
