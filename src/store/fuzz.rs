//! What holds for records, whatever bytes come: looked for by the fuzzer, and run on the seeds by a test. Only in those
//! builds.
#![allow(clippy::missing_panics_doc, clippy::panic, reason = "a property that does not hold fails loudly")]

use std::time::Duration;

use super::record::{self, SCHEMA, Unreadable};
use crate::clock::{Now, UnixTime};

/// A property by its name, with inputs to begin from.
pub type Target = (&'static str, fn(&[u8]), &'static [&'static str]);

/// Every property of this room.
pub const TARGETS: [Target; 1] = [("record", record, RECORDS)];

/// A whole record, or the session of one: the fuzzer cannot find a checksum, so it is made for what it writes. The first
/// byte says where one that was sealed is damaged.
const RECORDS: &[&str] = &[
    "\0{\"schema\":1,\"sha256\":\"\",\"session\":{}}",
    "\0{\"schema\":2}",
    "\x40{\"generation\":7,\"user_pool_id\":\"eu-west-1_A\",\"client_id\":\"c\",\"subject\":\"4f1c\",\"username\":\"alice\",\
     \"refresh_token\":\"r\",\"id_token\":{\"jwt\":\"a.b.c\",\"kind\":\"id\",\"subject\":\"4f1c\",\"username\":\"alice\",\
     \"issuer\":\"i\",\"client_id\":\"c\",\"issued_at_ms\":1,\"expires_at_ms\":2,\"auth_time_ms\":null},\
     \"access_token\":null,\"auth_time_ms\":-1,\"origin\":\"login\",\"device\":{\"key\":\"k\",\"group_key\":null,\
     \"password\":\"p\"},\"notes\":{\"ended\":{\"refused\":\"x\"},\"locked\":true,\"warned\":{\"threshold_ms\":1,\
     \"expiry_ms\":2},\"accepted_at_ms\":1,\"refused_at_ms\":null,\"learnt_ms\":18446744073709551615,\
     \"disproved\":false,\"last_refresh\":{\"at_ms\":1,\"outcome\":\"ok\",\"error\":null},\"seed\":null},\"jwks\":null}",
];

/// A session that was sealed is read back as it was, and a damaged one is never taken for whole and different.
pub fn record(data: &[u8]) {
    let Some((&place, bytes)) = data.split_first() else { return };
    let now = Now { wall: UnixTime::from_secs(1_700_000_000), boot: Duration::from_secs(1000) };
    let read = record::decode(bytes, now);
    assert_eq!(record::check(bytes).is_ok(), read.is_ok());
    let Some(session) = read.ok().or_else(|| record::unsealed(bytes, now)) else { return };
    let Ok(sealed) = record::encode(&session) else { panic!("{session:?} cannot be written") };
    assert_eq!(record::decode(&sealed, now).as_ref(), Ok(&session));

    let mut damaged = sealed.to_vec();
    let at = damaged.len() * usize::from(place) / 256;
    damaged[at] ^= 1 << (place & 7);
    let read = record::decode(&damaged, now);
    assert!(read.is_err() || read.as_ref() == Ok(&session), "one bit at {at} made another session");

    let newer = String::from_utf8_lossy(&sealed).replacen("\"schema\": 1", "\"schema\": 2", 1);
    assert_eq!(record::check(newer.as_bytes()), Err(Unreadable::Newer(SCHEMA + 1)));
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_seed_holds() {
        for (_, property, seeds) in super::TARGETS {
            for seed in seeds {
                property(seed.as_bytes());
            }
        }
        let session = &super::RECORDS[2].as_bytes()[1..];
        let now = super::Now { wall: super::UnixTime::from_secs(0), boot: super::Duration::ZERO };
        assert!(super::record::unsealed(session, now).is_some(), "the third seed is a session");
    }
}
