//! A pseudo-terminal (pty(7)): the program's three descriptors and its controlling terminal, and our
//! end of it.
//!
//! What is written here is typed, at the pace at which the terminal can keep it without dropping a
//! byte; what is read is what the terminal shows. We hold the program's end too, until its leader
//! has ended: so that the end of the output is told once, and behind all of it.
#![allow(unsafe_code)] // ioctl(2): nix has no safe form of what terminals are asked

use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, FdFlag, OFlag, fcntl},
    pty,
    sys::termios::{InputFlags, LocalFlags, SetArg, SpecialCharacterIndices, Termios},
    sys::termios::{tcgetattr, tcsetattr},
    unistd,
};
use parking_lot::Mutex;
use tokio::{
    io::{ReadBuf, unix::AsyncFd},
    time::{Sleep, sleep},
};

use super::feeding::Feeding;

/// What is typed and not yet read is kept below so much: a program that changes the terminal's mode
/// in between finds no more than the terminal can hold (4,095 bytes) either way.
const UNREAD_MOST: usize = 2_000;
/// When a terminal that took no more is asked again: not every reason why it takes more is told.
const ASK_AGAIN: Duration = Duration::from_millis(5);

/// How wide and high a terminal is, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Characters in a line, at least 1.
    pub columns: u16,
    /// Lines, at least 1.
    pub rows: u16,
}

impl Size {
    fn winsize(self) -> pty::Winsize {
        pty::Winsize {
            ws_row: self.rows,
            ws_col: self.columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        }
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Terminal {
    ours: AsyncFd<OwnedFd>,
    /// The program's end, as long as its leader lives.
    theirs: Mutex<Option<OwnedFd>>,
    /// What had not been read when it was closed.
    unread: AtomicUsize,
}

impl Terminal {
    /// A new terminal of that size, and the program's end of it.
    pub(super) fn open(size: Size) -> io::Result<(Terminal, OwnedFd)> {
        let ours = pty::posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY)?;
        pty::grantpt(&ours)?;
        pty::unlockpt(&ours)?;
        // SECURITY: our end may reach no program.
        fcntl(&ours, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        fcntl(&ours, FcntlArg::F_SETFL(OFlag::O_RDWR | OFlag::O_NONBLOCK))?;
        let theirs = peer(&ours)?;
        let ours = OwnedFd::from(ours);
        set_size(&theirs, size)?;
        prepare(&theirs)?;
        let terminal = Terminal {
            // SAFETY: the descriptor is owned by this and closed with it, and by nobody before.
            ours: unsafe { AsyncFd::register(ours) }?,
            theirs: Mutex::new(Some(theirs.as_fd().try_clone_to_owned()?)),
            unread: AtomicUsize::new(0),
        };
        Ok((terminal, theirs))
    }

    /// Makes it that large; the program hears of it by SIGWINCH, if that is news.
    pub fn resize(&self, size: Size) -> io::Result<()> {
        set_size(self.ours.get_ref(), size)
    }

    /// The leader has ended: the output ends when nobody else has the terminal open.
    pub(super) fn let_go(&self) {
        let mut theirs = self.theirs.lock();
        if let Some(theirs) = theirs.take() {
            self.unread.store(queued(&theirs), Ordering::Relaxed);
        }
    }

    /// Typed bytes that nobody has read, without those of a line that is not ended.
    pub(super) fn unread(&self) -> usize {
        match &*self.theirs.lock() {
            Some(theirs) => queued(theirs),
            None => self.unread.load(Ordering::Relaxed),
        }
    }

    pub(super) async fn readable(&self) -> io::Result<()> {
        let _ready = self.ours.readable().await?;
        Ok(())
    }

    pub(super) async fn writable(&self) -> io::Result<()> {
        let _ready = self.ours.writable().await?;
        Ok(())
    }

    /// Reads what is there at once; 0 is the end.
    pub(super) fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        match unistd::read(&self.ours, buf) {
            // Nobody has it open any more.
            Err(Errno::EIO) => Ok(0),
            read => Ok(read?),
        }
    }

    pub(super) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        loop {
            let mut guard = match self.ours.poll_read_ready(cx) {
                Poll::Ready(guard) => guard?,
                Poll::Pending if buf.filled().len() > before => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
            };
            // A terminal gives 4 KiB at the most: what is there becomes one read all the same.
            match self.try_read(buf.initialize_unfilled()) {
                Ok(0) => return Poll::Ready(Ok(())),
                Ok(read) => buf.advance(read),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    guard.clear_ready();
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Poll::Ready(Err(error)),
            }
            if buf.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// How the terminal treats what is typed; none once the program's end is closed.
    fn mode(&self) -> Option<(Termios, usize)> {
        let theirs = self.theirs.lock();
        let theirs = theirs.as_ref()?;
        Some((tcgetattr(theirs).ok()?, queued(theirs)))
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(unistd::write(self.ours.get_ref(), bytes)?)
    }
}

/// What types: the terminal, and how far the present line has come.
#[derive(Debug)]
pub(super) struct Keyboard {
    terminal: Arc<Terminal>,
    feeding: Feeding,
    /// When a terminal that took no more is asked again.
    again: Option<Pin<Box<Sleep>>>,
}

impl Keyboard {
    pub(super) fn new(terminal: Arc<Terminal>) -> Keyboard {
        Keyboard {
            terminal,
            feeding: Feeding::default(),
            again: None,
        }
    }

    /// Typed bytes that nobody has read.
    pub(super) fn unread(&self) -> usize {
        self.terminal.unread() + self.feeding.pending()
    }

    pub(super) async fn writable(&self) -> io::Result<()> {
        self.terminal.writable().await
    }

    /// Types as much as the terminal keeps.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_take(cx, |terminal, feeding| {
            let Some((mode, queued)) = terminal.mode() else {
                return Err(io::ErrorKind::BrokenPipe.into());
            };
            if queued > UNREAD_MOST {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            feeding.feed(&mode, bytes, |piece| terminal.write(piece))
        })
    }

    /// Says that no more is typed, as far as a terminal can: to who reads lines.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let end = self.poll_take(cx, |terminal, feeding| match terminal.mode() {
            Some((mode, _)) => feeding.end(&mode, |piece| terminal.write(piece)),
            None => Ok(0),
        });
        end.map_ok(|_| ())
    }

    fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        mut take: impl FnMut(&Terminal, &mut Feeding) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            match take(&self.terminal, &mut self.feeding) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                taken => {
                    self.again = None;
                    return Poll::Ready(taken);
                }
            }
            // What the runtime knows is from before; from now on it wakes us.
            while let Poll::Ready(guard) = self.terminal.ours.poll_write_ready(cx) {
                guard?.clear_ready();
            }
            let again = self.again.get_or_insert_with(|| Box::pin(sleep(ASK_AGAIN)));
            ready!(again.as_mut().poll(cx));
            self.again = None;
        }
    }
}

/// As a person expects of a terminal in a browser.
fn prepare(theirs: &OwnedFd) -> io::Result<()> {
    let mut mode = tcgetattr(theirs)?;
    // One of many clients must not stop the output of all by ^S; a program may want it back.
    mode.input_flags.remove(InputFlags::IXON);
    #[cfg(any(target_os = "linux", target_os = "macos"))]
    mode.input_flags.insert(InputFlags::IUTF8);
    mode.local_flags
        .insert(LocalFlags::ICANON | LocalFlags::ISIG | LocalFlags::IEXTEN | LocalFlags::ECHO);
    if let Some(erase) = mode
        .control_chars
        .get_mut(SpecialCharacterIndices::VERASE as usize)
    {
        *erase = 0x7f; // what the key sends
    }
    Ok(tcsetattr(theirs, SetArg::TCSANOW, &mode)?)
}

/// Bytes that the program can read now.
fn queued(theirs: &OwnedFd) -> usize {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open as long as `theirs` lives, and FIONREAD writes one int.
    let asked = unsafe { libc::ioctl(theirs.as_raw_fd(), libc::FIONREAD, &mut bytes) };
    match asked {
        0 => usize::try_from(bytes).unwrap_or(0),
        _ => 0,
    }
}

fn set_size(fd: &OwnedFd, size: Size) -> io::Result<()> {
    let size = size.winsize();
    // SAFETY: TIOCSWINSZ reads one winsize, which outlives the call.
    match unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCSWINSZ, &size) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The program's end: never our own controlling terminal.
#[cfg(target_os = "linux")]
fn peer(ours: &pty::PtyMaster) -> io::Result<OwnedFd> {
    use std::os::fd::FromRawFd;

    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // By the descriptor and not by a path, which may lead elsewhere in a container.
    // SAFETY: TIOCGPTPEER reads no memory; what it returns is new and owned by nobody else.
    unsafe {
        let fd = libc::ioctl(ours.as_raw_fd(), libc::TIOCGPTPEER, flags);
        match fd {
            0.. => Ok(OwnedFd::from_raw_fd(fd)),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn peer(ours: &pty::PtyMaster) -> io::Result<OwnedFd> {
    // SAFETY: the name is copied before the next call; only rooms that start come here, and one
    // that got another's terminal by a race would be refused it, which is locked to it.
    let path = unsafe { pty::ptsname(ours) }?;
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    Ok(nix::fcntl::open(
        path.as_str(),
        flags,
        nix::sys::stat::Mode::empty(),
    )?)
}
