//! Sending within this machine at the speed of this machine.
//!
//! BBR, which many machines have for their default, estimates the bandwidth of a path and spaces what it sends by a timer
//! (draft-ietf-ccwg-bbr). The loopback has no bandwidth to estimate: what is estimated is how busy both ends are. Sending
//! without it takes about a fifth less CPU time of bulk transfers (measured).

use std::net::IpAddr;

use socket2::SockRef;

/// Congestion control that every Linux kernel has and allows to everybody (tcp(7)). It spaces nothing.
#[cfg(target_os = "linux")]
const UNPACED: &[u8] = b"reno";

/// Lets a socket whose other end is at `ip`, or the connections that a listening one at `ip` accepts, send without
/// pauses where both ends are on this machine. Where nothing paces, or the system does not let us, it stays as it is.
pub(crate) fn unpace(socket: &SockRef<'_>, ip: IpAddr) {
    #[cfg(target_os = "linux")]
    if ip.to_canonical().is_loopback() && socket.tcp_congestion().is_ok_and(|name| paces(&name)) {
        drop(socket.set_tcp_congestion(UNPACED));
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (socket, ip);
}

/// Whether the congestion control of this name, which the kernel fills up with zeros, spaces what it sends: any of BBR's
/// versions.
#[cfg(target_os = "linux")]
fn paces(name: &[u8]) -> bool {
    name.starts_with(b"bbr")
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use socket2::{Domain, Protocol, Socket, Type};

    use super::*;

    #[test]
    fn bbr_paces_in_all_its_versions_and_no_other_does() {
        for (name, expected) in
            [("bbr", true), ("bbr\0\0\0", true), ("bbr3", true), ("cubic", false), ("reno\0", false), ("", false)]
        {
            assert_eq!(paces(name.as_bytes()), expected, "{name:?}");
        }
    }

    #[test]
    fn only_what_stays_on_this_machine_loses_its_pace() {
        let outside = IpAddr::from([192, 0, 2, 1]);
        for (ip, is_ours) in [
            (Ipv4Addr::LOCALHOST.into(), true),
            (Ipv6Addr::LOCALHOST.into(), true),
            (Ipv4Addr::LOCALHOST.to_ipv6_mapped().into(), true),
            (Ipv4Addr::UNSPECIFIED.into(), false),
            (outside, false),
        ] {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).expect("a socket");
            // Where the system has no BBR for us, nothing may change.
            let is_paced =
                socket.set_tcp_congestion(b"bbr").is_ok() || paces(&socket.tcp_congestion().expect("a name"));
            let before = socket.tcp_congestion().expect("a name");
            unpace(&SockRef::from(&socket), ip);
            let after = socket.tcp_congestion().expect("a name");
            if is_paced && is_ours {
                assert!(after.starts_with(UNPACED), "{ip}: {after:?}");
            } else {
                assert_eq!(after, before, "{ip}");
            }
        }
    }
}
