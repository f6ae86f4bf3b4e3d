//! Which leaders ended, and which starts are decided, told by the system instead of asked for one
//! by one.
//!
//! With a thousand rooms alive, asking each leader was most of what a look cost; a pidfd for each
//! in one epoll makes a death cost one call. A leader that cannot be watched (an old kernel, no
//! descriptor left, another system) is asked as before.
#![allow(unsafe_code)] // pidfd_open(2) and epoll(7), for which nix wants a feature of its own

/// What became known of a room.
pub(super) enum Told {
    /// Its leader ended.
    End(u64),
    /// Its program runs, or cannot.
    Birth(u64),
}

#[cfg(target_os = "linux")]
pub(super) use linux::Watch;
#[cfg(not(target_os = "linux"))]
pub(super) use other::Watch;

#[cfg(target_os = "linux")]
mod linux {
    use std::{
        collections::HashMap,
        os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    };

    use super::Told;
    use crate::child::warden::spawn::Birth;

    /// What marks the number of a room whose start is watched: ids count from 1 and never come near.
    const BIRTH: u64 = 1 << 63;

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
            if !listen(epoll, pidfd.as_raw_fd(), id) {
                return false;
            }
            self.leaders.insert(id, pidfd);
            true
        }

        /// Watches how a start goes. Where that cannot be, the end of the leader tells of a failure,
        /// and a program that runs is waited for in vain: the start times out.
        pub(in crate::child::warden) fn add_birth(&mut self, id: u64, fd: RawFd) {
            if let Some(epoll) = &self.epoll {
                listen(epoll, fd, id | BIRTH);
            }
        }

        /// A start is decided.
        pub(in crate::child::warden) fn remove_birth(&mut self, birth: Option<Birth>) {
            if let Some(birth) = birth {
                self.forget(birth.fd());
            }
        }

        /// A leader is no concern any more.
        pub(in crate::child::warden) fn remove(&mut self, id: u64) {
            if let Some(pidfd) = self.leaders.remove(&id) {
                self.forget(pidfd.as_raw_fd());
            }
        }

        /// Not left to the close: a child that is about to exec may hold a copy.
        fn forget(&self, fd: RawFd) {
            if let Some(epoll) = &self.epoll {
                let (epoll, none) = (epoll.as_raw_fd(), std::ptr::null_mut());
                // SAFETY: both descriptors are open; the event is not read when deleting.
                unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_DEL, fd, none) };
            }
        }

        /// Becomes readable when a leader ended.
        pub(in crate::child::warden) fn fd(&self) -> Option<BorrowedFd<'_>> {
            self.epoll.as_ref().map(AsFd::as_fd)
        }

        /// What became known, an end once and a birth until it is removed. There may be more.
        pub(in crate::child::warden) fn told(&mut self) -> Vec<Told> {
            const MOST: usize = 64;

            let Some(epoll) = &self.epoll else {
                return Vec::new();
            };
            let mut events = [libc::epoll_event { events: 0, u64: 0 }; MOST];
            let (epoll, buf) = (epoll.as_raw_fd(), events.as_mut_ptr());
            // SAFETY: `events` has room for as many as are asked for, and outlives the call.
            let count = unsafe { libc::epoll_wait(epoll, buf, MOST as i32, 0) };
            let count = usize::try_from(count).unwrap_or(0);
            let told = events.iter().take(count).map(|event| {
                let key = event.u64;
                match key & BIRTH {
                    0 => Told::End(key),
                    _ => Told::Birth(key & !BIRTH),
                }
            });
            let told: Vec<Told> = told.collect();
            for told in &told {
                if let Told::End(id) = told {
                    self.remove(*id);
                }
            }
            told
        }
    }

    fn listen(epoll: &OwnedFd, fd: RawFd, key: u64) -> bool {
        let mut event = libc::epoll_event {
            events: libc::EPOLLIN as u32,
            u64: key,
        };
        // SAFETY: both descriptors are open, and `event` outlives the call.
        unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &mut event) == 0 }
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    use super::Told;
    use crate::child::warden::spawn::Birth;

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

        pub(in crate::child::warden) fn add_birth(&mut self, _: u64, _: std::os::fd::RawFd) {}

        pub(in crate::child::warden) fn remove_birth(&mut self, _: Option<Birth>) {}

        pub(in crate::child::warden) fn remove(&mut self, _: u64) {}

        pub(in crate::child::warden) fn told(&mut self) -> Vec<Told> {
            Vec::new()
        }
    }
}
