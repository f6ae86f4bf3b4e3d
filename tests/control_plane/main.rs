//! The stage itself: that the control plane is a real one, and that the stand-in for the kubelet
//! does what the fleet's tests rest on. The pods run the real server, without its cluster part.
#![cfg(all(feature = "kube", target_os = "linux"))]

mod pods;
mod site;
#[path = "../stage/mod.rs"]
mod stage;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::ResourceExt;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;
use site::{client_of_pod, deployment, restarts, runs, script, site, site_of};
use stage::{ControlPlane, eventually};

#[tokio::test]
async fn a_deployment_scales_to_its_costliest_pod_and_rolls() {
    let Some(site) = site("deployment").await else {
        return;
    };
    site.apply(&deployment(3)).await;
    site.available("fleet", 3).await;

    let pods = site.living().await;
    let kept = pods[1].name_any();
    let cost =
        json!({"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": "10"}}});
    let costly = site
        .pods()
        .patch(&kept, &PatchParams::default(), &Patch::Merge(cost))
        .await;
    costly.expect("the pod is patched");
    site.apply(&deployment(1)).await;
    site.available("fleet", 1).await;
    eventually("one pod is left", async || {
        (site.living().await.len() == 1).then_some(())
    })
    .await;
    assert_eq!(site.living().await[0].name_any(), kept);

    let mut next = deployment(1);
    next["spec"]["template"]["metadata"]["annotations"] = json!({"revision": "2"});
    site.apply(&next).await;
    site.available("fleet", 1).await;
    site.gone(&kept).await;
}

#[tokio::test]
async fn a_service_account_may_do_what_its_role_says_and_nothing_else() {
    let Some(site) = site("rbac").await else {
        return;
    };
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "reader"},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "reader"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": site.namespace}],
    });
    site.apply(&role).await;
    site.apply(&binding).await;
    site.apply(&script("citizen", "exec sleep 600")).await;
    let pod = site.ready("citizen").await;

    for client in [
        client_of_pod(&site, &pod).await,
        site.plane.client_of(&site.namespace, "default").await,
    ] {
        let pods: Api<Pod> = Api::namespaced(client.clone(), &site.namespace);
        eventually("the role is known", async || pods.get("citizen").await.ok()).await;
        let refused =
            |error: kube::Error| matches!(error, kube::Error::Api(answer) if answer.code == 403);
        let listed = pods.list(&ListParams::default()).await;
        assert!(listed.is_err_and(refused), "may list");
        let elsewhere: Api<Pod> = Api::namespaced(client.clone(), "default");
        assert!(
            elsewhere.get("citizen").await.is_err_and(refused),
            "may look elsewhere"
        );
        let maps: Api<ConfigMap> = Api::namespaced(client, &site.namespace);
        let map = ConfigMap::default();
        assert!(
            maps.create(&PostParams::default(), &map)
                .await
                .is_err_and(refused),
            "may write"
        );
    }
}

#[tokio::test]
async fn pod_security_refuses_a_bad_pod_and_admits_a_good_one() {
    let Some(site) = site("admission").await else {
        return;
    };
    let restricted = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": site.namespace, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
    });
    site.apply(&restricted).await;
    let bad = script("bad", "true");
    let refusal = eventually("the namespace is restricted", async || {
        site.plane.dry_run(&site.namespace, &bad).await.err()
    })
    .await;
    assert!(
        refusal.to_string().contains("violates PodSecurity"),
        "{refusal}"
    );

    let mut good = script("good", "true");
    good["spec"]["securityContext"] =
        json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}});
    good["spec"]["containers"][0]["securityContext"] =
        json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    site.plane
        .dry_run(&site.namespace, &good)
        .await
        .expect("it is admitted");
    assert!(site.living().await.is_empty(), "a dry run was kept");
}

#[tokio::test]
async fn pods_outlive_the_api_server_and_are_served_again_by_the_next() {
    let Some(plane) = ControlPlane::start().await else {
        return;
    };
    let site = site_of(plane, "outage").await;
    site.apply(&script("survivor", "echo up; exec sleep 600"))
        .await;
    let before = site.ready("survivor").await;
    let process = site.kubelet.process_id("survivor");

    site.plane.stop_api();
    assert!(site.client.apiserver_version().await.is_err());
    assert_eq!(site.kubelet.process_id("survivor"), process);
    site.plane.start_api().await;
    let after = site.ready("survivor").await;
    assert_eq!(before.uid(), after.uid());
    assert_eq!(site.kubelet.process_id("survivor"), process);

    site.plane.freeze_api();
    let asked = site.plane.client();
    let late = asked.apiserver_version();
    let late = tokio::time::timeout(Duration::from_millis(300), late).await;
    assert!(late.is_err(), "a stopped process answered");
    site.plane.thaw_api();
    site.kubelet.kill("survivor");
    site.pod("survivor", "is restarted", |pod| restarts(pod) == 1)
        .await;
}

/// Set for a copy of this test's process that is there to be killed.
const DOOMED: &str = "STAGE_OF_THE_DOOMED";

#[test]
fn nothing_of_a_stage_outlives_a_killed_test_process() {
    const OWN_NAME: &str = "nothing_of_a_stage_outlives_a_killed_test_process";
    if std::env::var_os(DOOMED).is_some() {
        return doomed();
    }
    if stage::assets().is_none() {
        return;
    }
    let mut copy = Command::new(std::env::current_exe().expect("a path"))
        .args(["--exact", OWN_NAME, "--nocapture"])
        .env(DOOMED, "1")
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let lines = BufReader::new(copy.stdout.take().expect("a pipe")).lines();
    let told: Vec<String> = lines
        .map_while(Result::ok)
        .skip_while(|line| line != "here")
        .take_while(|line| line != "all")
        .collect();
    let processes = &told[1..told.len() - 1];
    assert_eq!(processes.len(), 4, "{told:?}");
    assert!(processes.iter().all(|process| runs(process)));

    copy.kill().expect("it is killed");
    copy.wait().expect("it is dead");
    let directory = std::path::Path::new(told.last().expect("a directory"));
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while directory.exists() || processes.iter().any(|process| runs(process)) {
        assert!(
            std::time::Instant::now() < deadline,
            "left behind: {told:?}"
        );
        std::thread::yield_now();
    }
}

/// Sets a stage, tells what is on it, and waits to be killed.
fn doomed() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let site = site("doomed").await.expect("the other one has looked");
        site.apply(&script("one", "exec sleep 600")).await;
        site.ready("one").await;
        println!("\nhere"); // whatever the test runner has begun to say
        for process in site.plane.process_ids() {
            println!("{process}");
        }
        println!("{}", site.kubelet.process_id("one").expect("it runs"));
        println!("{}\nall", site.plane.directory().display());
        std::future::pending::<()>().await;
    });
}
