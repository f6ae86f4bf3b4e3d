//! The flags of a fleet.

use std::path::PathBuf;

use scalesocket::cli::{Claims, Cluster, Placement, Route};

use super::*;

const POD: Env<'_> = &[
    ("POD_NAME", "game-1"),
    ("POD_NAMESPACE", "games"),
    ("POD_UID", "0b7f5a0e-5a3b-4c9d-8e21-00c0ffee0001"),
    ("POD_IP", "10.0.0.7"),
];

#[track_caller]
fn cluster(line: &str) -> Cluster {
    // What the line says itself is not said twice.
    let rest = ["--kube", "--peer-secret-file s"];
    let rest = rest.into_iter().filter(|words| {
        !line
            .split(' ')
            .any(|word| words.split(' ').next() == Some(word))
    });
    let line = rest.chain([line, "cat"]).collect::<Vec<_>>().join(" ");
    config_in(POD, &line).cluster.expect("a cluster")
}

type Holds = fn(&Cluster) -> bool;

/// Every form of every flag, and what it means in a pod that has a secret.
pub(super) const FORMS: &[(&str, Holds)] = &[
    ("--kube", |c| {
        c.pod_name == "game-1"
            && c.pod_namespace == "games"
            && c.pod_uid == "0b7f5a0e-5a3b-4c9d-8e21-00c0ffee0001"
            && c.pod_ip == Some([10, 0, 0, 7].into())
            && c.fleet == "scalesocket"
            && (c.claims, c.route, c.placement) == (Claims::Pod, Route::Proxy, Placement::Spread)
            && (c.fence_after, c.fence_margin) == (secs(60), secs(10))
            && c.takeover_delay == secs(5)
            && c.rooms_annotation == 32 << 10
            && c.peer_addr == tcp("0.0.0.0:7900")
            && c.route_timeout == secs(10)
            && c.target_rooms == 819
    }),
    ("--pod-name other", |c| c.pod_name == "other"),
    ("--pod-namespace other", |c| c.pod_namespace == "other"),
    ("--pod-uid other", |c| c.pod_uid == "other"),
    ("--pod-ip ::1", |c| {
        c.pod_ip == Some(std::net::Ipv6Addr::LOCALHOST.into())
    }),
    ("--kube-fleet chess.v-2", |c| c.fleet == "chess.v-2"),
    ("--kube-claims pod", |c| c.claims == Claims::Pod),
    ("--kube-claims fenced", |c| c.claims == Claims::Fenced),
    ("--kube-claims off", |c| c.claims == Claims::Off),
    ("--kube-route proxy", |c| c.route == Route::Proxy),
    ("--kube-route reject", |c| c.route == Route::Reject),
    ("--kube-placement spread", |c| {
        c.placement == Placement::Spread
    }),
    ("--kube-placement packed --maxrooms 1", |c| {
        c.placement == Placement::Packed && c.target_rooms == 1
    }),
    ("--kube-target-rooms 7", |c| c.target_rooms == 7),
    ("--kube-target-rooms 7 --maxrooms 3", |c| {
        c.target_rooms == 3
    }),
    ("--kube-takeover-delay 0", |c| c.takeover_delay.is_zero()),
    ("--kube-claims fenced --kube-fence-after 30s", |c| {
        (c.fence_after, c.fence_margin) == (secs(30), secs(5))
    }),
    ("--kube-claims fenced --kube-fence-margin 30", |c| {
        c.fence_margin == secs(30)
    }),
    ("--kube-rooms-annotation 128KiB", |c| {
        c.rooms_annotation == 128 << 10
    }),
    ("--peer-addr 10.0.0.7:1", |c| {
        c.peer_addr == tcp("10.0.0.7:1")
    }),
    ("--peer-secret-file /s", |c| {
        c.peer_secret_file == Some(PathBuf::from("/s"))
    }),
    ("--route-timeout 1m", |c| c.route_timeout == secs(60)),
    ("--maxrooms 0", |c| c.target_rooms == 0),
];

/// What each flag cannot be.
pub(super) const BAD: &[&str] = &[
    "--pod-name ''",
    "--pod-namespace ''",
    "--pod-uid ''",
    "--pod-ip localhost",
    "--kube-fleet -x",
    "--kube-claims yes",
    "--kube-route",
    "--kube-placement anywhere",
    "--kube-target-rooms 0",
    "--kube-takeover-delay soon",
    "--kube-fence-after 0",
    "--kube-fence-margin 0",
    "--kube-rooms-annotation 0",
    "--peer-addr 7900",
    "--peer-secret-file ''",
    "--route-timeout 0",
];

#[test]
fn every_form_means_what_is_said() {
    for (line, holds) in FORMS {
        let c = cluster(line);
        assert!(holds(&c), "{line}: {c:?}");
    }
}

#[test]
fn what_a_flag_cannot_be_is_refused() {
    for line in BAD {
        refused_in(POD, &format!("--kube --kube-route reject {line} cat"));
    }
}

#[test]
fn a_gateway_needs_no_program() {
    let gateway = config_in(POD, "--kube --maxrooms 0 --peer-secret-file s");
    assert_eq!((gateway.maxrooms, gateway.source), (0, Source::Nothing));
    assert!(refused_in(POD, "--maxrooms 0 cat").contains("--kube"));
    assert!(refused_in(POD, "--kube --maxrooms 0 --kube-claims off").contains("gateway"));
    assert!(refused_in(POD, "--kube --maxrooms 0 --kube-route reject").contains("gateway"));
}

#[test]
fn who_this_is_must_be_known() {
    for missing in ["POD_NAME", "POD_NAMESPACE", "POD_UID", "POD_IP"] {
        let rest: Vec<_> = POD
            .iter()
            .copied()
            .filter(|(name, _)| *name != missing)
            .collect();
        let flag = format!("--{}", missing.to_lowercase().replace('_', "-"));
        let sentence = refused_in(&rest, "--kube --peer-secret-file s cat");
        assert!(sentence.contains(&flag), "{missing}: {sentence}");
    }
    // Publishing needs no address: nobody comes from elsewhere.
    let rest: Vec<_> = POD
        .iter()
        .copied()
        .filter(|(name, _)| *name != "POD_IP")
        .collect();
    config_in(&rest, "--kube --kube-claims off cat");
    // Our own variables win over the customary ones.
    let both = [POD, &[("SCALESOCKET_POD_NAME", "ours")]].concat();
    let cluster = config_in(&both, "--kube --peer-secret-file s cat").cluster;
    assert_eq!(cluster.map(|c| c.pod_name).as_deref(), Some("ours"));
}

#[test]
fn what_makes_no_sense_together_is_refused() {
    for (line, named) in [
        ("--kube", "--peer-secret-file"),
        (
            "--kube --kube-claims off --kube-route proxy",
            "--kube-route",
        ),
        (
            "--kube --peer-secret-file s --kube-fence-after 30",
            "--kube-fence-after",
        ),
        (
            "--kube --peer-secret-file s --kube-claims fenced --kube-fence-after 2",
            "--kube-fence-after",
        ),
        (
            "--kube --peer-secret-file s --kube-claims fenced --kube-fence-margin 31",
            "--kube-fence-margin",
        ),
        (
            "--kube --peer-secret-file s --kube-rooms-annotation 129KiB",
            "128KiB",
        ),
        (
            "--kube --peer-secret-file s --peer-addr unix:/s",
            "--peer-addr",
        ),
        ("--kube --peer-secret-file s --oneshot", "--oneshot"),
        ("--kube --peer-secret-file s --isolate", "--isolate"),
        ("--kube-claims fenced", "--kube"),
        ("--peer-secret-file s", "--kube"),
        ("--kube-placement packed", "--kube"),
    ] {
        let sentence = refused_in(POD, &format!("{line} cat"));
        assert!(sentence.contains(named), "{line}: {sentence}");
    }
    config_in(POD, "--kube --kube-route reject cat");
    config_in(POD, "--kube --kube-claims off --oneshot cat");
}

#[test]
fn without_kube_there_is_no_cluster() {
    assert_eq!(config_in(POD, "cat").cluster, None);
}
