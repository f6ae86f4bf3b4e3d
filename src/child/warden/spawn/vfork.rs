//! A new process that borrows the warden's memory and descriptors until it is another program.
//!
//! What a fork copies, page tables and a descriptor for each room, an exec throws away again; the
//! thousandth room would cost more than the first.
#![allow(unsafe_code)] // clone(2), close_range(2) and execve(2)

use std::{
    collections::BTreeMap,
    ffi::{CStr, CString, c_char},
    fs::OpenOptions,
    io,
    os::{
        fd::{AsRawFd, OwnedFd, RawFd},
        unix::ffi::OsStringExt,
    },
    path::Path,
    ptr,
};

use nix::{
    errno::Errno,
    fcntl::OFlag,
    sched::{CloneFlags, clone, unshare},
    sys::{
        signal::{SigSet, SigmaskHow, sigprocmask},
        wait::waitpid,
    },
    unistd::dup3,
};

use super::{Failed, Kept, Spawned, Steps, apart, errno, prepare};
use crate::child::{fdpass, wire::Launch};

/// What runs a file that has the right to run but no format the system knows: execvp(3).
const SHELL: &CStr = c"/bin/sh";

/// What execve(2) takes. It points to itself, so nothing in it may be changed.
struct Image {
    path: CString,
    _strings: Vec<CString>,
    argv: Vec<*const c_char>,
    /// The same for the shell, should the file turn out to be a script without a first line.
    script: Vec<*const c_char>,
    envp: Vec<*const c_char>,
}

impl Image {
    /// `EINVAL` for a NUL byte.
    fn new(launch: Launch) -> Result<Image, i32> {
        let string = |bytes: Vec<u8>| CString::new(bytes).map_err(|_| libc::EINVAL);
        let path = string(launch.path.into_vec())?;
        let mut strings = vec![string(launch.name.into_vec())?];
        for arg in launch.args {
            strings.push(string(arg.into_vec())?);
        }
        let args = strings.len();
        // Of two with one name the later holds.
        for (name, value) in launch.env.into_iter().collect::<BTreeMap<_, _>>() {
            let mut variable = name.into_vec();
            variable.push(b'=');
            variable.extend(value.into_vec());
            strings.push(string(variable)?);
        }
        // A CString's bytes stay where they are when the CString itself is moved.
        let pointers = |strings: &[CString]| -> Vec<_> {
            let ends = [ptr::null()];
            strings.iter().map(|s| s.as_ptr()).chain(ends).collect()
        };
        let (words, variables) = strings.split_at(args);
        let (argv, envp) = (pointers(words), pointers(variables));
        let script = [SHELL.as_ptr(), path.as_ptr()].into_iter();
        let script = script.chain(argv.iter().copied().skip(1)).collect();
        Ok(Image {
            path,
            _strings: strings,
            argv,
            script,
            envp,
        })
    }

    /// Becomes the program; returns only the `errno` of why not.
    fn exec(&self) -> i32 {
        let exec = |path: &CStr, argv: &[*const c_char]| {
            // SAFETY: both lists end with a null pointer, and all they point to lives in `self`.
            unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), self.envp.as_ptr()) };
            errno(&io::Error::last_os_error())
        };
        match exec(&self.path, &self.argv) {
            libc::ENOEXEC => exec(SHELL, &self.script),
            errno => errno,
        }
    }
}

/// The first descriptor that is no [`Spawner`]'s; see there.
const OTHERS: RawFd = 6;
/// More than the system calls of [`prepare`] and the C library's part of them take.
const STACK: usize = 64 << 10;

/// Starts programs. There is one, and its descriptors are the first that the warden opens.
///
/// The three that are meant for a program wait in its slots, 3 to 5. Above them nothing is,
/// and so the new process leaves all else behind without copying it first: close_range(2) with
/// `CLOSE_RANGE_UNSHARE`. The warden has a descriptor for each room, which would be copied
/// for each new one and closed again.
pub(in crate::child::warden) struct Spawner {
    null: OwnedFd,
    slots: [OwnedFd; 3],
    stack: Vec<u8>,
    soft_nofile: u64,
}

impl Spawner {
    /// Programs get `soft_nofile` as their limit of descriptors.
    pub(in crate::child::warden) fn new(soft_nofile: u64) -> io::Result<Spawner> {
        let null = || OpenOptions::new().read(true).write(true).open("/dev/null");
        let slots = [null()?.into(), null()?.into(), null()?.into()];
        if slots.each_ref().map(|slot: &OwnedFd| slot.as_raw_fd()) != [3, 4, 5] {
            return Err(io::Error::other("descriptors 3 to 5 are in use"));
        }
        Ok(Spawner {
            null: null()?.into(),
            slots,
            stack: vec![0; STACK],
            soft_nofile,
        })
    }

    /// Starts the program and gives its process id, which is also its session and its group. It
    /// joins the cgroup `part`, which keeps some of its limits.
    ///
    /// The descriptors are closed here in every case. An error is an `errno`, of the exec too.
    pub(in crate::child::warden) fn spawn(
        &mut self,
        mut launch: Launch,
        stdio: fdpass::Stdio,
        part: Option<&Path>,
        kept: Kept,
    ) -> Result<Spawned, Failed> {
        let steps = Steps::new(&mut launch, part, kept)?;
        let image = Image::new(launch).map_err(Failed::exec)?;
        for (slot, fd) in self.slots.iter_mut().zip(&stdio) {
            dup3(fd, slot, OFlag::O_CLOEXEC).map_err(|errno| Failed::exec(errno as i32))?;
        }
        drop(stdio);
        let spawned = match steps.change_identity() {
            true => self.apart(&image, &steps),
            false => self.vfork(&image, &steps),
        };
        for slot in &mut self.slots {
            // Whoever reads from a program hears EOF when the last copy is closed; this is
            // one. No reason is left for which it could fail.
            let _ = dup3(&self.null, slot, OFlag::O_CLOEXEC);
        }
        spawned
    }

    /// A process that becomes somebody else.
    fn apart(&self, image: &Image, steps: &Steps) -> Result<Spawned, Failed> {
        let (warden, soft_nofile) = (std::process::id(), self.soft_nofile);
        let program = || match prepare(warden, soft_nofile, steps) {
            Ok(()) => Failed::exec(image.exec()),
            Err(failed) => failed,
        };
        let (pid, birth) = apart::start(&self.slots, program).map_err(Failed::exec)?;
        let birth = Some(birth);
        Ok(Spawned { pid, birth })
    }

    /// A process that borrows our memory, while we stand still, until it is another program.
    fn vfork(&mut self, image: &Image, steps: &Steps) -> Result<Spawned, Failed> {
        let (warden, soft_nofile) = (std::process::id(), self.soft_nofile);
        let mut failed = None;
        let child = Box::new(|| {
            let ready = take_stdio().map_err(|error| Failed::exec(errno(&error)));
            let ready = ready.and_then(|()| prepare(warden, soft_nofile, steps));
            failed = Some(match ready {
                Ok(()) => Failed::exec(image.exec()),
                Err(failed) => failed,
            });
            127
        });
        // No handler of ours may run there, on our memory: it clears them before it unblocks.
        let mut mask = SigSet::empty();
        let all = SigSet::all();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&all), Some(&mut mask))
            .map_err(|errno| Failed::exec(errno as i32))?;
        let flags = CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK | CloneFlags::CLONE_FILES;
        // SAFETY: this process has one thread, which stands still until the new one has called
        // exec or ended (CLONE_VFORK): nothing it borrows can change or go away meanwhile, and
        // no lock is held. It makes system calls only, on a stack of its own that is larger
        // than they need, and writes but `failed`.
        let pid = unsafe { clone(child, &mut self.stack, flags, Some(libc::SIGCHLD)) };
        // Cannot fail: the mask is one that the system gave us.
        let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&mask), None);
        let pid = pid.map_err(|errno| Failed::exec(errno as i32))?;
        match failed {
            None => Ok(Spawned {
                pid: pid.as_raw() as u32,
                birth: None,
            }),
            Some(failed) => {
                while waitpid(pid, None) == Err(Errno::EINTR) {}
                Err(failed)
            }
        }
    }
}

/// The descriptors become the new process's own: 0 to 2 from the slots, and no other.
fn take_stdio() -> io::Result<()> {
    // SAFETY: without memory. The table is shared, so that what is closed must be unshared in
    // the same call.
    let unshared = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            OTHERS,
            u32::MAX,
            libc::CLOSE_RANGE_UNSHARE,
        )
    };
    if unshared != 0 {
        unshare(CloneFlags::CLONE_FILES)?; // before 5.9; all that is ours closes at exec
    }
    for (slot, fd) in (3..).zip(0..3) {
        // SAFETY: without memory; the table is this process's own by now.
        if unsafe { libc::dup2(slot, fd) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
