//! Who listens on an address: the kernel's table gives the socket, `/proc` the process that has it open.
//!
//! Best effort: another user's descriptors cannot be read, and elsewhere than on Linux there is no table.

use std::{fs, net::SocketAddr};

/// The process that listens on `address`, with its name.
pub(super) fn of(address: SocketAddr) -> Option<(u32, String)> {
    let inode = ["/proc/self/net/tcp", "/proc/self/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .find_map(|table| listening_inode(&table, address))?;
    let target = format!("socket:[{inode}]");
    let process = fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let process = entry.file_name().to_str()?.parse::<u32>().ok()?;
        let mut descriptors = fs::read_dir(entry.path().join("fd")).ok()?.flatten();
        let holds = descriptors
            .any(|descriptor| fs::read_link(descriptor.path()).is_ok_and(|link| link.as_os_str() == target.as_str()));
        holds.then_some(process)
    })?;
    let name = fs::read_to_string(format!("/proc/{process}/comm")).ok()?;
    Some((process, name.trim_end().to_owned()))
}

/// The inode of the socket in state LISTEN whose port is `address`'s and whose address is that one or any (proc(5),
/// `/proc/net/tcp`).
fn listening_inode(table: &str, address: SocketAddr) -> Option<u64> {
    const LISTEN: &str = "0A";
    table.lines().skip(1).find_map(|line| {
        let mut columns = line.split_ascii_whitespace();
        let (host, port) = columns.nth(1)?.split_once(':')?;
        let state = columns.nth(1)?;
        let inode = columns.nth(5)?.parse().ok()?;
        let same_port = u16::from_str_radix(port, 16).ok()? == address.port();
        let is_any = host.bytes().all(|digit| digit == b'0');
        (state == LISTEN && same_port && (is_any || host == hexadecimal(address))).then_some(inode)
    })
}

/// An address as the table shows it: 32-bit words in the machine's own byte order.
fn hexadecimal(address: SocketAddr) -> String {
    let octets = match address {
        SocketAddr::V4(address) => address.ip().octets().to_vec(),
        SocketAddr::V6(address) => address.ip().octets().to_vec(),
    };
    let words = octets.chunks_exact(4).map(|word| u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
    words.fold(String::new(), |text, word| text + &format!("{word:08X}"))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn our_own_listeners_are_ours() {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(host) else { continue };
            let (process, _) = of(listener.local_addr().expect("bound")).expect("somebody listens there");
            assert_eq!(process, std::process::id());
        }
    }

    #[test]
    fn nobody_holds_a_free_port() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        drop(listener);
        assert_eq!(of(address), None);
    }
}
