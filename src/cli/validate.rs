//! What may not stand together, and what follows from what: [`Cli`] -> [`Config`], pure. Contradictions
//! are refused with a sentence that says what to do; a flag that merely does nothing is a
//! warning, because the predecessor's command lines and shared environments carry such flags.

use std::time::Duration;

use super::config::{
    ClientFraming, Config, Keep, Listen, Memory, Restart, ServerFraming, Source, Stderr,
};
use super::flags::{Cli, Frame};

const TCP_PORTS: std::ops::RangeInclusive<u16> = 9001..=9999;
const UNIX_MODE: u32 = 0o660;
const MAX_ROOMS: usize = 1024;

/// The whole configuration, or one sentence that says what to do.
pub(super) fn validate(cli: Cli) -> Result<Config, String> {
    refuse_contradictions(&cli)?;
    let (server_framing, client_framing) = framings(&cli);
    check_sizes(&cli, client_framing)?;
    let listed = |page: &str| cli.origin.iter().any(|entry| entry.trim() == page);
    // Any page can open a frame whose origin is `null`, but only `*` says that any page is meant.
    let pages = match (listed("*"), listed("null")) {
        (false, true) => false,
        _ => cli.same_origin || !cli.origin.is_empty(),
    };
    let identity = super::identity::validate(&cli.identity, pages)?;
    let cage = super::cage::validate(&cli.cage, cli.connect.is_some())?;
    let develop = super::develop::validate(&cli.develop, cli.connect.is_some())?;
    let mut warnings = warnings(&cli, &server_framing, client_framing);
    warnings.extend(super::develop::warning(&cli.develop));
    warnings.extend(super::tls::warn_of_origins(&cli.tls, &cli.origin));
    let field = |given: &Option<String>, preset: &str| match given {
        Some(name) => name.clone(),
        None if cli.json => preset.to_owned(),
        None => "id".to_owned(),
    };
    let from_field = field(&cli.from_field, "_from");
    let to_field = field(&cli.to_field, "_to");
    let message = |given: &Option<String>, what: &str| match given {
        Some(text) => Some(text.clone()),
        None if cli.json => {
            // A JSON string, so that the message stays an object whatever the field is called.
            let name = serde_json::Value::from(from_field.as_str());
            Some(format!(r#"{{"t":"{what}",{name}:#ID}}"#))
        }
        None => None,
    };
    let admin = cli.admin_addr.is_some();
    let maxrooms = cli
        .maxrooms
        .unwrap_or(if cli.oneshot { 1 } else { MAX_ROOMS });
    let tls = super::tls::validate(&cli.tls, &cli.addr)?;
    let front = super::door::validate(&cli.front)?;
    let console = super::console::validate(&cli.console)?;
    #[cfg(feature = "kube")]
    let cluster = super::cluster::validate(&cli.cluster, maxrooms)?;
    let stop_signal = super::terminal::stop_signal(&cli);
    Ok(Config {
        front,
        console,
        #[cfg(feature = "kube")]
        cluster,
        tls,
        maxrooms,
        joinmsg: message(&cli.joinmsg, "Join"),
        leavemsg: message(&cli.leavemsg, "Leave"),
        rooms: cli.rooms.clone().map(without_duplicates),
        source: source(&cli)?,
        server_framing,
        client_framing,
        from_field,
        to_field,
        warnings,
        addr: cli.addr,
        unix_mode: cli.unix_mode.unwrap_or(UNIX_MODE),
        admin_addr: cli.admin_addr,
        tcp: cli.tcp,
        pty: cli.pty,
        tcpports: cli.tcpports.unwrap_or(TCP_PORTS),
        cmd_attach_delay: cli.cmd_attach_delay,
        start_timeout: cli.start_timeout,
        passenv: cli
            .passenv
            .into_iter()
            .filter(|name| !name.is_empty())
            .collect(),
        isolate: cli.isolate,
        oneshot: cli.oneshot,
        restart: cli.restart.unwrap_or(Restart::Never),
        stderr: cli.stderr.unwrap_or(Stderr::Log),
        cage,
        develop,
        cache: cli.cache,
        cachepersist: cli.cachepersist,
        max_clients: cli.max_clients,
        max_clients_per_room: cli.max_clients_per_room,
        max_clients_per_ip: cli.max_clients_per_ip,
        origin: cli.origin,
        same_origin: cli.same_origin,
        subprotocol: cli.subprotocol,
        refuse: cli.refuse,
        identity,
        linger: cli.linger.unwrap_or_default(),
        max_idle: unless_zero(cli.max_idle),
        max_lifetime: unless_zero(cli.max_lifetime),
        stop_eof: cli.stop_eof,
        stop_signal,
        stop_grace: cli.stop_grace,
        drain_timeout: cli.drain_timeout,
        backlog: cli.backlog,
        memory: cli.memory.unwrap_or(Memory::Half),
        inbox: cli.inbox,
        slow: cli.slow,
        stall_timeout: cli.stall_timeout,
        max_message: cli.max_message,
        max_child_message: cli.max_child_message,
        compress: cli.compress,
        ping: unless_zero(cli.ping),
        ping_timeout: unless_zero(cli.ping_timeout),
        metrics: cli.metrics || admin,
        metrics_rooms: cli.metrics_rooms,
        stats: cli.stats || admin,
        api: cli.api,
        staticdir: cli.staticdir,
        header: cli.header,
        log: cli.log,
        verbosity: if cli.quiet {
            -1
        } else {
            i8::try_from(cli.verbose).unwrap_or(i8::MAX)
        },
    })
}

/// Two flags, each with whether it was given, and why they exclude each other with what to do.
type Contradiction = (bool, &'static str, bool, &'static str, &'static str);

fn refuse_contradictions(cli: &Cli) -> Result<(), String> {
    const NO_KEEPING: &str = "a room of one connection ends with it, so leave out one of the two";
    const NO_LIST: &str = "such rooms have no names of their own, so leave out one of the two";
    const ONE_RUN: &str = "the server ends with its one child, so leave out one of the two";
    const TWO_CUTS: &str = "raw output is not cut, so choose one of the two";
    const NO_CHILD: &str = "it has no process of ours, so leave out one of the two";
    const BOTH_WAYS: &str = "it already sets both directions, so give either it or one for each";
    const PRESET: &str = "it already means --frame=json, so leave out one of the two";
    let frame = cli.frame.is_some();
    let client_frame = cli.client_frame.is_some();
    let server_frame = cli.server_frame.is_some();
    let connect = cli.connect.is_some();
    let contradictions: [Contradiction; 20] = [
        (
            cli.isolate,
            "--isolate",
            cli.linger.is_some(),
            "--linger",
            NO_KEEPING,
        ),
        (
            cli.isolate,
            "--isolate",
            cli.cache.is_some(),
            "--cache",
            NO_KEEPING,
        ),
        (
            cli.isolate,
            "--isolate",
            cli.cachepersist,
            "--cachepersist",
            NO_KEEPING,
        ),
        (
            cli.isolate,
            "--isolate",
            cli.restart.is_some(),
            "--restart",
            NO_KEEPING,
        ),
        (
            cli.isolate,
            "--isolate",
            cli.rooms.is_some(),
            "--rooms",
            NO_LIST,
        ),
        (
            cli.oneshot,
            "--oneshot",
            cli.restart.is_some(),
            "--restart",
            ONE_RUN,
        ),
        (
            cli.oneshot,
            "--oneshot",
            cli.maxrooms.is_some_and(|rooms| rooms > 1),
            "--maxrooms",
            "it serves one room, so leave --maxrooms out or set it to 1",
        ),
        (cli.json, "--json", frame, "--frame", PRESET),
        (cli.json, "--json", client_frame, "--client-frame", PRESET),
        (cli.json, "--json", server_frame, "--server-frame", PRESET),
        (frame, "--frame", client_frame, "--client-frame", BOTH_WAYS),
        (frame, "--frame", server_frame, "--server-frame", BOTH_WAYS),
        (cli.binary, "--binary", cli.null, "--null", TWO_CUTS),
        (
            cli.binary,
            "--binary",
            cli.delimiters.is_some(),
            "--delimiters",
            TWO_CUTS,
        ),
        (
            connect,
            "--connect",
            cli.cmd.is_some() || !cli.args.is_empty(),
            "a program",
            "it stands instead of a program, so leave out one of the two",
        ),
        (
            connect,
            "--connect",
            cli.tcp,
            "--tcp",
            "it speaks TCP by itself, to a program that already runs, so leave out one of the two",
        ),
        (
            connect,
            "--connect",
            cli.restart.is_some(),
            "--restart",
            NO_CHILD,
        ),
        (
            connect,
            "--connect",
            cli.stderr.is_some(),
            "--stderr",
            NO_CHILD,
        ),
        (
            cli.verbose > 0,
            "-v (--verbose)",
            cli.quiet,
            "-q (--quiet)",
            "one asks for more and one for less, so choose one of the two",
        ),
        (
            cli.tcpports.is_some(),
            "--tcpports",
            !cli.tcp,
            "a program on stdio",
            "only --tcp uses ports, so add --tcp or leave --tcpports out",
        ),
    ];
    for (first, one, second, other, advice) in contradictions {
        if first && second {
            return Err(format!("{one} cannot go with {other}: {advice}"));
        }
    }
    let given = |flags: [(bool, &'static str); 3]| flags.into_iter().find(|(given, _)| *given);
    let framed = given([
        (cli.json, "--json"),
        (frame, "--frame"),
        (server_frame, "--server-frame"),
    ]);
    let unframed = given([
        (cli.binary, "--binary"),
        (cli.null, "--null"),
        (cli.delimiters.is_some(), "--delimiters"),
    ]);
    if let (Some((_, framed)), Some((_, unframed))) = (framed, unframed) {
        return Err(format!(
            "{unframed} cannot go with {framed}: it is for unframed output, so leave out one of \
             the two"
        ));
    }
    super::terminal::refuse(cli)?;
    #[cfg(feature = "kube")]
    refuse_in_fleets(cli)?;
    refuse_nonsense(cli)
}

/// Rooms that others cannot find by their name cannot be claimed.
#[cfg(feature = "kube")]
fn refuse_in_fleets(cli: &Cli) -> Result<(), String> {
    let claims = cli.cluster.kube && cli.cluster.kube_claims != Some(super::Claims::Off);
    let alone = [(cli.oneshot, "--oneshot"), (cli.isolate, "--isolate")];
    match alone.into_iter().find(|(given, _)| claims && *given) {
        Some((_, flag)) => Err(format!(
            "{flag} cannot go with --kube and its claims: its rooms are not shared, so add \
             --kube-claims off"
        )),
        None => Ok(()),
    }
}

/// What a single flag can say that nobody can mean.
fn refuse_nonsense(cli: &Cli) -> Result<(), String> {
    let names_port = |listen: &Listen| match listen {
        Listen::Tcp(address) => !address.ends_with(":0"),
        Listen::Unix(_) => true,
    };
    let mut taken: Vec<&Listen> = Vec::new();
    for listen in cli
        .addr
        .iter()
        .chain(&cli.admin_addr)
        .filter(|listen| names_port(listen))
    {
        if taken.contains(&listen) {
            return Err(format!(
                "{} is named twice by --addr and --admin-addr: name each address once",
                super::shown(listen.to_string().as_ref())
            ));
        }
        taken.push(listen);
    }
    match &cli.staticdir {
        Some(dir) if dir.as_os_str().is_empty() => {
            Err("--staticdir names no directory: write its path, or . for this one".into())
        }
        _ => Ok(()),
    }
}

/// Clients' packets carry their length as u32, so nothing longer can be passed on.
fn check_sizes(cli: &Cli, client: ClientFraming) -> Result<(), String> {
    let packets = matches!(client, ClientFraming::Binary | ClientFraming::Gwsocket);
    match packets && u32::try_from(cli.max_message).is_err() {
        true => Err(
            "--max-message is more than a packet of this framing holds: \
                     set it below 4GiB"
                .into(),
        ),
        false => Ok(()),
    }
}

/// Where nothing stands that could be one.
pub(super) const NO_PROGRAM: &str =
    "there is no program to serve: name one, as in `scalesocket cat`, or see `scalesocket --help`";

fn source(cli: &Cli) -> Result<Source, String> {
    if let Some(address) = &cli.connect {
        return Ok(Source::Connect(address.clone()));
    }
    let mut words = cli.cmd.iter().chain(&cli.args).cloned();
    match words.next() {
        Some(cmd) if cmd.is_empty() => {
            Err("the program's name is empty: name the program to serve".into())
        }
        Some(cmd) => Ok(Source::Program {
            cmd,
            args: words.collect(),
        }),
        #[cfg(feature = "kube")]
        None if cli.maxrooms == Some(0) => Ok(Source::Nothing),
        None => Err(NO_PROGRAM.into()),
    }
}

/// Both directions. Contradictions are refused already; the order here decides nothing.
fn framings(cli: &Cli) -> (ServerFraming, ClientFraming) {
    let both = if cli.json {
        Some(Frame::Json)
    } else {
        cli.frame
    };
    let server = match both.or(cli.server_frame) {
        Some(Frame::Json) => ServerFraming::Json,
        Some(Frame::Binary) => ServerFraming::Binary,
        Some(Frame::Gwsocket) => ServerFraming::Gwsocket,
        None if cli.binary || cli.pty.is_some() => ServerFraming::Raw,
        None => match (cli.delimiters.as_ref().map(|set| &set.0), cli.null) {
            (None, false) => ServerFraming::Lines,
            (None, true) => ServerFraming::Null,
            (Some(bytes), false) if bytes == b"\n" => ServerFraming::Lines,
            (Some(bytes), false) => ServerFraming::Delimiters(bytes.clone()),
            // NUL joins the others: bytes are sorted, so it goes first.
            (Some(bytes), true) => {
                let others = bytes.iter().copied().filter(|byte| *byte != 0);
                ServerFraming::Delimiters(std::iter::once(0).chain(others).collect())
            }
        },
    };
    let client = match both.or(cli.client_frame) {
        Some(Frame::Json) => ClientFraming::Json,
        Some(Frame::Binary) => ClientFraming::Binary,
        Some(Frame::Gwsocket) => ClientFraming::Gwsocket,
        None if cli.binary || cli.pty.is_some() => ClientFraming::Raw,
        None if cli.null => ClientFraming::Null,
        None => ClientFraming::Lines,
    };
    (server, client)
}

fn warnings(cli: &Cli, server: &ServerFraming, client: ClientFraming) -> Vec<String> {
    let unix = cli
        .addr
        .iter()
        .chain(&cli.admin_addr)
        .any(|addr| matches!(addr, Listen::Unix(_)));
    let tagged = cli.cache.is_some_and(|cache| cache.keep == Keep::Tagged);
    let guarded = cli.identity.auth_jwt.is_some() || cli.identity.auth_url.is_some();
    let json_out = *server == ServerFraming::Json;
    let json_in = client == ClientFraming::Json;
    let idle = [
        (
            cli.cachepersist && cli.cache.is_none(),
            "--cachepersist does nothing without --cache",
        ),
        (
            tagged && !json_out,
            "--cache tagged: keeps nothing unless the program speaks JSON frames",
        ),
        (
            cli.from_field.is_some() && !json_in,
            "--from-field does nothing unless clients' messages are framed as JSON",
        ),
        (
            cli.to_field.is_some() && !json_out,
            "--to-field does nothing unless the program's messages are framed as JSON",
        ),
        (
            cli.unix_mode.is_some() && !unix,
            "--unix-mode does nothing without a unix: address",
        ),
        (
            cli.front
                .max_connections
                .is_some_and(|most| cli.max_clients > Some(most)),
            "--max-clients does nothing above --max-connections: clients are connections too",
        ),
        (
            guarded && (cli.stats || cli.metrics) && cli.admin_addr.is_none(),
            "rooms and /api need a proof of identity, but /stats and /metrics are open to all: set --admin-addr",
        ),
    ];
    idle.into_iter()
        .filter(|(idle, _)| *idle)
        .map(|(_, sentence)| sentence.to_owned())
        .collect()
}

fn unless_zero(duration: Duration) -> Option<Duration> {
    (!duration.is_zero()).then_some(duration)
}

fn without_duplicates(names: Vec<String>) -> Vec<String> {
    let mut seen = std::collections::HashSet::new();
    names
        .into_iter()
        .filter(|name| seen.insert(name.clone()))
        .collect()
}
