//! Word from the kernel that the network changed, which may end an outage (`rtnetlink(7)`).
//!
//! Listens only while it is asked to: links and addresses change on machines that have nothing to wait for, and each
//! change would wake the process.

#[cfg(not(target_os = "linux"))]
pub(super) use elsewhere::Watch;
#[cfg(target_os = "linux")]
pub(super) use linux::Watch;

#[cfg(target_os = "linux")]
mod linux {
    use std::{io, time::Duration};

    use rustix::{
        fd::OwnedFd,
        io::Errno,
        net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, netlink, recv, socket_with},
    };
    use tokio::io::{Interest, unix::AsyncFd};

    /// `RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_IFADDR | RTMGRP_IPV6_ROUTE`
    /// (`linux/rtnetlink.h`).
    const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;

    /// An address comes before its route, and an attempt between the two would be in vain.
    const SETTLES_IN: Duration = Duration::from_secs(1);

    /// A listener for changes.
    #[derive(Debug)]
    pub(in crate::refresher) struct Watch(AsyncFd<OwnedFd>);

    impl Watch {
        /// Begins to listen. Changes before this are not told.
        pub(in crate::refresher) fn open() -> io::Result<Self> {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            // Without a protocol it is `NETLINK_ROUTE`.
            let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
            bind(&socket, &netlink::SocketAddrNetlink::new(0, GROUPS))?;
            #[expect(deprecated, reason = "its replacement is unsafe code, and an `OwnedFd` keeps what that asks for")]
            AsyncFd::with_interest(socket, Interest::READABLE).map(Self)
        }

        /// Completes a moment after something changed. Dropping the future loses nothing.
        pub(in crate::refresher) async fn changed(&self) {
            let Ok(mut ready) = self.0.readable().await else { return std::future::pending().await };
            tokio::time::sleep(SETTLES_IN).await;
            while !self.is_drained() {}
            ready.clear_ready();
        }

        fn is_drained(&self) -> bool {
            let mut message = [0; 4096];
            match recv(self.0.get_ref(), &mut message[..], RecvFlags::DONTWAIT) {
                // More changed than there was room to say.
                Ok(_) | Err(Errno::NOBUFS | Errno::INTR) => false,
                Err(_) => true,
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[tokio::test]
        async fn nothing_is_told_where_nothing_changes() {
            let watch = Watch::open().expect("netlink");
            assert!(watch.is_drained());
            // A socket that nobody writes to is never readable, and one that is closed would be at once.
            let told = futures_util::FutureExt::now_or_never(watch.changed());
            assert_eq!(told, None);
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod elsewhere {
    use std::io;

    /// Nobody tells: requests and the backoff end an outage.
    #[derive(Debug)]
    pub(in crate::refresher) struct Watch;

    impl Watch {
        pub(in crate::refresher) fn open() -> io::Result<Self> {
            Ok(Self)
        }

        pub(in crate::refresher) async fn changed(&self) {
            std::future::pending().await
        }
    }
}
