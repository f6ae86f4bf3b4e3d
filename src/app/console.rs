//! The console's part of the composition root: its token, read or made, and where people find it.

use anyhow::{Context, anyhow};
use ring::rand::{SecureRandom, SystemRandom};

use super::Config;
use crate::cli;
use crate::http::{Access, Console, Listener};

/// Random bytes of a token that we make.
const RANDOM: usize = 16;

/// The console; none where nobody asked.
pub(super) fn console(config: &Config) -> anyhow::Result<Option<Console>> {
    let Some(asked) = &config.console else {
        return Ok(None);
    };
    let access = match asked.access {
        cli::Access::Read => Access::Read,
        cli::Access::Write => Access::Write,
    };
    let (token, made) = match &asked.token_file {
        Some(file) => {
            let text = std::fs::read_to_string(file);
            let text =
                text.with_context(|| format!("cannot read --admin-token-file {}", file.display()))?;
            (
                text.lines().next().unwrap_or_default().trim().to_owned(),
                false,
            )
        }
        None => (make()?, true),
    };
    let mut console =
        Console::new(access, &token).map_err(|bad| anyhow!("--admin-token-file: {bad}"))?;
    console.made = made.then_some(token);
    Ok(Some(console))
}

fn make() -> anyhow::Result<String> {
    let mut bytes = [0; RANDOM];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| anyhow!("the system gives no random bytes for the console's token"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Tells the console where the public door is, and gives what a browser opens to see it; with the token, if
/// we made it: it is told nowhere else.
pub(super) fn place(
    config: &Config,
    console: &mut Option<Console>,
    public: &[Listener],
    admin: &[Listener],
) -> Option<String> {
    let console = console.as_mut()?;
    if !admin.is_empty() {
        let address = public.iter().find_map(Listener::tcp_address);
        console.public_port = address.map(|address| address.port());
    }
    let (listeners, secure, base) = match admin.is_empty() {
        true => (
            public,
            config.tls.is_some(),
            config.front.base_path.as_str(),
        ),
        false => (admin, false, ""),
    };
    // Behind the #, where no server and no log of a proxy sees it.
    let token = console.made.as_ref().map(|token| format!("#token={token}"));
    let path = format!("{base}/console{}", token.unwrap_or_default());
    let Some(address) = listeners.iter().find_map(Listener::tcp_address) else {
        let socket = listeners.first()?;
        return Some(format!("{path} over {socket}"));
    };
    let scheme = if secure { "https" } else { "http" };
    let host = super::greeting::here(address);
    Some(format!("{scheme}://{host}{path}"))
}
