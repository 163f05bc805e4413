//! Messages of HTTP/1.1 as bytes, bodies on streams of HTTP/2, and a request's body whatever it came by.
//!
//! Owns the syntax of RFC 9112 for both halves of a proxy: `request` and `response` read and write heads, `framing`
//! says where a body ends. Those are functions of bytes. `Inbox` and `Transmission` move the bytes, in the task of
//! whoever polls them; they know nothing of why.
//!
//! `Fields` are a head's fields in their order; `Request` and `Response` carry a head and its body through the proxy.
//!
//! What is written can hold no line break that was not put there: the `http` crate's types have none. What is read is
//! held to the rules that keep two readers of one stream of bytes from disagreeing on where a message ends.

mod client_body;
mod fields;
pub(crate) mod framing;
mod head;
mod inbox;
mod outbox;
pub(crate) mod request;
pub(crate) mod response;
mod stream;
mod transmission;
mod whole;

#[cfg(test)]
mod differential;
#[cfg(any(test, fuzzing))]
pub mod fuzz;

pub use self::{
    client_body::{ClientBody, GivenUp},
    fields::{Fields, visible},
    whole::{Request, RequestHead, Response, ResponseHead},
};
pub(crate) use self::{
    inbox::Inbox,
    stream::{Halt, RETURNED, Received, Sending},
    transmission::{SendFault, Transmission},
    whole::Head,
};

/// Any error.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
