//! Steady requests, as a client that does not know about tokens makes them.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tokio::{
    task::JoinSet,
    time::{Instant, interval},
};

use super::http as wire;

/// What every request carries: a client's own credentials, which must never arrive.
pub(crate) const CLIENTS_OWN: &str = "Bearer the-clients-own";

/// How often a request begins: 50 a second.
const PACE: Duration = Duration::from_millis(20);

/// Begins requests at a steady pace, whether or not earlier ones have been answered, until `is_over` says so. Returns
/// how many there were, and every answer other than 200.
pub(crate) async fn steadily(address: SocketAddr, mut is_over: impl FnMut() -> bool) -> (usize, Vec<Response<Bytes>>) {
    let mut pace = interval(PACE);
    let mut requests = JoinSet::new();
    let mut begun = 0;
    while !is_over() {
        pace.tick().await;
        begun += 1;
        let request = Request::get(format!("/orders/{begun}")).header("authorization", CLIENTS_OWN);
        let request = request.body(Full::default()).expect("a request");
        requests.spawn(wire::exchange(address, request));
    }
    let mut answers = requests.join_all().await;
    answers.retain(|answer| answer.status() != 200);
    (begun, answers)
}

/// The same for `length`.
pub(crate) async fn steadily_for(address: SocketAddr, length: Duration) -> (usize, Vec<Response<Bytes>>) {
    let end = Instant::now() + length;
    steadily(address, || Instant::now() >= end).await
}
