//! Asking the kernel for one socket by its addresses: `NETLINK_SOCK_DIAG` (`sock_diag(7)`, `linux/inet_diag.h`).

use std::{
    cell::Cell,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
};

use rustix::{
    fd::OwnedFd,
    io::Errno,
    net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, netlink, recv, send, socket_with},
};

use super::{Ends, Row};

/// `SOCK_DIAG_BY_FAMILY`.
const BY_FAMILY: u16 = 20;
/// `NLM_F_REQUEST`, without `NLM_F_DUMP`: one socket, not a list.
const REQUEST: u16 = 1;
/// `NLMSG_ERROR`.
const ERROR: u16 = 2;
/// `IPPROTO_TCP`.
const TCP: u8 = 6;

/// `struct nlmsghdr`.
const HEADER: usize = 16;
/// The header and `struct inet_diag_req_v2`.
const QUESTION: usize = HEADER + 56;
/// [`QUESTION`] as the header states it.
const QUESTION_LENGTH: u32 = 72;
/// The header and `struct inet_diag_msg`; attributes follow, of which none is wanted.
const ANSWER: usize = HEADER + 72;

/// A connection to the kernel's socket tables, for one thread.
#[derive(Debug)]
pub(super) struct Socket {
    kernel: OwnedFd,
    sequence: Cell<u32>,
}

impl Socket {
    /// Connects, and asks a first question, since some kernels and sandboxes take the question and know no answer.
    pub(super) fn open() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let kernel = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(netlink::SOCK_DIAG))?;
        // Connected to port 0, the kernel, it hears nobody else.
        connect(&kernel, &netlink::SocketAddrNetlink::new(0, 0))?;
        let socket = Self { kernel, sequence: Cell::new(0) };
        socket.try_out()?;
        Ok(socket)
    }

    /// The user who holds the client's end of `ends`, or `None` where nobody does.
    pub(super) fn owner(&self, ends: Ends) -> io::Result<Option<u32>> {
        Ok(self.row(ends.client, ends.server)?.and_then(|row| row.owner(ends)))
    }

    /// Looks for a listener that is certainly there.
    fn try_out(&self) -> io::Result<()> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let nobody = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
        match self.row(listener.local_addr()?, nobody)? {
            Some(_) => Ok(()),
            None => Err(io::Error::new(io::ErrorKind::Unsupported, "sock_diag does not find sockets here")),
        }
    }

    fn row(&self, local: SocketAddr, remote: SocketAddr) -> io::Result<Option<Row>> {
        let sequence = self.sequence.get().wrapping_add(1);
        self.sequence.set(sequence);
        send(&self.kernel, &question(sequence, local, remote), SendFlags::empty())?;
        // What follows a row is cut off.
        let mut buffer = [0; ANSWER];
        loop {
            // The kernel answers within the call that asks.
            let (length, _) = recv(&self.kernel, &mut buffer[..], RecvFlags::DONTWAIT)?;
            match read(&buffer[..length], sequence) {
                Answer::Row(row) => return Ok(Some(row)),
                Answer::None => return Ok(None),
                Answer::Error(error) => return Err(error.into()),
                // Left over from a question whose answer was given up.
                Answer::Other => {}
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Row(Row),
    None,
    Error(Errno),
    Other,
}

/// Netlink speaks the machine's byte order, addresses and ports the network's.
fn question(sequence: u32, local: SocketAddr, remote: SocketAddr) -> [u8; QUESTION] {
    let mut message = [0; QUESTION];
    let rest = &mut message[..];
    // nlmsghdr: length, type, flags, sequence, port.
    let rest = put(rest, QUESTION_LENGTH.to_ne_bytes());
    let rest = put(rest, BY_FAMILY.to_ne_bytes());
    let rest = put(rest, REQUEST.to_ne_bytes());
    let rest = put(rest, sequence.to_ne_bytes());
    let rest = put(rest, 0u32.to_ne_bytes());
    // inet_diag_req_v2: family, protocol, extensions, padding, states.
    let family = if local.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let rest = put(rest, [u8::try_from(family.as_raw()).unwrap_or_default(), TCP, 0, 0]);
    let rest = put(rest, u32::MAX.to_ne_bytes());
    // inet_diag_sockid: ports, addresses, interface, cookie.
    let rest = put(rest, local.port().to_be_bytes());
    let rest = put(rest, remote.port().to_be_bytes());
    let rest = put(rest, octets(local.ip()));
    let rest = put(rest, octets(remote.ip()));
    let rest = put(rest, scope(local).to_ne_bytes());
    put(rest, u64::MAX.to_ne_bytes());
    message
}

/// Puts `field` where `message` begins; what follows it. The lengths are known where this is compiled.
#[inline]
fn put<const LENGTH: usize>(message: &mut [u8], field: [u8; LENGTH]) -> &mut [u8] {
    let Some((place, rest)) = message.split_first_chunk_mut() else { return &mut [] };
    *place = field;
    rest
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V6(address) => address.octets(),
        IpAddr::V4(address) => {
            let mut octets = [0; 16];
            octets[..4].copy_from_slice(&address.octets());
            octets
        }
    }
}

const fn scope(address: SocketAddr) -> u32 {
    match address {
        SocketAddr::V4(_) => 0,
        SocketAddr::V6(address) => address.scope_id(),
    }
}

fn read(message: &[u8], sequence: u32) -> Answer {
    let (Some(kind), Some(answered)) = (u16_at(message, 4), u32_at(message, 8)) else {
        return Answer::Other;
    };
    if u32::from_ne_bytes(answered) != sequence {
        return Answer::Other;
    }
    match kind {
        ERROR => match u32_at(message, HEADER).map(i32::from_ne_bytes) {
            Some(code) if code == -Errno::NOENT.raw_os_error() => Answer::None,
            Some(code) => Answer::Error(Errno::from_raw_os_error(code.saturating_neg())),
            None => Answer::Other,
        },
        BY_FAMILY if message.len() >= ANSWER => row(&message[HEADER..ANSWER]).map_or(Answer::None, Answer::Row),
        _ => Answer::Other,
    }
}

/// `inet_diag_msg`: family, state, timer, retransmissions, `inet_diag_sockid`, expiry, queues, uid, inode.
fn row(message: &[u8]) -> Option<Row> {
    let is_v4 = u16::from(*message.first()?) == AddressFamily::INET.as_raw();
    let port = |at: usize| Some(u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?));
    let address = |at: usize| {
        let octets: [u8; 16] = message.get(at..at + 16)?.try_into().ok()?;
        let [a, b, c, d, ..] = octets;
        Some(if is_v4 { IpAddr::from(Ipv4Addr::new(a, b, c, d)) } else { Ipv6Addr::from(octets).into() })
    };
    Some(Row {
        local: SocketAddr::new(address(8)?, port(4)?),
        remote: SocketAddr::new(address(24)?, port(6)?),
        uid: u32::from_ne_bytes(u32_at(message, 64)?),
        inode: u32::from_ne_bytes(u32_at(message, 68)?).into(),
    })
}

fn u32_at(message: &[u8], at: usize) -> Option<[u8; 4]> {
    message.get(at..at + 4)?.try_into().ok()
}

fn u16_at(message: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(message.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_to_other_questions_and_torn_ones_are_no_rows() {
        let mut message = vec![0; ANSWER];
        message[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
        message[8..12].copy_from_slice(&7u32.to_ne_bytes());
        assert!(matches!(read(&message, 7), Answer::Row(_)));
        assert_eq!(read(&message, 8), Answer::Other);
        assert_eq!(read(&message[..ANSWER - 1], 7), Answer::Other);
        assert_eq!(read(&[], 7), Answer::Other);

        message[4..6].copy_from_slice(&ERROR.to_ne_bytes());
        message[16..20].copy_from_slice(&(-Errno::NOENT.raw_os_error()).to_ne_bytes());
        assert_eq!(read(&message, 7), Answer::None);
        message[16..20].copy_from_slice(&(-Errno::PERM.raw_os_error()).to_ne_bytes());
        assert_eq!(read(&message, 7), Answer::Error(Errno::PERM));
    }
}
