//! What the stand-in for the kubelet does with one pod.

use std::time::{Duration, Instant};

use kube::ResourceExt;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::site::{client_of_pod, is_ready, last_state, restarts, runs, script, server, site};
use crate::stage::{Cut, eventually};

#[tokio::test]
async fn a_killed_container_is_restarted_in_its_pod() {
    let Some(site) = site("kill").await else {
        return;
    };
    // What the container has started must not outlive it.
    site.apply(&script("victim", "sleep 600 & echo started $!; wait"))
        .await;
    let before = site.ready("victim").await;
    eventually("it has started", async || {
        site.kubelet
            .logs("victim")
            .contains("started")
            .then_some(())
    })
    .await;
    let orphan = site.kubelet.logs("victim");
    let orphan = orphan
        .trim()
        .rsplit(' ')
        .next()
        .expect("a number")
        .to_owned();

    site.kubelet.kill("victim");
    let after = site
        .pod("victim", "is restarted", |pod| {
            restarts(pod) == 1 && is_ready(pod)
        })
        .await;
    assert_eq!(before.uid(), after.uid());
    let ended = last_state(&after)
        .and_then(|state| state.terminated)
        .expect("it has ended");
    assert_eq!(ended.exit_code, 137);
    assert!(!runs(&orphan));
}

#[tokio::test]
async fn a_deletion_is_asked_with_term_and_waited_for() {
    let Some(site) = site("grace").await else {
        return;
    };
    let text =
        "trap 'echo asked; echo go > gone; exit 0' TERM; echo ready; while :; do sleep 0.05; done";
    let mut pod = script("polite", text);
    pod["spec"]["containers"][0]["lifecycle"] = json!({"preStop": {"sleep": {"seconds": 1}}});
    site.apply(&pod).await;
    eventually("it is ready", async || {
        site.kubelet.logs("polite").contains("ready").then_some(())
    })
    .await;
    let began = Instant::now();
    site.pods()
        .delete("polite", &DeleteParams::default())
        .await
        .expect("it is deleted");
    site.gone("polite").await;
    assert!(site.kubelet.logs("polite").ends_with("asked\n"));
    assert!(
        began.elapsed() >= Duration::from_secs(1),
        "preStop came first"
    );
}

#[tokio::test]
async fn a_deaf_program_is_killed_when_its_grace_is_over() {
    let Some(site) = site("deaf").await else {
        return;
    };
    let mut pod = script(
        "deaf",
        "trap '' TERM; echo ready; while :; do sleep 0.05; done",
    );
    pod["spec"]["terminationGracePeriodSeconds"] = json!(600);
    site.apply(&pod).await;
    eventually("it is ready", async || {
        site.kubelet.logs("deaf").contains("ready").then_some(())
    })
    .await;
    let process = site.kubelet.process_id("deaf").expect("it runs");
    site.pods()
        .delete("deaf", &DeleteParams::default())
        .await
        .expect("it is deleted");
    // A second deletion shortens the grace; nothing else would end it in this test's time.
    site.pods()
        .delete("deaf", &DeleteParams::default().grace_period(1))
        .await
        .expect("again");
    site.gone("deaf").await;
    assert!(!runs(&process.to_string()));
}

#[tokio::test]
async fn the_program_is_told_what_kubernetes_would_tell_it() {
    let Some(site) = site("told").await else {
        return;
    };
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "notes"}, "data": {"note": "hello"},
    });
    site.apply(&map).await;
    let mut pod = script(
        "told",
        "echo $LABEL $JOINED; cat /notes/note; echo; cat /scratch/left; sleep 600",
    );
    let field = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    let spec = &mut pod["spec"];
    spec["volumes"] = json!([{"name": "notes", "configMap": {"name": "notes"}}, {"name": "scratch", "emptyDir": {}}]);
    let mounts = json!([{"name": "notes", "mountPath": "/notes"}, {"name": "scratch", "mountPath": "/scratch"}]);
    spec["initContainers"] = json!([{
        "name": "first", "image": "none", "command": ["sh", "-c", "echo by the first > /scratch/left"],
        "volumeMounts": mounts,
    }]);
    spec["containers"][0]["volumeMounts"] = mounts;
    spec["containers"][0]["env"] = json!([
        field("IP", "status.podIP"), field("LABEL", "metadata.labels['colour']"),
        {"name": "JOINED", "value": "$(IP):1"},
    ]);
    site.apply(&pod).await;
    let pod = site.ready("told").await;
    let ip = pod
        .status
        .and_then(|status| status.pod_ip)
        .expect("an address");
    assert_eq!(
        site.kubelet
            .address("told")
            .expect("an address")
            .to_string(),
        ip
    );
    let expected = format!("red {ip}:1\nhello\nby the first\n");
    eventually("all is said", async || {
        (site.kubelet.logs("told") == expected).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_sidecar_starts_before_the_main_container_and_ends_after_it() {
    let Some(site) = site("sidecar").await else {
        return;
    };
    let text = |who: &str| {
        format!(
            "trap 'echo {who} ends; exit 0' TERM; echo {who} is there; while :; do sleep 0.05; done"
        )
    };
    let mut pod = script("pair", &text("main"));
    pod["spec"]["initContainers"] = json!([{
        "name": "side", "image": "none", "restartPolicy": "Always", "command": ["sh", "-c", text("side")],
    }]);
    site.apply(&pod).await;
    site.ready("pair").await;
    eventually("both are there", async || {
        (site.kubelet.logs("pair").matches("is there").count() == 2).then_some(())
    })
    .await;
    site.pods()
        .delete("pair", &DeleteParams::default())
        .await
        .expect("it is deleted");
    site.gone("pair").await;
    assert!(
        site.kubelet
            .logs("pair")
            .ends_with("main ends\nside ends\n")
    );
}

#[tokio::test]
async fn a_frozen_program_is_not_ready_until_it_thaws() {
    let Some(site) = site("freeze").await else {
        return;
    };
    let mut server = server();
    server["livenessProbe"] = Value::Null;
    server["readinessProbe"]["failureThreshold"] = json!(1);
    let mut pod = script("frozen", "");
    pod["spec"]["containers"] = json!([server]);
    site.apply(&pod).await;
    site.ready("frozen").await;
    site.kubelet.freeze("frozen");
    site.pod("frozen", "is not ready", |pod| !is_ready(pod))
        .await;
    site.kubelet.thaw("frozen");
    let pod = site.ready("frozen").await;
    assert_eq!(restarts(&pod), 0);
}

#[tokio::test]
async fn nothing_is_done_for_a_lost_node_until_it_is_found() {
    let Some(site) = site("lost").await else {
        return;
    };
    let text = "trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done";
    site.apply(&script("far", text)).await;
    let pod = site.ready("far").await;
    let bound = pod
        .spec
        .and_then(|spec| spec.node_name)
        .expect("it is bound");
    let node = ["a", "b"]
        .into_iter()
        .find(|node| site.kubelet.node_name(node) == bound)
        .expect("one of ours");
    let process = site.kubelet.process_id("far").expect("it runs");
    site.kubelet.lose_node(node);
    // By force: the object goes at once, and the process does not know.
    site.pods()
        .delete("far", &DeleteParams::default().grace_period(0))
        .await
        .expect("it is deleted");
    site.gone("far").await;
    // Another pod goes elsewhere, and its coming shows that the kubelet has seen the deletion.
    site.apply(&script("near", text)).await;
    let other = site
        .ready("near")
        .await
        .spec
        .and_then(|spec| spec.node_name);
    assert_ne!(other, Some(bound));
    assert_eq!(site.kubelet.process_id("far"), Some(process));
    site.kubelet.find_node(node);
    eventually("the process has ended", async || {
        site.kubelet.process_id("far").is_none().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_partitioned_pod_runs_on_without_the_api() {
    let Some(site) = site("cut").await else {
        return;
    };
    site.apply(&script("island", "exec sleep 600")).await;
    let pod = site.ready("island").await;
    let client = client_of_pod(&site, &pod).await;
    let asks = async || client.apiserver_version().await;
    assert!(asks().await.is_ok());

    site.kubelet.partition("island", Cut::Reset);
    assert!(asks().await.is_err());
    site.kubelet.heal("island");
    eventually("the way is open again", async || asks().await.ok()).await;

    site.kubelet.partition("island", Cut::Silent);
    let late = tokio::time::timeout(Duration::from_millis(300), asks()).await;
    assert!(late.is_err(), "an answer came through");
    site.kubelet.heal("island");
    eventually("the way is open again", async || asks().await.ok()).await;
    assert!(site.kubelet.process_id("island").is_some());
}
