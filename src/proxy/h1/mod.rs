//! HTTP/1.1 to an upstream, in the task of the request that uses the connection.
//!
//! [`head`] and [`framing`] are functions of bytes; [`exchange`] is their only shell, with [`outbox`] for what it sends. There is no task and no channel: the
//! request's own task writes its head and body and reads the response, so that nothing has to be woken for either.

mod exchange;
mod framing;
mod head;
mod outbox;

#[cfg(test)]
mod differential;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzz;

pub(super) use self::exchange::{Connection, Fault, recycle};
