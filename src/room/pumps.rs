//! The pumps of a room: one task per direction and stream of its child. None ever waits for
//! another: a child that does not read its stdin is still heard, and the other way round.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::unix::pipe;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::feed::{Brink, Patience};
use super::gather::{Gather, HEARERS};
use super::inbox::Taken;
use super::live::Room;
use super::options::{Options, Stderr};
use super::outgoing::Outgoing;
use crate::child::{Input, Output};
use crate::frame::{Broken, Decoder, Kind};

/// As much as a pipe holds by default.
const READ: usize = 64 << 10;
/// Bytes read before others get their turn, the runtime's look at all sockets included.
const REST_AFTER: usize = 512 << 10;
/// How long a child's output is read after its end, while others hold the pipe.
pub(super) const AFTER_EXIT: Duration = Duration::from_millis(500);
/// What a pipe may hold at most (`pipe-max-size` of Linux, proc_sys_fs(5)): what was in it when
/// the child ended is read whatever the clock says.
const PIPE_MAX: usize = 1 << 20;
/// Longest stderr line that is kept whole; longer ones come in pieces.
const STDERR_LINE: usize = 8 << 10;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
}

/// Child to clients. Ends at the end of the output, or when the stream cannot go on; or, once
/// `exited` is cancelled, when nothing has come for a while.
pub(super) async fn output(
    room: Arc<Room>,
    options: Arc<Options>,
    mut output: Output,
    exited: CancellationToken,
) -> Result<(), Broken> {
    let mut decoder = Decoder::new(&options.server_framing, options.max_child_message);
    let mut outgoing = Outgoing::new(options.history);
    let mut ending: Option<Instant> = None;
    let mut left_after = PIPE_MAX;
    let mut since_rest = 0;
    let mut patience = Patience::new(std::time::Instant::now());
    let mut gather = Gather::new(std::time::Instant::now());
    let mut lull = None;
    let mut exit = pin!(exited.cancelled());
    let result = loop {
        if since_rest >= REST_AFTER {
            since_rest = 0;
            tokio::task::yield_now().await;
        }
        if let Some(lull) = lull.take() {
            gather.wait(lull).await;
        }
        if room.may_read().await == Brink::Reached {
            room.bear(&mut patience).await;
        }
        if ending.is_none() && exited.is_cancelled() {
            ending = Some(Instant::now() + AFTER_EXIT);
            output.leader_ended();
        }
        let over = ending.is_some_and(|ending| Instant::now() >= ending);
        let mut take = |bytes: &[u8]| {
            room.transcript.printed(bytes);
            room.note_printed(bytes);
            let fed = decoder.feed(bytes, &mut |event| outgoing.add(event));
            let messages = outgoing.broadcast;
            let hearers = room.publish(&mut outgoing);
            if hearers >= HEARERS {
                let now = std::time::Instant::now();
                lull = gather.note(now, bytes.len(), messages, messages * hearers as u64);
            }
            (bytes.len(), fed)
        };
        let read = if over {
            // What is there now, and no more.
            SCRATCH.with_borrow_mut(|scratch| {
                let read = output.try_read(scratch)?;
                Ok::<_, io::Error>(take(scratch.get(..read).unwrap_or_default()))
            })
        } else {
            let read = poll_fn(|cx| {
                SCRATCH.with_borrow_mut(|scratch| {
                    let mut scratch = ReadBuf::new(scratch);
                    ready!(Pin::new(&mut output).poll_read(cx, &mut scratch))?;
                    Poll::Ready(Ok(take(scratch.filled())))
                })
            });
            let end = async {
                match ending {
                    Some(end) => sleep_until(end).await,
                    None => exit.as_mut().await,
                }
            };
            tokio::select! {
                biased;
                read = read => read,
                () = end => continue,
            }
        };
        since_rest += read.as_ref().map_or(0, |(read, _)| *read);
        match read {
            Ok((0, _)) => break Ok(()),
            Ok((_, Err(broken))) => break Err(broken),
            Ok((read, Ok(()))) if over => {
                left_after = left_after.saturating_sub(read);
                if left_after == 0 {
                    break Ok(());
                }
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                debug!(room = %room.name, %error, "output of the child could not be read");
                break Ok(());
            }
        }
    };
    decoder.finish(&mut |event| outgoing.add(event));
    room.publish(&mut outgoing);
    result
}

/// Clients to child. Ends with EOF to the child once the inbox is closed and empty. A child that
/// has closed its stdin does not end the room: what is said to it is dropped and counted.
///
/// `stop` ends it early and puts back into the inbox what the child has not taken.
pub(super) async fn input(
    room: Arc<Room>,
    options: Arc<Options>,
    mut input: Input,
    stop: CancellationToken,
) {
    let mut spare = Vec::new();
    // What was written lately, as much as a pipe may hold: kept only where a new child may come.
    let mut lately = Taken::default();
    let mut stopped = pin!(stop.cancelled());
    loop {
        let taken = tokio::select! {
            biased;
            taken = room.inbox.take(std::mem::take(&mut spare)) => taken,
            () = &mut stopped => return take_back(&room, &input, lately, Taken::default(), 0),
        };
        let Some(taken) = taken else { break };
        let mut written = 0;
        room.transcript.given(&taken.bytes);
        let result = tokio::select! {
            biased;
            result = write(&room, &mut input, &taken.bytes, &mut written) => Some(result),
            () = &mut stopped => None,
        };
        match result {
            Some(Ok(())) if options.restart => {
                lately.append(taken);
                lately.trim(PIPE_MAX);
            }
            Some(Ok(())) => spare = taken.bytes,
            Some(Err(error)) if !options.restart => {
                debug!(room = %room.name, %error, "the child takes no input");
                room.count_dropped("input_closed", taken.messages);
                room.transcript.taken_back(taken.bytes.len() - written);
                room.inbox.wrote(taken.bytes.len() - written);
                return discard(&room, &stop).await;
            }
            Some(Err(_)) | None => {
                take_back(&room, &input, lately, taken, written);
                // A new child may come. One that lives on with its stdin closed is as deaf as
                // any other.
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(AFTER_EXIT) => return discard(&room, &stop).await,
                }
            }
        }
    }
    room.transcript.ended_input();
    // Dropping it would do for a pipe; a socket needs the half-close. Either way the child may be
    // gone already, which is no error here.
    if let Err(error) = input.shutdown().await {
        debug!(room = %room.name, %error, "the child's input was closed already");
    }
}

/// Puts back into the inbox what the child has not read: of what was written `lately`, and of what
/// was `taken` last, of which `written` bytes were.
fn take_back(room: &Room, input: &Input, mut lately: Taken, taken: Taken, written: usize) {
    let written = lately.bytes.len() + written;
    let read = written.saturating_sub(input.unread());
    lately.append(taken);
    room.transcript
        .taken_back(lately.bytes.len().saturating_sub(read));
    room.inbox.put_back(lately, written, read);
}

async fn write(
    room: &Room,
    input: &mut Input,
    bytes: &[u8],
    written: &mut usize,
) -> io::Result<()> {
    while let Some(rest) = bytes.get(*written..).filter(|rest| !rest.is_empty()) {
        let now = input.write(rest).await?;
        if now == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        *written += now;
        room.inbox.wrote(now);
    }
    Ok(())
}

/// The child takes no input any more: frees what waits, so that nobody is stopped by it.
async fn discard(room: &Room, stop: &CancellationToken) {
    loop {
        let taken = tokio::select! {
            taken = room.inbox.take(Vec::new()) => taken,
            () = stop.cancelled() => None,
        };
        let Some(taken) = taken else { return };
        room.count_dropped("input_closed", taken.messages);
        room.inbox.wrote(taken.bytes.len());
    }
}

/// The child's stderr, line by line, to the log or to the clients.
pub(super) async fn stderr(room: Arc<Room>, options: Arc<Options>, stderr: pipe::Receiver) {
    let pid = room.pid.load(Relaxed);
    let mut partial = Vec::new();
    let mut outgoing = Outgoing::default();
    let to_clients = options.stderr == Stderr::Client;
    let line = |text: &[u8], outgoing: &mut Outgoing| {
        room.transcript.whispered(text);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        room.note_stderr(text);
        let text = String::from_utf8_lossy(text);
        if to_clients {
            let message = serde_json::json!({"stream": "stderr", "data": text}).to_string();
            outgoing.everyone(Kind::Text, message.as_bytes(), false);
        } else {
            info!(room = %room.name, pid, line = %text, "stderr of the child");
        }
    };
    while stderr.readable().await.is_ok() {
        let read = SCRATCH.with_borrow_mut(|scratch| {
            let read = stderr.try_read(scratch)?;
            for piece in scratch
                .get(..read)
                .unwrap_or_default()
                .split_inclusive(|b| *b == b'\n')
            {
                partial.extend_from_slice(piece);
                while partial.len() > STDERR_LINE {
                    line(&partial[..STDERR_LINE], &mut outgoing);
                    partial.drain(..STDERR_LINE);
                }
                if let Some(whole) = partial.strip_suffix(b"\n") {
                    line(whole, &mut outgoing);
                    partial.clear();
                }
            }
            Ok::<_, io::Error>(read)
        });
        match read {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(_) => break,
        }
        if to_clients {
            // Paced like the output.
            room.publish(&mut outgoing);
            let _ = room.may_read().await;
        }
    }
    if !partial.is_empty() {
        line(&partial, &mut outgoing);
    }
    room.publish(&mut outgoing);
}
