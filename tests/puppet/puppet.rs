//! The misbehaving child of the tests. Its arguments are steps, done in order and separated by the
//! word `then`: `puppet wait then flood 100 then exit 3`. A step that fails because the server took
//! the pipe away ends the puppet in silence, as it would end any program.
//!
//! | step | does |
//! |---|---|
//! | `echo`, `echo-raw` | copies stdin to stdout, line by line or chunk by chunk, until EOF |
//! | `mute` | reads all, prints nothing, until EOF |
//! | `count` | answers every line with its number, until EOF |
//! | `wait [N]` | reads N lines (one) |
//! | `flood N [SIZE]` | prints the numbers 1 to N, each padded to a line of SIZE bytes |
//! | `print TEXT...`, `bytes ESCAPED...` | prints a line, or exact bytes (`\n \r \0 \\ \s \xNN`) |
//! | `whispers TEXT...` | prints a line to stderr |
//! | `hex N [nul]` | prints every N bytes it reads as a line of hexadecimal digits, until EOF |
//! | `deaf` | never reads and never ends |
//! | `ticks` | says `ready PID`, then one line for every SIGUSR1; never reads, never ends |
//! | `stubborn` | says `stubborn PID`, ignores TERM, INT, HUP and EOF |
//! | `traps FILE [SIGNAL]` | says `trapping`, and on TERM or the signal writes the file |
//! | `save FILE`, `remove FILE` | writes the file, removes it |
//! | `alone FILE` | creates the file; one that is there already is told to stderr as `not alone` |
//! | `after MS` | lets so many milliseconds pass |
//! | `exit CODE`, `dies SIGNAL` | ends by itself |
//! | `eat` | takes memory, a MiB after the other, until it gets no more, and ends with 3 |
//! | `crowd N MIB` | starts N processes with so much memory each, and sleeps with them |
//! | `forks`, `daemon`, `quiet-daemon` | leaves a sleeping process behind and prints its id |
//! | `env`, `args`, `fds`, `pid`, `nofile` | prints what it was given |
//! | `packets`, `packets-to-all` | reflects gwsocket packets to the sender, or to everyone |
//! | `packet ID TYPE ESCAPED` | prints one gwsocket packet |
//! | `describe` | prints a line for every gwsocket packet it reads |
//! | `tcp ...` | listens on `$PORT`, see the module |

use std::io::{self, BufRead, Read, Write};
use std::process::ExitCode;

mod memory;
mod packets;
mod processes;
mod tcp;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    for step in words.split(|word| word == "then") {
        let Some((verb, rest)) = step.split_first() else {
            eprintln!("puppet: an empty step");
            return ExitCode::from(64);
        };
        match act(verb, rest) {
            Ok(None) => {}
            Ok(Some(code)) => return ExitCode::from(code),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return ExitCode::from(141),
            Err(error) => {
                eprintln!("puppet: {verb}: {error}");
                return ExitCode::from(64);
            }
        }
    }
    ExitCode::SUCCESS
}

/// Does one step; a code ends the puppet at once.
fn act(verb: &str, rest: &[String]) -> io::Result<Option<u8>> {
    match verb {
        "echo" => echo()?,
        "echo-raw" => echo_raw()?,
        "mute" => drop(io::copy(&mut io::stdin().lock(), &mut io::sink())?),
        "count" => count()?,
        "wait" => wait(if rest.is_empty() { 1 } else { number(rest, 0)? })?,
        "flood" => flood(
            number(rest, 0)?,
            if rest.len() > 1 { number(rest, 1)? } else { 0 },
        )?,
        "print" => print(format!("{}\n", rest.join(" ")).as_bytes())?,
        "bytes" => print(&unescape(&rest.join(" "))?)?,
        "whispers" => io::stderr().write_all(format!("{}\n", rest.join(" ")).as_bytes())?,
        "hex" => hex(number(rest, 0)?, if rest.len() > 1 { "\0" } else { "\n" })?,
        "deaf" => processes::sleep(),
        "ticks" => processes::ticks()?,
        "stubborn" => processes::stubborn()?,
        "traps" => processes::traps(word(rest, 0)?, word(rest, 1).unwrap_or("TERM"))?,
        "save" => std::fs::write(word(rest, 0)?, "saved")?,
        "remove" => std::fs::remove_file(word(rest, 0)?)?,
        "alone" => {
            if std::fs::File::create_new(word(rest, 0)?).is_err() {
                eprintln!("not alone");
            }
        }
        "after" => std::thread::sleep(std::time::Duration::from_millis(number(rest, 0)?)),
        "exit" => return Ok(Some(number(rest, 0)?)),
        "dies" => processes::dies(word(rest, 0)?)?,
        "eat" => return Ok(Some(memory::eat())),
        "crowd" => memory::crowd(number(rest, 0)?, word(rest, 1)?)?,
        "hold" => memory::hold(number(rest, 0)?)?,
        "forks" => processes::forks()?,
        "daemon" => processes::daemon(processes::Daemon::HoldsOurPipes)?,
        "quiet-daemon" => processes::daemon(processes::Daemon::LetsGo)?,
        "sleeper" => processes::sleep(),
        "env" => print(json_object(std::env::vars_os()).as_bytes())?,
        "args" => print(format!("{rest:?}\n").as_bytes())?,
        "fds" => processes::descriptors()?,
        "pid" => print(format!("{}\n", std::process::id()).as_bytes())?,
        "nofile" => processes::nofile()?,
        "packets" => packets::reflect(packets::To::Sender)?,
        "packets-to-all" => packets::reflect(packets::To::Everyone)?,
        "packet" => {
            let payload = unescape(&rest.get(2..).unwrap_or_default().join(" "))?;
            packets::write(number(rest, 0)?, number(rest, 1)?, &payload)?;
        }
        "describe" => packets::describe()?,
        "tcp" => tcp::listen(rest)?,
        other => return Err(io::Error::other(format!("no such step: {other}"))),
    }
    Ok(None)
}

/// Writes to stdout and flushes: a child that buffers is not what these tests are about.
pub(crate) fn print(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

fn word(rest: &[String], at: usize) -> io::Result<&str> {
    rest.get(at)
        .map(String::as_str)
        .ok_or_else(|| io::Error::other("a word is missing"))
}

fn number<N: std::str::FromStr>(rest: &[String], at: usize) -> io::Result<N> {
    word(rest, at)?
        .parse()
        .map_err(|_| io::Error::other("not a number"))
}

fn echo() -> io::Result<()> {
    let mut stdin = io::stdin().lock();
    let mut line = Vec::new();
    while stdin.read_until(b'\n', &mut line)? > 0 {
        print(&line)?;
        line.clear();
    }
    Ok(())
}

fn echo_raw() -> io::Result<()> {
    let mut stdin = io::stdin().lock();
    loop {
        let chunk = stdin.fill_buf()?;
        if chunk.is_empty() {
            return Ok(());
        }
        print(chunk)?;
        let read = chunk.len();
        stdin.consume(read);
    }
}

fn count() -> io::Result<()> {
    let mut stdin = io::stdin().lock();
    let mut line = Vec::new();
    let mut lines = 0_u64;
    while stdin.read_until(b'\n', &mut line)? > 0 {
        lines += 1;
        print(format!("{lines}\n").as_bytes())?;
        line.clear();
    }
    Ok(())
}

fn wait(lines: u64) -> io::Result<()> {
    let mut line = Vec::new();
    for _ in 0..lines {
        if io::stdin().lock().read_until(b'\n', &mut line)? == 0 {
            break;
        }
    }
    Ok(())
}

fn flood(lines: u64, size: usize) -> io::Result<()> {
    let mut stdout = io::BufWriter::with_capacity(64 << 10, io::stdout().lock());
    let padding = vec![b'.'; size];
    for line in 1..=lines {
        let digits = line.to_string();
        stdout.write_all(digits.as_bytes())?;
        let missing = size.saturating_sub(digits.len() + 1);
        stdout.write_all(padding.get(..missing).unwrap_or_default())?;
        stdout.write_all(b"\n")?;
    }
    stdout.flush()
}

fn hex(size: usize, end: &str) -> io::Result<()> {
    let mut stdin = io::stdin().lock();
    let mut bytes = vec![0; size];
    while stdin.read_exact(&mut bytes).is_ok() {
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        print(format!("{digits}{end}").as_bytes())?;
    }
    Ok(())
}

/// The bytes a word of the command line stands for.
fn unescape(text: &str) -> io::Result<Vec<u8>> {
    let wrong = || io::Error::other("a broken escape");
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'\\' => match rest.next().ok_or_else(wrong)? {
                b'n' => b'\n',
                b'r' => b'\r',
                b's' => b' ',
                b'0' => 0,
                b'\\' => b'\\',
                b'x' => {
                    let digits = [
                        rest.next().ok_or_else(wrong)?,
                        rest.next().ok_or_else(wrong)?,
                    ];
                    let digits = std::str::from_utf8(&digits).map_err(|_| wrong())?;
                    u8::from_str_radix(digits, 16).map_err(|_| wrong())?
                }
                _ => return Err(wrong()),
            },
            plain => plain,
        });
    }
    Ok(bytes)
}

/// One line of JSON, so that a test can read a whole environment from one message.
fn json_object(pairs: impl Iterator<Item = (std::ffi::OsString, std::ffi::OsString)>) -> String {
    let quote = |text: std::ffi::OsString| {
        let mut quoted = String::from("\"");
        for character in text.to_string_lossy().chars() {
            match character {
                '"' | '\\' => quoted.extend(['\\', character]),
                control if control < ' ' => {
                    quoted.push_str(&format!("\\u{:04x}", u32::from(control)));
                }
                plain => quoted.push(plain),
            }
        }
        quoted.push('"');
        quoted
    };
    let members: Vec<String> = pairs
        .map(|(name, value)| format!("{}:{}", quote(name), quote(value)))
        .collect();
    format!("{{{}}}\n", members.join(","))
}
