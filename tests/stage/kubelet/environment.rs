//! What a container's program is told: its environment, command and arguments, as Kubernetes makes
//! them (Downward API, config maps, secrets, `$(NAME)`). Where a real pod has a file system and a
//! network of its own, these texts are rewritten instead: a mount path, wherever it stands alone or
//! begins a path, becomes the volume's directory, and an address that means "all of mine"
//! (`0.0.0.0`, `[::]`) becomes the pod's address.

use std::collections::BTreeMap;
use std::path::PathBuf;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVarSource, Pod, Secret};
use kube::api::Api;

use super::guest::Guest;
use super::service;
use super::volumes::Mount;

/// What starts one container.
pub struct Invocation {
    pub words: Vec<String>,
    pub variables: BTreeMap<String, String>,
    pub directory: Option<String>,
}

/// What cannot be told yet, or ever: the container waits and tries again, as for a config map that
/// is still to come.
pub type Refusal = String;

pub async fn invocation(
    guest: &Guest,
    pod: &Pod,
    container: &Container,
    mounts: &[Mount],
) -> Result<Invocation, Refusal> {
    let mut told = BTreeMap::new();
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        let mut values = BTreeMap::new();
        if let Some(from) = &source.config_map_ref {
            values.extend(texts(guest, Source::ConfigMap, &from.name, from.optional).await?);
        }
        if let Some(from) = &source.secret_ref {
            values.extend(texts(guest, Source::Secret, &from.name, from.optional).await?);
        }
        told.extend(
            values
                .into_iter()
                .map(|(name, value)| (format!("{prefix}{name}"), value)),
        );
    }
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value, &variable.value_from) {
            (Some(text), _) => Some(expand(text, &told)),
            (None, Some(source)) => from_source(guest, pod, source).await?,
            (None, None) => Some(String::new()),
        };
        if let Some(value) = value {
            told.insert(variable.name.clone(), value);
        }
    }
    let rewrite = |text: &str| rewritten(text, mounts, &guest.address.to_string());
    let words = container.command.iter().chain(&container.args).flatten();
    let words: Vec<String> = words.map(|word| rewrite(&expand(word, &told))).collect();
    let mut resolved = Vec::new();
    for word in &words {
        resolved.push(service::resolved(&guest.api().0, word).await?);
    }
    Ok(Invocation {
        words: resolved,
        directory: container.working_dir.as_deref().map(rewrite),
        variables: told
            .into_iter()
            .map(|(name, value)| (name, rewrite(&value)))
            .collect(),
    })
}

async fn from_source(
    guest: &Guest,
    pod: &Pod,
    source: &EnvVarSource,
) -> Result<Option<String>, Refusal> {
    if let Some(field) = &source.field_ref {
        return downward(guest, pod, &field.field_path).map(Some);
    }
    let (kind, name, key, optional) = if let Some(from) = &source.config_map_key_ref {
        (Source::ConfigMap, &from.name, &from.key, from.optional)
    } else if let Some(from) = &source.secret_key_ref {
        (Source::Secret, &from.name, &from.key, from.optional)
    } else {
        return Err("the stand-in knows no such source of a variable".to_owned());
    };
    let value = texts(guest, kind, name, optional).await?.remove(key);
    match value {
        None if optional != Some(true) => Err(format!("{name} has no key {key}")),
        value => Ok(value),
    }
}

/// The Downward API.
fn downward(guest: &Guest, pod: &Pod, path: &str) -> Result<String, Refusal> {
    let metadata = &pod.metadata;
    let one_of = |map: &Option<BTreeMap<String, String>>, key: &str| {
        let key = key.trim_end_matches("']");
        map.as_ref()
            .and_then(|map| map.get(key))
            .cloned()
            .unwrap_or_default()
    };
    let spec = pod.spec.as_ref();
    Ok(match path {
        "metadata.name" => guest.name.clone(),
        "metadata.namespace" => metadata.namespace.clone().unwrap_or_default(),
        "metadata.uid" => guest.uid.clone(),
        "spec.nodeName" => guest.node.clone(),
        "spec.serviceAccountName" => spec
            .and_then(|spec| spec.service_account_name.clone())
            .unwrap_or_default(),
        "status.podIP" | "status.podIPs" => guest.address.to_string(),
        "status.hostIP" | "status.hostIPs" => "127.0.0.1".to_owned(),
        other => {
            if let Some(key) = other.strip_prefix("metadata.labels['") {
                one_of(&metadata.labels, key)
            } else if let Some(key) = other.strip_prefix("metadata.annotations['") {
                one_of(&metadata.annotations, key)
            } else {
                return Err(format!("the Downward API has no {other}"));
            }
        }
    })
}

/// Where values come from.
#[derive(Clone, Copy)]
pub enum Source {
    ConfigMap,
    Secret,
}

/// The contents of a config map or secret; none if it is missing and may be.
pub async fn contents(
    guest: &Guest,
    source: Source,
    name: &str,
    optional: Option<bool>,
) -> Result<BTreeMap<String, Vec<u8>>, Refusal> {
    let (client, namespace) = guest.api();
    let read = match source {
        Source::ConfigMap => {
            let map = Api::<ConfigMap>::namespaced(client, namespace)
                .get_opt(name)
                .await;
            map.map(|map| {
                map.map(|map| {
                    let texts = map.data.into_iter().flatten();
                    let bytes = map.binary_data.into_iter().flatten();
                    let texts = texts.map(|(key, text)| (key, text.into_bytes()));
                    texts
                        .chain(bytes.map(|(key, ByteString(bytes))| (key, bytes)))
                        .collect()
                })
            })
        }
        Source::Secret => {
            let secret = Api::<Secret>::namespaced(client, namespace)
                .get_opt(name)
                .await;
            secret.map(|secret| {
                secret.map(|secret| {
                    let data = secret.data.into_iter().flatten();
                    data.map(|(key, ByteString(bytes))| (key, bytes)).collect()
                })
            })
        }
    };
    match read {
        Ok(Some(values)) => Ok(values),
        Ok(None) if optional == Some(true) => Ok(BTreeMap::new()),
        Ok(None) => Err(format!("{name} does not exist")),
        Err(error) => Err(error.to_string()),
    }
}

async fn texts(
    guest: &Guest,
    source: Source,
    name: &str,
    optional: Option<bool>,
) -> Result<BTreeMap<String, String>, Refusal> {
    let values = contents(guest, source, name, optional).await?;
    let text =
        |(key, value): (String, Vec<u8>)| (key, String::from_utf8_lossy(&value).into_owned());
    Ok(values.into_iter().map(text).collect())
}

/// `$(NAME)` becomes the variable's value, `$$` a dollar, and what is not known stays as it is.
pub fn expand(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        let reference = after
            .strip_prefix('(')
            .and_then(|inner| inner.split_once(')'));
        if let Some(escaped) = after.strip_prefix('$') {
            out.push('$');
            rest = escaped;
        } else if let Some((name, behind)) = reference {
            match variables.get(name) {
                Some(value) => out.push_str(value),
                None => out.push_str(&format!("$({name})")),
            }
            rest = behind;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out + rest
}

/// See the head of this file.
pub fn rewritten(text: &str, mounts: &[Mount], address: &str) -> String {
    let mut mounts: Vec<&Mount> = mounts.iter().collect();
    mounts.sort_by_key(|mount| std::cmp::Reverse(mount.at.len())); // the innermost one holds
    let inside = |c: char| c.is_alphanumeric() || "._-".contains(c);
    let mut out = String::new();
    let mut rest = text;
    'text: while let Some(next) = rest.chars().next() {
        let before = out.chars().next_back();
        if next == '/' && !before.is_some_and(|c| inside(c) || c == '/') {
            for mount in &mounts {
                if let Some(behind) = rest.strip_prefix(mount.at.trim_end_matches('/'))
                    && !behind.starts_with(inside)
                {
                    out.push_str(&mount.directory.to_string_lossy());
                    rest = behind;
                    continue 'text;
                }
            }
        }
        for all in ["0.0.0.0", "[::]"] {
            if let Some(behind) = rest.strip_prefix(all)
                && !before.is_some_and(inside)
                && !behind.starts_with(inside)
            {
                out.push_str(address);
                rest = behind;
                continue 'text;
            }
        }
        out.push(next);
        rest = &rest[next.len_utf8()..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_expanded_once_and_an_unknown_one_stays() {
        let variables = BTreeMap::from([("IP".to_owned(), "$(IP)".to_owned())]);
        assert_eq!(
            expand("a $(IP):1 $$(IP) $(NO) $ $(", &variables),
            "a $(IP):1 $(IP) $(NO) $ $("
        );
    }

    #[test]
    fn only_whole_paths_and_whole_addresses_are_rewritten() {
        let mount = |at: &str, directory: &str| Mount {
            at: at.to_owned(),
            directory: PathBuf::from(directory),
        };
        let mounts = [mount("/data", "/v/one"), mount("/data/in", "/v/two")];
        let done = |text: &str| rewritten(text, &mounts, "127.9.0.2");
        assert_eq!(done("--dir=/data"), "--dir=/v/one");
        assert_eq!(done("/data/x:/data/in/y"), "/v/one/x:/v/two/y");
        assert_eq!(done("/database /my/data"), "/database /my/data");
        assert_eq!(
            done("0.0.0.0:80 [::]:80 10.0.0.0"),
            "127.9.0.2:80 127.9.0.2:80 10.0.0.0"
        );
    }
}
