//! The binary: a match on what the library says.

fn main() {}
