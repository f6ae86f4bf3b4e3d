//! The peers that `bench/peers/install.sh` fetched: where each is, which version, or why not.

use std::fs;
use std::path::PathBuf;

use crate::served::Who;

/// All that are asked for.
const ALL: [Who; 3] = [Who::Predecessor, Who::Websocketd, Who::UWebSockets];

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Peers {
    cache: PathBuf,
}

impl Peers {
    /// Those in the user's cache.
    pub(crate) fn find() -> Self {
        let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
        let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let base = base.or_else(home).unwrap_or_default();
        Peers {
            cache: base.join("scalesocket").join("peers"),
        }
    }

    /// The program, if it is there.
    pub(crate) fn program(&self, who: Who) -> Option<PathBuf> {
        let directory = self.cache.join(who.directory()?);
        let there = directory.join("version").exists();
        there.then(|| directory.join("run"))
    }

    /// What one is called in its own words; none when it is not there.
    pub(crate) fn version(&self, who: Who) -> Option<String> {
        let file = self.cache.join(who.directory()?).join("version");
        Some(fs::read_to_string(file).ok()?.trim().to_owned())
    }

    /// Why one is not there.
    pub(crate) fn absence(&self, who: Who) -> String {
        let file = who.directory().map(|of| self.cache.join(of).join("absent"));
        let why = file.and_then(|file| fs::read_to_string(file).ok());
        let why = why.unwrap_or_else(|| "not installed: bench/peers/install.sh".to_owned());
        why.trim().to_owned()
    }

    /// Every peer with its version, or why it could not be had.
    pub(crate) fn list(&self) -> Vec<String> {
        let said = |who: &Who| {
            let name = who.name();
            self.version(*who)
                .unwrap_or_else(|| format!("no {name}: {}", self.absence(*who)))
        };
        ALL.iter().map(said).collect()
    }
}
