//! Services, which nobody else stands in for: no pod here could be an endpoint, and there are no
//! names. Where a text says `http://NAME.NAMESPACE.svc:PORT`, NAME's port is found as a cluster
//! would find it, by selector, readiness and target port, and the pod's own address is written.

use std::net::SocketAddr;

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::Client;
use kube::api::{Api, ListParams};

use super::environment::Refusal;

/// What stands behind a Service's port: all ready pods that it selects, in the order of their names.
pub async fn endpoints(
    client: &Client,
    namespace: &str,
    service: &str,
    port: i32,
) -> Result<Vec<SocketAddr>, Refusal> {
    let told = |error: kube::Error| error.to_string();
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    let spec = services.get(service).await.map_err(told)?.spec;
    let spec = spec.unwrap_or_default();
    let ports = spec.ports.into_iter().flatten();
    let target = ports
        .filter(|known| known.port == port)
        .map(|known| known.target_port.unwrap_or(IntOrString::Int(known.port)))
        .next()
        .ok_or_else(|| format!("{service} has no port {port}"))?;
    let selector = spec.selector.unwrap_or_default();
    if selector.is_empty() {
        return Err(format!("{service} selects nobody"));
    }
    let labels: Vec<String> = selector.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let selected = ListParams::default().labels(&labels.join(","));
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let pods = pods.list(&selected).await.map_err(told)?;
    Ok(pods
        .items
        .iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none())
        .filter_map(|pod| listener(pod, &target))
        .collect())
}

/// Where a pod listens on a target port, if it is ready.
fn listener(pod: &Pod, target: &IntOrString) -> Option<SocketAddr> {
    let status = pod.status.as_ref()?;
    let mut conditions = status.conditions.iter().flatten();
    conditions.find(|condition| condition.type_ == "Ready" && condition.status == "True")?;
    let spec = pod.spec.as_ref()?;
    // Those of sidecars too.
    let all = spec.init_containers.iter().flatten();
    let mut ports = all
        .chain(&spec.containers)
        .flat_map(|container| container.ports.iter().flatten());
    let port = match target {
        IntOrString::Int(port) => *port,
        IntOrString::String(name) => {
            ports
                .find(|port| port.name.as_ref() == Some(name))?
                .container_port
        }
    };
    let address = status.pod_ip.as_deref()?.parse().ok()?;
    Some(SocketAddr::new(address, u16::try_from(port).ok()?))
}

/// The text with the addresses of Services in it.
pub async fn resolved(client: &Client, text: &str) -> Result<String, Refusal> {
    let Some((before, behind)) = text.split_once("http://") else {
        return Ok(text.to_owned());
    };
    let (authority, rest) = behind.split_at(behind.find('/').unwrap_or(behind.len()));
    let Some((service, namespace, port)) = names(authority) else {
        return Ok(text.to_owned());
    };
    let open = endpoints(client, namespace, service, port).await?;
    let first = open
        .first()
        .ok_or_else(|| format!("nobody is ready behind {service}"))?;
    Ok(format!("{before}http://{first}{rest}"))
}

/// The parts of `NAME.NAMESPACE.svc:PORT`.
fn names(authority: &str) -> Option<(&str, &str, i32)> {
    let (host, port) = authority.split_once(':')?;
    let (service, namespace) = host.strip_suffix(".svc")?.split_once('.')?;
    Some((service, namespace, port.parse().ok()?))
}
