//! A pod's volumes as directories: emptyDir, configMap, secret and persistentVolumeClaim. Their contents are
//! written once, when the pod starts, and not updated. The volume with the API's token is left out: a pod gets a
//! kubeconfig in `KUBECONFIG` instead.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, KeyToPath, Pod, Volume};

use super::environment::{Refusal, Source, contents};
use super::guest::Guest;

/// Where a container expects a volume, and where it is.
pub struct Mount {
    pub at: String,
    pub directory: PathBuf,
}

/// Writes all volumes of a pod.
pub async fn materialise(guest: &Guest, pod: &Pod) -> Result<(), Refusal> {
    let volumes = pod
        .spec
        .iter()
        .flat_map(|spec| spec.volumes.iter().flatten());
    for volume in volumes {
        let directory = path(guest, &volume.name);
        if let Some(claim) = &volume.persistent_volume_claim {
            let claimed = guest.claimed(&claim.claim_name);
            let parent = directory.parent().unwrap_or(&directory);
            std::fs::create_dir_all(&claimed)
                .and_then(|()| std::fs::create_dir_all(parent))
                .and_then(|()| match directory.is_symlink() {
                    true => Ok(()), // tried before
                    false => std::os::unix::fs::symlink(claimed, &directory),
                })
                .map_err(|error| error.to_string())?;
            continue;
        }
        std::fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
        fill(guest, volume, &directory).await?;
    }
    Ok(())
}

async fn fill(guest: &Guest, volume: &Volume, directory: &Path) -> Result<(), Refusal> {
    let (source, name, optional, items) = if let Some(map) = &volume.config_map {
        (
            Source::ConfigMap,
            map.name.as_str(),
            map.optional,
            &map.items,
        )
    } else if let Some(secret) = &volume.secret {
        let name = secret.secret_name.as_deref().unwrap_or_default();
        (Source::Secret, name, secret.optional, &secret.items)
    } else if volume.empty_dir.is_some() || volume.projected.is_some() {
        return Ok(());
    } else {
        return Err(format!("the stand-in has no volumes like {}", volume.name));
    };
    for (key, bytes) in contents(guest, source, name, optional).await? {
        if let Some(file) = file_of(&key, items.as_deref()) {
            let path = directory.join(file);
            let parent = path.parent().unwrap_or(directory);
            std::fs::create_dir_all(parent)
                .and_then(|()| std::fs::write(&path, bytes))
                .map_err(|error| error.to_string())?;
        }
    }
    Ok(())
}

/// The file that a key is written to; none if only others were asked for.
fn file_of(key: &str, items: Option<&[KeyToPath]>) -> Option<String> {
    match items {
        None | Some([]) => Some(key.to_owned()),
        Some(items) => items
            .iter()
            .find(|item| item.key == key)
            .map(|item| item.path.clone()),
    }
}

pub fn mounts(guest: &Guest, container: &Container) -> Vec<Mount> {
    let mounts = container.volume_mounts.iter().flatten();
    let mounts = mounts.filter(|mount| !mount.mount_path.starts_with("/var/run/secrets/"));
    mounts
        .map(|mount| Mount {
            at: mount.mount_path.clone(),
            directory: path(guest, &mount.name).join(mount.sub_path.as_deref().unwrap_or_default()),
        })
        .collect()
}

fn path(guest: &Guest, volume: &str) -> PathBuf {
    guest.directory.join("volumes").join(volume)
}
