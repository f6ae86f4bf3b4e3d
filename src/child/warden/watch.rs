//! Which leaders ended, told by the system instead of asked for one by one.
//!
//! With a thousand rooms alive, asking each leader was most of what a look cost; a pidfd for each
//! in one epoll makes a death cost one call. A leader that cannot be watched (an old kernel, no
//! descriptor left, another system) is asked as before.
#![allow(unsafe_code)] // pidfd_open(2) and epoll(7), for which nix wants a feature of its own

#[cfg(target_os = "linux")]
pub(super) use linux::Watch;
#[cfg(not(target_os = "linux"))]
pub(super) use other::Watch;

#[cfg(target_os = "linux")]
mod linux {
    use std::{
        collections::HashMap,
        os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    };

    /// Leaders by the ids of their rooms.
    pub(in crate::child::warden) struct Watch {
        epoll: Option<OwnedFd>,
        leaders: HashMap<u64, OwnedFd>,
    }

    /// Takes over what a system call returned; none when it failed.
    fn owned(fd: libc::c_long) -> Option<OwnedFd> {
        // SAFETY: a system call just made this descriptor for us; nobody else knows it.
        i32::try_from(fd)
            .ok()
            .filter(|fd| *fd >= 0)
            .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
    }

    impl Default for Watch {
        fn default() -> Self {
            // SAFETY: makes a descriptor, and touches no memory.
            let epoll = owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }.into());
            Watch {
                epoll,
                leaders: HashMap::new(),
            }
        }
    }

    impl Watch {
        /// Watches our child `pid`; false when that cannot be.
        pub(in crate::child::warden) fn add(&mut self, id: u64, pid: i32) -> bool {
            let Some(epoll) = &self.epoll else {
                return false;
            };
            // SAFETY: makes a descriptor, closed on exec, and touches no memory.
            let pidfd = owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) });
            let Some(pidfd) = pidfd else { return false };
            let mut event = libc::epoll_event {
                events: libc::EPOLLIN as u32,
                u64: id,
            };
            let (epoll, fd) = (epoll.as_raw_fd(), pidfd.as_raw_fd());
            // SAFETY: both descriptors are open, and `event` outlives the call.
            if unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &mut event) } != 0 {
                return false;
            }
            self.leaders.insert(id, pidfd);
            true
        }

        /// Becomes readable when a leader ended.
        pub(in crate::child::warden) fn fd(&self) -> Option<BorrowedFd<'_>> {
            self.epoll.as_ref().map(AsFd::as_fd)
        }

        /// The rooms whose leaders ended, each told once. There may be more.
        pub(in crate::child::warden) fn ended(&mut self) -> Vec<u64> {
            const MOST: usize = 64;

            let Some(epoll) = &self.epoll else {
                return Vec::new();
            };
            let mut events = [libc::epoll_event { events: 0, u64: 0 }; MOST];
            let (epoll, buf) = (epoll.as_raw_fd(), events.as_mut_ptr());
            // SAFETY: `events` has room for as many as are asked for, and outlives the call.
            let count = unsafe { libc::epoll_wait(epoll, buf, MOST as i32, 0) };
            let count = usize::try_from(count).unwrap_or(0);
            let ended: Vec<u64> = events.iter().take(count).map(|event| event.u64).collect();
            for id in &ended {
                if let Some(pidfd) = self.leaders.remove(id) {
                    let fd = pidfd.as_raw_fd();
                    // SAFETY: both descriptors are open; the event is not read when deleting.
                    // Not left to the close: a child that is about to exec may hold a copy.
                    unsafe {
                        libc::epoll_ctl(epoll, libc::EPOLL_CTL_DEL, fd, std::ptr::null_mut())
                    };
                }
            }
            ended
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    /// Watches nobody.
    #[derive(Default)]
    pub(in crate::child::warden) struct Watch;

    impl Watch {
        pub(in crate::child::warden) fn add(&mut self, _: u64, _: i32) -> bool {
            false
        }

        pub(in crate::child::warden) fn fd(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
            None
        }

        pub(in crate::child::warden) fn ended(&mut self) -> Vec<u64> {
            Vec::new()
        }
    }
}
