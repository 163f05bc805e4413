//! The kernel's socket tables as text: `/proc/self/net/tcp` and `tcp6` (`proc(5)`), for sandboxes without netlink.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use super::{Ends, Row};

/// Of this process: `/proc/net` is gone under `ProcSubset=pid` (`systemd.exec(5)`).
const V4: &str = "/proc/self/net/tcp";
const V6: &str = "/proc/self/net/tcp6";

/// How much is asked of the kernel at once: between two reads the table may change, and rows be missed.
const BUFFER: usize = 64 * 1024;

/// The user who holds the client's end of `ends`, or `None` where nobody does, or no table can be read.
pub(super) fn owner(ends: Ends) -> Option<u32> {
    // A socket of both families is in the second table, also where it speaks IPv4.
    let tables: &[&str] = if ends.client.is_ipv4() { &[V4, V6] } else { &[V6] };
    let look =
        || tables.iter().find_map(|table| in_table(BufReader::with_capacity(BUFFER, File::open(table).ok()?), ends));
    // A second look, for a row that was missed while the table changed.
    look().or_else(look)
}

fn in_table(mut table: impl BufRead, ends: Ends) -> Option<u32> {
    // Of thousands of lines all but a few have another port, and need not be taken apart.
    let port = format!(":{:04X} ", ends.client.port());
    let mut line = String::new();
    while table.read_line(&mut line).ok()? > 0 {
        if line.contains(&port)
            && let Some(uid) = row(&line).and_then(|row| row.owner(ends))
        {
            return Some(uid);
        }
        line.clear();
    }
    None
}

/// `sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode …`
fn row(line: &str) -> Option<Row> {
    let mut fields = line.split_ascii_whitespace();
    let local = address(fields.nth(1)?)?;
    let remote = address(fields.next()?)?;
    let uid = fields.nth(4)?.parse().ok()?;
    let inode = fields.nth(1)?.parse().ok()?;
    Some(Row { local, remote, uid, inode })
}

/// Each 32 bits of the address as a number of the machine's byte order, in hex; the port in hex.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| Some(u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    let ip = match address.len() {
        8 => IpAddr::from(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut octets = [0; 16];
            for (index, chunk) in octets.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(index * 8)?);
            }
            Ipv6Addr::from(octets).into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::*;

    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:22C4 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1066 1 00000000af309950 100 0 0 10 0
   1: 0100007F:8C68 0100007F:22C4 01 00000000:00000000 00:00000000 00000000  1001        0 4242 1 000000003a342a05 20 4 30 10 -1
   2: 0100007F:8C69 0100007F:22C4 06 00000000:00000000 03:00000C36 00000000     0        0 0 3 000000003a342a05
";
    const TABLE_6: &str = "\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000001000000:8C68 00000000000000000000000001000000:22C4 01 00000000:00000000 00:00000000 00000000  1002        0 4243 1 0 20 4 30 10 -1
   1: 0000000000000000FFFF00000100007F:8C6A 0000000000000000FFFF00000100007F:22C4 01 00000000:00000000 00:00000000 00000000  1003        0 4244 1 0 20 4 30 10 -1
";

    fn ends(client: &str, server: &str) -> Ends {
        Ends { client: client.parse().unwrap(), server: server.parse().unwrap() }
    }

    #[test]
    fn the_row_of_exactly_these_ends_is_found() {
        for (table, client, server, owner) in [
            (TABLE, "127.0.0.1:35944", "127.0.0.1:8900", Some(1001)),
            (TABLE, "127.0.0.1:35944", "127.0.0.1:8901", None),
            (TABLE, "127.0.0.1:35945", "127.0.0.1:8900", None),
            (TABLE, "127.0.0.1:8900", "127.0.0.1:35944", None),
            (TABLE_6, "[::1]:35944", "[::1]:8900", Some(1002)),
            (TABLE_6, "127.0.0.1:35946", "127.0.0.1:8900", Some(1003)),
        ] {
            assert_eq!(in_table(table.as_bytes(), ends(client, server)), owner, "{client}");
        }
    }

    #[test]
    fn torn_lines_are_no_rows() {
        for line in
            ["", "0: 0100007F:22C4", "0: 01:1 02:2 01 0 0 0 1 0 2", "0: éééé:1 0100007F:22C4 01 a:b c:d 0 1 0 2"]
        {
            assert_eq!(row(line), None, "{line:?}");
        }
    }
}
