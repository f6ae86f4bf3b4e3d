//! The cage's part of the composition root: as whom and with how much programs run.

use tracing::{debug, info};

use super::{Config, Prepared};
use crate::child;

/// What the command line asks for, looked up.
pub(super) fn cage(config: &Config) -> Result<child::Cage, String> {
    let cage = &config.cage;
    let wanted = child::Wanted {
        user: cage.user.clone(),
        group: cage.group.clone(),
        directory: cage.chdir.clone(),
        nice: cage.nice,
        limits: child::Limits {
            memory: cage.limit_memory,
            cpu_seconds: cage.limit_cpu_seconds,
            files: cage.limit_files,
            processes: cage.limit_processes,
        },
    };
    child::Cage::resolve(&wanted, config.maxrooms)
}

/// Says once what each limit is kept by: it depends on where the server runs.
pub(super) fn tell(cage: &child::Cage, prepared: &Prepared) {
    let division = prepared.division.as_ref();
    let divided = division.and_then(|division| division.as_ref().ok());
    match division {
        Some(Ok(division)) => info!(
            cgroup = %division.directory.display(),
            memory = division.memory,
            processes = division.pids,
            "rooms have cgroups of their own"
        ),
        Some(Err(why)) if !cage.is_open() => info!(%why, "rooms have no cgroups of their own"),
        Some(Err(why)) => debug!(%why, "rooms have no cgroups of their own"),
        None => {}
    }
    for limit in cage.enforcement(divided) {
        info!(%limit, "limit kept");
    }
}
