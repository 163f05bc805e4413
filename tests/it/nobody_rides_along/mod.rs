//! Every request that the proxy forwards carries somebody's identity, so nobody rides along: no web page, no confused
//! program, nobody without the key that was asked for. Each row is sent to the running binary; for each refusal not one
//! octet reaches the upstream, and for each request that passes exactly one with exactly one token.

mod admin;
mod browsers;
mod counted;
mod forwarding;
mod hosts;
mod keys;
mod page;
mod real_browsers;
mod scene;
mod upstream;
