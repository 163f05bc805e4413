//! Whatever a client sends arrives as it was sent, once, and whatever the upstream answers comes back; what cannot be
//! passed on truthfully is refused, and never reaches the upstream.
//!
//! The rows of the requirements, H1 to H37, one family a file: bytes written by hand on both sides of the built binary,
//! judged by RFC 9110, 9112 and 9113. A row says what the client sends, what the upstream answers, and what each of
//! them must see, to the last field.

mod bodies;
mod connections;
mod fields;
mod framing;
mod http2;
mod limits;
mod responses;
mod rows;
mod scene;
mod targets;
mod upgrades;
mod whole_requests;
