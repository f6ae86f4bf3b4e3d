//! Descriptors that travel over a unix socket with the bytes of a frame (`SCM_RIGHTS`, unix(7)).
//!
//! Always three at a time, a program's 0, 1 and 2, sent with the first byte of their frame. The
//! receiver therefore knows how many went missing when it could not open them all, and stays in
//! step with the frames.
#![allow(unsafe_code)] // control messages are only reachable through pointers

use std::{
    io,
    mem::{MaybeUninit, size_of, zeroed},
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    ptr,
};

/// The descriptors of one program.
pub(super) type Stdio = [OwnedFd; 3];

const SPACE: usize = 64; // CMSG_SPACE of three descriptors is 32 on every system we know

/// A buffer for control messages, aligned as they must be.
#[repr(align(16))]
struct Control([u8; SPACE]);

fn header(bytes: &mut libc::iovec, control: &mut Control, length: usize) -> libc::msghdr {
    // SAFETY: msghdr is plain data of which all zeroes is the empty message.
    let mut header: libc::msghdr = unsafe { zeroed() };
    header.msg_iov = bytes;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = length as _;
    header
}

/// Sends `bytes`, or the first of them, and the descriptors with the first byte.
pub(super) fn send(socket: BorrowedFd<'_>, bytes: &[u8], stdio: &Stdio) -> io::Result<usize> {
    const FDS: u32 = size_of::<[RawFd; 3]>() as u32;
    let mut slice = libc::iovec {
        iov_base: bytes.as_ptr() as *mut _,
        iov_len: bytes.len(),
    };
    let mut control = Control([0; SPACE]);
    // SAFETY: CMSG_SPACE and CMSG_LEN only compute.
    let (space, length) = unsafe { (libc::CMSG_SPACE(FDS), libc::CMSG_LEN(FDS)) };
    if space as usize > SPACE {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let header = header(&mut slice, &mut control, space as usize);
    // SAFETY: `header` describes `slice` and `control`, which live until sendmsg returned; the
    // control buffer is aligned and holds the one message written here; sendmsg reads only.
    let sent = unsafe {
        let message = libc::CMSG_FIRSTHDR(&header);
        (*message).cmsg_level = libc::SOL_SOCKET;
        (*message).cmsg_type = libc::SCM_RIGHTS;
        (*message).cmsg_len = length as _;
        let fds = stdio.each_ref().map(AsRawFd::as_raw_fd);
        ptr::write_unaligned(libc::CMSG_DATA(message).cast::<[RawFd; 3]>(), fds);
        libc::sendmsg(socket.as_raw_fd(), &header, 0)
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// What one [`receive`] brought besides bytes.
pub(super) enum Brought {
    /// No descriptors.
    Nothing,
    /// Those of one program.
    Stdio(Stdio),
    /// Those of one program, of which some could not be opened here.
    Lost,
}

/// Reads bytes into `buf`, and the descriptors that came with them; 0 is EOF.
pub(super) fn receive(socket: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<(usize, Brought)> {
    let mut slice = libc::iovec {
        iov_base: buf.as_mut_ptr().cast(),
        iov_len: buf.len(),
    };
    let mut control = Control([0; SPACE]);
    let mut header = header(&mut slice, &mut control, SPACE);
    #[cfg(target_os = "linux")]
    let flags = libc::MSG_CMSG_CLOEXEC;
    #[cfg(not(target_os = "linux"))]
    let flags = 0;
    // SAFETY: `header` describes `buf` and `control` with their true lengths.
    let read = unsafe { libc::recvmsg(socket.as_raw_fd(), &mut header, flags) };
    let read = usize::try_from(read).map_err(|_| io::Error::last_os_error())?;

    let mut fds = Vec::new();
    // SAFETY: the system wrote whole control messages into the aligned buffer and its used length
    // into `header`; the macros walk no further; each descriptor is new and owned by nobody else.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(&header);
        while !message.is_null() {
            if (*message).cmsg_level == libc::SOL_SOCKET && (*message).cmsg_type == libc::SCM_RIGHTS
            {
                let bytes = ((*message).cmsg_len as usize).saturating_sub(libc::CMSG_LEN(0) as _);
                let data = libc::CMSG_DATA(message).cast::<MaybeUninit<RawFd>>();
                for n in 0..bytes / size_of::<RawFd>() {
                    fds.push(OwnedFd::from_raw_fd(
                        data.add(n).read_unaligned().assume_init(),
                    ));
                }
            }
            message = libc::CMSG_NXTHDR(&header, message);
        }
    }
    #[cfg(not(target_os = "linux"))]
    for fd in &fds {
        use nix::fcntl::{FcntlArg, FdFlag, fcntl};
        fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    }
    let cut = header.msg_flags & libc::MSG_CTRUNC != 0;
    let brought = match Stdio::try_from(fds) {
        Ok(stdio) => Brought::Stdio(stdio),
        Err(fds) if fds.is_empty() && !cut => Brought::Nothing,
        Err(_) => Brought::Lost,
    };
    Ok((read, brought))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        os::{fd::AsFd, unix::net::UnixStream},
    };

    use super::*;

    #[test]
    fn the_three_arrive_with_their_bytes_and_in_order() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        let spare = || OwnedFd::from(io::pipe().unwrap().0);
        let sent = send(ours.as_fd(), b"frame", &[spare(), writer.into(), spare()]).unwrap();
        assert_eq!(sent, 5);

        let mut buf = [0; 64];
        let (read, brought) = receive(theirs.as_fd(), &mut buf).unwrap();
        assert_eq!(&buf[..read], b"frame");
        let Brought::Stdio([_, writer, _]) = brought else {
            panic!("no descriptors came")
        };
        io::PipeWriter::from(writer).write_all(b"through").unwrap();
        let mut heard = String::new();
        reader.read_to_string(&mut heard).unwrap(); // to EOF: no copy was kept
        assert_eq!(heard, "through");
    }

    #[test]
    fn bytes_alone_bring_nothing() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ours.write_all(b"x").unwrap();
        let (read, brought) = receive(theirs.as_fd(), &mut [0; 8]).unwrap();
        assert_eq!(read, 1);
        assert!(matches!(brought, Brought::Nothing));
    }
}
