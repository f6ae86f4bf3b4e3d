//! A server that is no member of a fleet has nothing to do with one.

use crate::harness::*;

/// Builds without the feature have no trace of it; builds with it show that this test can fail.
#[test]
fn only_the_feature_brings_a_fleet() {
    let binary = std::fs::read(env!("CARGO_BIN_EXE_scalesocket")).expect("the binary");
    let has = |text: &[u8]| memchr::memmem::find(&binary, text).is_some();
    for trace in [
        "coordination.k8s.io",
        "scalesocket.dev/",
        "KUBERNETES_SERVICE_HOST",
        "peer-secret",
    ] {
        assert_eq!(has(trace.as_bytes()), cfg!(feature = "kube"), "{trace}");
    }
}

#[tokio::test]
async fn without_kube_no_api_server_is_contacted() {
    let api = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
    api.set_nonblocking(true).expect("it does not block");
    let address = api.local_addr().expect("an address");
    let directory = temporary();
    let kubeconfig = directory.path().join("config");
    let config = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: x\n\
         clusters: [{{name: c, cluster: {{server: \"http://{address}\"}}}}]\n\
         users: [{{name: u, user: {{token: t}}}}]\n\
         contexts: [{{name: x, context: {{cluster: c, user: u, namespace: n}}}}]\n"
    );
    std::fs::write(&kubeconfig, config).expect("a kubeconfig");
    let in_pod = |line: &str| {
        given(line)
            .env("KUBECONFIG", &kubeconfig.display().to_string())
            .env("KUBERNETES_SERVICE_HOST", &address.ip().to_string())
            .env("KUBERNETES_SERVICE_PORT", &address.port().to_string())
            .env("POD_NAME", "game-1")
            .env("POD_NAMESPACE", "n")
            .env("POD_UID", "0b7f5a0e-5a3b-4c9d-8e21-00c0ffee0001")
            .env("POD_IP", "127.0.0.1")
    };
    let server = in_pod("puppet echo").serve().await;
    let mut ann = server.join("/lobby").await;
    ann.says("hi").await;
    ann.hears("hi").await;
    ann.leaves().await;
    server.signal(nix::sys::signal::Signal::SIGTERM);
    server.exits_with(0).await;
    let nobody = api.accept().map(|_| ()).map_err(|error| error.kind());
    assert_eq!(nobody, Err(std::io::ErrorKind::WouldBlock));
    #[cfg(feature = "kube")]
    {
        // With the flag it is: the test can see a contact.
        api.set_nonblocking(false).expect("it blocks");
        let server = in_pod("--kube --kube-route reject puppet echo").start();
        let came = tokio::task::spawn_blocking(move || api.accept().map(|_| ()));
        let came = tokio::time::timeout(PATIENCE, came).await;
        came.expect("somebody comes")
            .expect("a task")
            .expect("a connection");
        server.signal(nix::sys::signal::Signal::SIGTERM);
        server.exits_with(0).await;
    }
}
