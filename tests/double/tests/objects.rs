//! Objects: what is created, read, changed and deleted, and what is refused how.

use std::time::Duration;

use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::double::{ANNOTATIONS_LIMIT, Double, NAMESPACE, Resource, Verb};
use crate::{code, lease, lease_with, leases, pods, refusal};

fn post() -> PostParams {
    PostParams::default()
}

fn only_if(uid: Option<&str>, version: Option<&str>) -> DeleteParams {
    DeleteParams::default().preconditions(Preconditions {
        uid: uid.map(str::to_owned),
        resource_version: version.map(str::to_owned),
    })
}

fn merge(patch: Value) -> Patch<Value> {
    Patch::Merge(patch)
}

#[tokio::test(start_paused = true)]
async fn a_new_object_gets_a_uid_a_version_and_a_time() {
    let double = Double::new(1);
    let api = leases(&double, "pod-a");
    let ours = lease_with(
        "one",
        json!({"uid": "mine", "creationTimestamp": "2001-01-01T00:00:00Z"}),
    );
    let first = api.create(&post(), &ours).await.unwrap().metadata;
    tokio::time::advance(Duration::from_secs(90)).await;
    let second = api.create(&post(), &lease("two")).await.unwrap().metadata;

    let uid = first.uid.unwrap();
    let parts: Vec<usize> = uid.split('-').map(str::len).collect();
    assert_eq!(parts, [8, 4, 4, 4, 12], "{uid}");
    assert_eq!(&uid[14..15], "4", "a random UUID: {uid}");
    assert!(["8", "9", "a", "b"].contains(&&uid[19..20]), "{uid}");
    assert_ne!(Some(uid), second.uid);
    let version = |text: Option<String>| text.unwrap().parse::<u64>().unwrap();
    assert!(version(second.resource_version) > version(first.resource_version));
    assert_eq!(first.namespace.as_deref(), Some(NAMESPACE));
    let time =
        |it: usize| double.objects(Resource::Leases)[it]["metadata"]["creationTimestamp"].clone();
    assert_eq!(time(0), "2030-01-01T00:00:00Z");
    assert_eq!(time(1), "2030-01-01T00:01:30Z");
}

#[tokio::test(start_paused = true)]
async fn a_name_is_given_once_and_what_is_missing_is_not_found() {
    let double = Double::new(1);
    let api = leases(&double, "pod-a");
    api.create(&post(), &lease("one")).await.unwrap();
    let taken = refusal(api.create(&post(), &lease("one")).await);
    assert_eq!(
        taken,
        (
            409,
            "AlreadyExists".to_owned(),
            r#"leases.coordination.k8s.io "one" already exists"#.to_owned()
        )
    );
    let missing = refusal(pods(&double, "pod-a").get("two").await);
    assert_eq!(
        missing,
        (
            404,
            "NotFound".to_owned(),
            r#"pods "two" not found"#.to_owned()
        )
    );
    assert!(api.get_opt("two").await.unwrap().is_none());
    assert!(api.get_opt("one").await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_put_needs_the_newest_version_and_the_right_uid() {
    let double = Double::new(1);
    let api = leases(&double, "pod-a");
    let old = api.create(&post(), &lease("one")).await.unwrap();
    let mut next = old.clone();
    next.spec.get_or_insert_default().holder_identity = Some("me".to_owned());
    let new = api.replace("one", &post(), &next).await.unwrap();
    assert_eq!(new.spec.unwrap().holder_identity.as_deref(), Some("me"));

    assert_eq!(
        code(api.replace("one", &post(), &next).await),
        (409, "Conflict".to_owned())
    );
    let blind = lease("one");
    assert_eq!(
        code(api.replace("one", &post(), &blind).await),
        (422, "Invalid".to_owned())
    );
    let mut foreign = lease("one");
    foreign.metadata.uid = Some("another".to_owned());
    let (status, _, message) = refusal(api.replace("one", &post(), &foreign).await);
    assert_eq!(status, 409);
    assert!(
        message.contains("Precondition failed: UID in precondition: another"),
        "{message}"
    );

    let pod = k8s_openapi::api::core::v1::Pod {
        metadata: foreign.metadata.clone(),
        ..Default::default()
    };
    let missing = pods(&double, "pod-a").replace("one", &post(), &pod).await;
    assert_eq!(code(missing).0, 404, "a pod is not created by a PUT");

    // The strategy of Leases lets a PUT create, unless it says which object it means.
    assert!(api.replace("two", &post(), &lease("two")).await.is_ok());
    foreign.metadata.name = Some("three".to_owned());
    assert_eq!(
        code(api.replace("three", &post(), &foreign).await),
        (409, "Conflict".to_owned())
    );
    assert_eq!(double.names(Resource::Leases), ["one", "two"]);
}

#[tokio::test(start_paused = true)]
async fn a_merge_patch_sets_removes_and_leaves_alone() {
    let double = Double::new(1);
    let uid = double.create_pod("pod-a", "10.0.0.1", "set-1");
    let api = pods(&double, "pod-a");
    let patch = merge(json!({"metadata": {"uid": uid, "annotations": {"a": "1", "b": "2"}}}));
    api.patch("pod-a", &PatchParams::default(), &patch)
        .await
        .unwrap();
    let patch = merge(
        json!({"metadata": {"annotations": {"a": null, "c": "3"}}, "status": {"phase": "Failed"}}),
    );
    let before = double.version();
    api.patch("pod-a", &PatchParams::default(), &patch)
        .await
        .unwrap();
    assert_eq!(double.version(), before + 1);
    let pod = double.get(Resource::Pods, "pod-a").unwrap();
    assert_eq!(pod["metadata"]["annotations"], json!({"b": "2", "c": "3"}));
    assert_eq!(
        pod["metadata"]["labels"]["scalesocket.dev/fleet"],
        "scalesocket"
    );
    assert_eq!(
        pod["status"]["phase"], "Running",
        "the status has a door of its own"
    );

    api.patch("pod-a", &PatchParams::default(), &patch)
        .await
        .unwrap();
    assert_eq!(
        double.version(),
        before + 1,
        "nothing changed: no version, no event"
    );
}

#[tokio::test(start_paused = true)]
async fn a_patch_for_another_uid_or_version_is_refused() {
    let double = Double::new(1);
    double.create_pod("pod-a", "10.0.0.1", "set-1");
    let api = pods(&double, "pod-a");
    let patch = |metadata: Value| {
        let api = api.clone();
        async move {
            let patch = merge(json!({"metadata": metadata}));
            api.patch("pod-a", &PatchParams::default(), &patch).await
        }
    };
    let wrong = patch(json!({"uid": "other", "annotations": {"a": "1"}})).await;
    let Err(kube::Error::Api(status)) = wrong else {
        panic!("{wrong:?}");
    };
    assert_eq!((status.code, &status.reason[..]), (422, "Invalid"));
    assert_eq!(
        status.message,
        r#"Pod "pod-a" is invalid: metadata.uid: Invalid value: "other": field is immutable"#
    );
    assert_eq!(status.details.unwrap().causes[0].field, "metadata.uid");
    let outdated = patch(json!({"resourceVersion": "1", "annotations": {"a": "1"}})).await;
    assert_eq!(code(outdated), (409, "Conflict".to_owned()));
    let missing = api
        .patch("pod-b", &PatchParams::default(), &merge(json!({})))
        .await;
    assert_eq!(code(missing), (404, "NotFound".to_owned()));
    let strategic = Patch::Strategic(json!({"metadata": {"annotations": {"a": "1"}}}));
    let unknown = api
        .patch("pod-a", &PatchParams::default(), &strategic)
        .await;
    assert_eq!(
        code(unknown).0,
        415,
        "what the double does not know it says"
    );
    assert!(double.get(Resource::Pods, "pod-a").unwrap()["metadata"]["annotations"].is_null());
}

#[tokio::test(start_paused = true)]
async fn a_delete_may_say_which_object_it_means() {
    let double = Double::new(1);
    let api = leases(&double, "pod-a");
    let made = api.create(&post(), &lease("one")).await.unwrap().metadata;
    let (uid, version) = (made.uid.unwrap(), made.resource_version.unwrap());
    for wrong in [only_if(Some("other"), None), only_if(Some(&uid), Some("1"))] {
        assert_eq!(
            code(api.delete("one", &wrong).await),
            (409, "Conflict".to_owned())
        );
    }
    let gone = api
        .delete("one", &only_if(Some(&uid), Some(&version)))
        .await
        .unwrap();
    assert!(gone.is_right(), "the answer for a Lease is a Status");
    assert_eq!(code(api.delete("one", &only_if(None, None)).await).0, 404);
    let again = api.create(&post(), &lease("one")).await.unwrap().metadata;
    assert_ne!(again.uid, Some(uid));
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_runs_ends_with_grace() {
    let double = Double::new(1);
    double.create_pod("pod-a", "10.0.0.1", "set-1");
    let api = pods(&double, "kubectl");
    let ending = api.delete("pod-a", &DeleteParams::default()).await.unwrap();
    let pod = ending.left().expect("the answer for a pod is the pod");
    assert_eq!(pod.metadata.deletion_grace_period_seconds, Some(30));
    let deadline =
        double.get(Resource::Pods, "pod-a").unwrap()["metadata"]["deletionTimestamp"].clone();
    assert_eq!(deadline, "2030-01-01T00:00:30Z");
    api.delete("pod-a", &DeleteParams::default().grace_period(0))
        .await
        .unwrap();
    assert!(double.get(Resource::Pods, "pod-a").is_none());
}

#[tokio::test(start_paused = true)]
async fn lists_take_what_labels_and_names_say() {
    let double = Double::new(1);
    let api = leases(&double, "pod-a");
    for (name, fleet) in [("b", "x"), ("a", "x"), ("c", "y")] {
        let lease = lease_with(name, json!({"labels": {"scalesocket.dev/fleet": fleet}}));
        api.create(&post(), &lease).await.unwrap();
    }
    let names = |params: ListParams| {
        let api = api.clone();
        async move {
            let list = api.list(&params).await.unwrap();
            let names = list.items.into_iter().filter_map(|it| it.metadata.name);
            (names.collect::<Vec<_>>(), list.metadata.resource_version)
        }
    };
    let (all, version) = names(ListParams::default()).await;
    assert_eq!(all, ["a", "b", "c"]);
    assert_eq!(version, Some(double.version().to_string()));
    let fleet = ListParams::default().labels("scalesocket.dev/fleet=x");
    assert_eq!(names(fleet.clone()).await.0, ["a", "b"]);
    assert_eq!(names(fleet.fields("metadata.name=b")).await.0, ["b"]);
    assert_eq!(
        names(ListParams::default().labels("scalesocket.dev/fleet!=x"))
            .await
            .0,
        ["c"]
    );
    let set = ListParams::default().labels("scalesocket.dev/fleet in (x)");
    assert_eq!(
        code(api.list(&set).await).0,
        400,
        "what the double does not know it says"
    );
}

#[tokio::test(start_paused = true)]
async fn annotations_have_one_budget_together() {
    let double = Double::new(1);
    double.create_pod("pod-a", "10.0.0.1", "set-1");
    let api = pods(&double, "pod-a");
    let patch = |length: usize| {
        let api = api.clone();
        async move {
            let text = "x".repeat(length - "a/rooms".len());
            let patch = merge(json!({"metadata": {"annotations": {"a/rooms": text}}}));
            api.patch("pod-a", &PatchParams::default(), &patch).await
        }
    };
    assert!(patch(ANNOTATIONS_LIMIT).await.is_ok());
    let (status, _, message) = refusal(patch(ANNOTATIONS_LIMIT + 1).await);
    assert_eq!(status, 422);
    assert!(
        message.contains("may not be more than 262144 bytes"),
        "{message}"
    );
}

#[tokio::test(start_paused = true)]
async fn labels_names_and_the_deletion_cost_have_a_syntax() {
    let double = Double::new(1);
    double.create_pod("pod-a", "10.0.0.1", "set-1");
    let api = pods(&double, "pod-a");
    let patch = |metadata: Value| {
        let api = api.clone();
        async move {
            let patch = merge(json!({"metadata": metadata}));
            api.patch("pod-a", &PatchParams::default(), &patch).await
        }
    };
    let cost =
        |text: &str| json!({"annotations": {"controller.kubernetes.io/pod-deletion-cost": text}});
    let long = "x".repeat(64);
    for fine in [
        json!({"labels": {"scalesocket.dev/occupied": "true", "empty": "", "a": "A-b_c.9"}}),
        cost("0"),
        cost("-2147483648"),
        cost("-007"),
        json!({"annotations": {"any": "thing \u{1f600} at all\n"}}),
    ] {
        assert!(patch(fine.clone()).await.is_ok(), "{fine}");
    }
    for wrong in [
        json!({"labels": {"a": "two words"}}),
        json!({"labels": {"a": "-x"}}),
        json!({"labels": {"a": long}}),
        json!({"labels": {"a/b/c": "x"}}),
        json!({"labels": {"a": 1}}),
        json!({"annotations": {"a b": "x"}}),
        json!({"annotations": {"a": true}}),
        json!({"name": "other"}),
        cost("+10"),
        cost("010"),
        cost("2147483648"),
        cost("ten"),
    ] {
        assert_eq!(
            code(patch(wrong.clone()).await),
            (422, "Invalid".to_owned()),
            "{wrong}"
        );
    }
    for wrong in ["Upper", "a_b", "-a", "a..b", &"x".repeat(254)] {
        let refused = leases(&double, "pod-a")
            .create(&post(), &lease(wrong))
            .await;
        assert_eq!(code(refused).0, 422, "{wrong}");
    }
    let versioned = lease_with("one", json!({"resourceVersion": "1"}));
    assert_eq!(
        code(leases(&double, "pod-a").create(&post(), &versioned).await).0,
        500
    );
}

#[tokio::test(start_paused = true)]
async fn what_nobody_owns_any_more_is_collected_after_the_delay() {
    let double = Double::new(1);
    double.garbage_delay(Duration::from_secs(30)..=Duration::from_secs(40));
    let api = leases(&double, "pod-a");
    let mut owners = Vec::new();
    for name in ["first", "second"] {
        let uid = api
            .create(&post(), &lease(name))
            .await
            .unwrap()
            .metadata
            .uid
            .unwrap();
        let owner = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "name": name, "uid": uid});
        owners.push(owner);
    }
    let set =
        json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "games", "uid": "set-1"});
    let mut stranger = owners[0].clone();
    stranger["uid"] = "no-such-uid".into();
    for (name, of) in [
        ("of-first", json!([owners[0]])),
        ("of-both", json!([owners[0], owners[1]])),
        ("of-set", json!([set])),
        ("of-nobody", json!([stranger])),
    ] {
        let lease = lease_with(name, json!({"ownerReferences": of}));
        api.create(&post(), &lease).await.unwrap();
    }
    double.delete_lease("first");
    let deleted = Instant::now();
    sleep(Duration::from_secs(29)).await;
    assert_eq!(
        double.names(Resource::Leases).len(),
        5,
        "litter lies around for a while"
    );
    double
        .until(|it| it.names(Resource::Leases) == ["of-both", "of-set", "second"])
        .await;
    assert!(deleted.elapsed() <= Duration::from_secs(40));

    double.owner_departed("set-1");
    // The same name under another uid is another owner.
    double.delete_lease("second");
    api.create(&post(), &lease("second")).await.unwrap();
    double
        .until(|it| it.names(Resource::Leases) == ["second"])
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_role_is_all_a_client_may() {
    let double = Double::new(1);
    double.create_pod("pod-a", "10.0.0.1", "set-1");
    double.faults("pod-a").role(&[(Verb::Get, Resource::Pods)]);
    let api = pods(&double, "pod-a");
    assert!(api.get("pod-a").await.is_ok());
    let patch = api
        .patch("pod-a", &PatchParams::default(), &merge(json!({})))
        .await;
    let (status, reason, message) = refusal(patch);
    assert_eq!((status, &reason[..]), (403, "Forbidden"));
    assert!(
        message.contains(r#"cannot patch resource "pods" in API group """#),
        "{message}"
    );
    assert_eq!(code(api.list(&ListParams::default()).await).0, 403);
    assert_eq!(code(leases(&double, "pod-a").get("one").await).0, 403);
    let everywhere = kube::Api::<k8s_openapi::api::core::v1::Pod>::all(double.client("root"));
    assert_eq!(code(everywhere.list(&ListParams::default()).await).0, 403);
}

#[tokio::test(start_paused = true)]
async fn every_request_that_arrives_is_counted() {
    let double = Double::new(1);
    double.create_pod("pod-a", "10.0.0.1", "set-1");
    for _ in 0..3 {
        pods(&double, "pod-a").get("pod-a").await.unwrap();
    }
    tokio::time::advance(Duration::from_secs(5)).await;
    pods(&double, "pod-b").get("nobody").await.unwrap_err();
    assert_eq!(double.count("pod-a", Verb::Get, Resource::Pods), 3);
    assert_eq!(double.count("pod-b", Verb::Get, Resource::Pods), 1);
    assert_eq!(double.count("pod-a", Verb::Get, Resource::Leases), 0);
    let last = double.calls().pop().unwrap();
    assert_eq!((last.at, last.code), (Duration::from_secs(5), 404));
    assert_eq!(last.name.as_deref(), Some("nobody"));
}

#[tokio::test(start_paused = true)]
async fn what_the_double_does_not_know_it_refuses() {
    let double = Double::new(1);
    let api = leases(&double, "pod-a");
    let dry = PostParams {
        dry_run: true,
        ..post()
    };
    assert_eq!(code(api.create(&dry, &lease("one")).await).0, 400);
    assert!(double.names(Resource::Leases).is_empty());
    let elsewhere = kube::Api::namespaced(double.client("pod-a"), "elsewhere");
    assert_eq!(code(elsewhere.create(&post(), &lease("one")).await).0, 404);
}
