//! What the server says once it is ready: what it serves, a room to try, and what is switched on. To
//! people at a terminal in some lines of their own, to everybody else as fields of one line in the log.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tracing::info;

use crate::cli::{self, Config, Listen, Source};
use crate::http::Listener;
use crate::telemetry::Terminal;

/// The room of the example, where any name will do.
const ROOM: &str = "lobby";

/// See the module's documentation.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Greeting {
    /// The program, or where it is.
    program: String,
    /// The program's arguments, for people alone: the log may lie where a secret must not.
    args: String,
    /// The URL of a room; none without a TCP address.
    room: Option<String>,
    /// What a browser can open.
    page: Option<String>,
    /// Where operators see what goes on.
    console: Option<String>,
    /// What is switched on beside rooms.
    on: Vec<String>,
}

impl Greeting {
    /// Of a server that listens there.
    pub(super) fn new(config: &Config, public: &[Listener], console: Option<String>) -> Greeting {
        Greeting {
            console,
            ..Greeting::at(config, public.iter().find_map(Listener::tcp_address))
        }
    }

    fn at(config: &Config, address: Option<SocketAddr>) -> Greeting {
        let secure = if config.tls.is_some() { "s" } else { "" };
        let base = &config.front.base_path;
        let host = address.map(here);
        let named = config.rooms.as_ref().and_then(|names| names.first());
        let name = match named.map_or(ROOM, String::as_str) {
            _ if config.isolate => String::new(),
            name => percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC)
                .to_string(),
        };
        let (program, args) = match &config.source {
            Source::Program { cmd, args } => (
                cmd.to_string_lossy().into_owned(),
                args.iter().fold(String::new(), |words, arg| {
                    words + " " + &arg.to_string_lossy()
                }),
            ),
            Source::Connect(address) => (address.clone(), String::new()),
            #[cfg(feature = "kube")]
            Source::Nothing => ("other servers of its fleet".to_owned(), String::new()),
        };
        Greeting {
            program,
            args,
            room: host
                .as_ref()
                .map(|host| format!("ws{secure}://{host}{base}/{name}")),
            page: host.map(|host| match config.staticdir {
                Some(_) => format!("http{secure}://{host}{base}/"),
                None => format!("http{secure}://{host}{base}/{name}"),
            }),
            console: None,
            on: switched_on(config),
        }
    }

    /// Says it: to the terminal if there is one, else to the log.
    pub(super) fn say(&self, terminal: Option<&Terminal>) {
        match terminal {
            Some(terminal) => terminal.say(&self.lines(terminal.is_coloured())),
            None => info!(
                version = env!("CARGO_PKG_VERSION"),
                program = self.program,
                room = self.room,
                page = self.page,
                console = self.console,
                on = (!self.on.is_empty()).then(|| self.on.join(", ")),
                "ready"
            ),
        }
    }

    /// In one line, for whoever lists services. The program's arguments may be secret.
    pub(super) fn summary(&self) -> String {
        let mut summary = format!("Serving {}", cli::shown(self.program.as_ref()));
        if let Some(room) = &self.room {
            summary += " at ";
            summary += room;
        }
        summary
    }

    fn lines(&self, coloured: bool) -> String {
        let paint = |code: &str, text: &str| match coloured {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        };
        let mut lines = format!(
            "\n  {} serves {}\n\n",
            paint("1", concat!("scalesocket ", env!("CARGO_PKG_VERSION"))),
            paint(
                "1",
                &cli::shown(format!("{}{}", self.program, self.args).as_ref())
            )
        );
        let mut line = |name: &str, text: &str| {
            let _ = writeln!(lines, "  {}  {text}", paint("2", &format!("{name:<4}")));
        };
        if let Some(room) = &self.room {
            line("room", &paint("36", room));
        }
        if let Some(page) = &self.page {
            line("open", &paint("36", page));
        }
        if let Some(console) = &self.console {
            line("see", &paint("36", console));
        }
        if !self.on.is_empty() {
            line("on", &self.on.join(", "));
        }
        line("end", "Ctrl-C");
        lines.push('\n');
        lines
    }
}

/// An address that somebody on this machine can connect to.
pub(super) fn here(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        // It takes IPv4 too, unless the system was told otherwise.
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn switched_on(config: &Config) -> Vec<String> {
    let framing = match config.server_framing {
        cli::ServerFraming::Json => Some("JSON framing"),
        cli::ServerFraming::Binary => Some("binary framing"),
        cli::ServerFraming::Gwsocket => Some("gwsocket framing"),
        _ => None,
    };
    let admin = config.admin_addr.as_ref().map(Listen::to_string);
    let at = |what: &str| match &admin {
        Some(admin) => format!("{what} (on {admin})"),
        None => what.to_owned(),
    };
    let files = config.staticdir.as_ref();
    [
        framing.map(str::to_owned),
        config
            .pty
            .map(|size| format!("a terminal of {}x{}", size.columns, size.rows)),
        config
            .isolate
            .then(|| "a program for each client".to_owned()),
        files.map(|dir| format!("files from {}", dir.display())),
        config.tls.is_some().then(|| "TLS".to_owned()),
        config.identity.as_ref().map(|identity| match identity {
            cli::Identity::Token { .. } => "tokens".to_owned(),
            cli::Identity::Service { url, .. } => format!("asking {url} who clients are"),
        }),
        config.compress.map(|_| "compression".to_owned()),
        config.cache.as_ref().map(|_| "history".to_owned()),
        config.metrics.then(|| at("metrics")),
        config.stats.then(|| at("stats")),
        config.api.then(|| at("api")),
        config.console.as_ref().map(|console| match console.access {
            cli::Access::Read => at("console"),
            cli::Access::Write => at("console that acts"),
        }),
        (!config.develop.watch.is_empty()).then(|| {
            let paths = config.develop.watch.iter();
            let paths: Vec<_> = paths.map(|path| path.display().to_string()).collect();
            format!("watching {}", paths.join(" and "))
        }),
        config
            .develop
            .record
            .as_ref()
            .map(|record| format!("recordings in {}", record.dir.display())),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Command;

    fn greeting(line: &str, address: Option<&str>) -> Greeting {
        let words = line.split(' ').map(Into::into);
        let words = std::iter::once("scalesocket".into()).chain(words);
        let Ok(Command::Serve(config)) = cli::parse(words, &|_| None) else {
            panic!("{line}");
        };
        Greeting::at(&config, address.map(|address| address.parse().unwrap()))
    }

    #[test]
    fn a_room_to_try_is_one_that_there_is_and_can_be_reached() {
        for (line, address, room, page) in [
            (
                "cat",
                "0.0.0.0:9000",
                "ws://127.0.0.1:9000/lobby",
                "http://127.0.0.1:9000/lobby",
            ),
            (
                "cat",
                "[::]:80",
                "ws://[::1]:80/lobby",
                "http://[::1]:80/lobby",
            ),
            (
                "--rooms=a,b cat",
                "10.1.2.3:1",
                "ws://10.1.2.3:1/a",
                "http://10.1.2.3:1/a",
            ),
            (
                "--isolate cat",
                "1.1.1.1:1",
                "ws://1.1.1.1:1/",
                "http://1.1.1.1:1/",
            ),
            (
                "--base-path /g cat",
                "1.1.1.1:1",
                "ws://1.1.1.1:1/g/lobby",
                "http://1.1.1.1:1/g/lobby",
            ),
            (
                "--staticdir . cat",
                "1.1.1.1:1",
                "ws://1.1.1.1:1/lobby",
                "http://1.1.1.1:1/",
            ),
            (
                "--tls-cert=c --tls-key=k cat",
                "1.1.1.1:1",
                "wss://1.1.1.1:1/lobby",
                "https://1.1.1.1:1/lobby",
            ),
        ] {
            let greeting = greeting(line, Some(address));
            assert_eq!(greeting.room.as_deref(), Some(room), "{line}");
            assert_eq!(greeting.page.as_deref(), Some(page), "{line}");
        }
        assert_eq!(greeting("cat", None).room, None);
    }

    #[test]
    fn what_is_switched_on_is_named() {
        let line = "--frame=json --metrics --api --cache 5 --compress --watch a --watch b --record r cat -- -n x";
        let greeting = greeting(line, Some("127.0.0.1:9000"));
        let lines = greeting.lines(false);
        for part in [
            "serves cat -n x\n",
            "room  ws://127.0.0.1:9000/lobby\n",
            "on    JSON framing, compression, history, metrics, api, watching a and b, recordings in r\n",
        ] {
            assert!(lines.contains(part), "{part:?} in {lines}");
        }
        assert!(!lines.contains('\x1b'));
        assert!(
            greeting
                .lines(true)
                .contains("\x1b[36mws://127.0.0.1:9000/lobby\x1b[0m")
        );
    }

    #[test]
    fn a_program_s_name_cannot_steer_the_terminal() {
        let mut odd = greeting("cat", None);
        odd.program = "\x1b[2Jcat\n".to_owned();
        assert!(!odd.lines(false).contains('\x1b'));
    }
}
