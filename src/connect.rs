//! `scalesocket connect URL`: a client for a room, line by line, for people and for pipes.
//!
//! At a terminal it keeps a history and shows JSON in colours; in a pipe each line is a message and
//! each message a line. What a server sends cannot steer the terminal. It is a client like any other:
//! it uses a library for the protocol and nothing of the server.

mod colour;
mod dial;
mod lines;
mod show;

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::anyhow;
use futures_util::stream::SplitSink;
use futures_util::{SinkExt, StreamExt};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message};
use tokio_tungstenite::tungstenite::{Bytes, Error};

use crate::cli::Connect as Options;
use dial::Socket;
use show::Screen;

/// How long the other side may take for our close.
const CLOSE_TIME: Duration = Duration::from_secs(2);
/// Lines that are read ahead of a server that takes none.
const AHEAD: usize = 64;

/// What whoever sits before it wants.
#[derive(Debug)]
enum Input {
    /// This is said.
    Line(Vec<u8>),
    /// Nothing more is said.
    End,
}

/// Talks until either side ends.
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let code = runtime.block_on(talk(options));
    // A thread may wait for a line that nobody needs any more.
    runtime.shutdown_background();
    code
}

async fn talk(options: &Options) -> anyhow::Result<ExitCode> {
    let people = io::stdin().is_terminal() && io::stdout().is_terminal() && !options.raw;
    let interrupt = interrupted(people);
    tokio::pin!(interrupt);
    let socket = tokio::select! {
        socket = dial::dial(options) => socket?,
        () = &mut interrupt => return Ok(ExitCode::FAILURE),
    };
    let (say, mut said) = mpsc::channel(AHEAD);
    let mut screen = match people {
        true => lines::from_people(say, options.url.path().to_owned())?,
        false => {
            lines::from_pipe(say);
            Screen::plain(options.raw)
        }
    };
    screen.note("connected")?;
    let (mut sink, mut stream) = socket.split();
    let mut leaves_at: Option<Instant> = None;
    {
        // Beside what is heard: a server may take nothing more before we have heard what it says.
        let speaks = speak(&mut sink, &mut said);
        tokio::pin!(speaks);
        let mut speaking = true;
        loop {
            let silent = async {
                match leaves_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                heard = stream.next() => {
                    if let Some(at) = &mut leaves_at {
                        *at = Instant::now() + options.wait;
                    }
                    match heard {
                        Some(Ok(Message::Close(frame))) => return ended(&mut screen, frame),
                        Some(Ok(message)) => {
                            if screen.message(&message).is_err() {
                                // Nobody reads any more.
                                break;
                            }
                        }
                        Some(Err(Error::ConnectionClosed | Error::AlreadyClosed)) | None => {
                            return Err(anyhow!("the connection ended without a close"));
                        }
                        Some(Err(error)) => return Err(anyhow!("the connection failed: {error}")),
                    }
                }
                // One that failed is heard of above, with its reason, if there is one.
                spoken = &mut speaks, if speaking => {
                    speaking = false;
                    if spoken.is_ok() && people {
                        break;
                    }
                    leaves_at = Some(Instant::now() + options.wait);
                }
                () = silent => break,
                () = &mut interrupt => break,
            }
        }
    }
    let close = CloseFrame {
        code: CloseCode::Normal,
        reason: "".into(),
    };
    let goodbye = async {
        sink.send(Message::Close(Some(close))).await.ok();
        while let Some(Ok(message)) = stream.next().await {
            if message.is_close() {
                break;
            }
            screen.message(&message).ok();
        }
    };
    // Who does not answer is left.
    timeout(CLOSE_TIME, goodbye).await.ok();
    Ok(ExitCode::SUCCESS)
}

/// Somebody wants us to end. With TERM, too, where a terminal is to be given back.
async fn interrupted(people: bool) {
    let terminated = async {
        match people.then(|| signal(SignalKind::terminate())) {
            Some(Ok(mut signal)) => signal.recv().await,
            _ => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminated => {}
    }
}

/// Says line after line, until nothing more is said.
async fn speak(
    sink: &mut SplitSink<Talk, Message>,
    said: &mut mpsc::Receiver<Input>,
) -> Result<(), Error> {
    while let Some(Input::Line(line)) = said.recv().await {
        let message = match String::from_utf8(line) {
            Ok(text) => Message::Text(text.into()),
            Err(bytes) => Message::Binary(Bytes::from(bytes.into_bytes())),
        };
        sink.send(message).await?;
    }
    Ok(())
}

/// The other side has closed: says why, and whether that is well.
fn ended(screen: &mut Screen, frame: Option<CloseFrame>) -> anyhow::Result<ExitCode> {
    let (code, reason) = match &frame {
        Some(frame) => (u16::from(frame.code), frame.reason.as_str()),
        None => (1005, ""),
    };
    screen.note(format!("closed: {code} {reason}").trim_end())?;
    Ok(match code {
        1000 | 1001 | 1005 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// A socket to a server.
type Talk = WebSocketStream<Socket>;
