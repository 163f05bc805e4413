//! What goes up and what comes down, on real sockets.

mod exchange;
mod faults;
mod http1;
mod http2;
mod resets;
pub(super) mod stage;
mod tls;
mod token;
mod unprocessed;
