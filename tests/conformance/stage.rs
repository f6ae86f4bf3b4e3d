//! The whole server as what is tested: a child that reflects every packet to all in its room, so
//! that a witness hears what the child heard, type and bytes.

use tempfile::TempDir;

use crate::case::{Case, Ending, FENCE, FIN, Heard, Kind, TEXT, frame};
use crate::engine::{ByteStream, Line, Patience, play};
use crate::harness::{Address, Authority, Server, Socket, serve, temporary};

/// What the bytes go over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Unix,
    Tls,
}

impl Transport {
    /// Over each of these every case is played.
    pub(crate) const ALL: [Transport; 3] = [Transport::Tcp, Transport::Unix, Transport::Tls];
}

/// A stream to a server that speaks no TLS there.
pub(crate) async fn connect(address: &Address) -> Result<Socket, String> {
    let connected = Socket::connect(address, None).await;
    connected.map_err(|error| format!("cannot connect to {address:?}: {error}"))
}

/// A server, and how it is reached.
pub(crate) struct Stage {
    pub server: Server,
    address: Address,
    /// Where a unix socket or certificates may lie; it goes away with the test.
    _place: TempDir,
}

impl Stage {
    /// With these flags, and in each room this puppet.
    pub(crate) async fn new(transport: Transport, flags: &str, puppet: &str) -> Stage {
        let place = temporary();
        let path = place.path();
        let authority = Authority::new();
        let listens = match transport {
            Transport::Tcp => "--addr 127.0.0.1:0".to_owned(),
            Transport::Unix => format!("--addr unix:{}/socket", path.display()),
            Transport::Tls => {
                let (chain, key) = authority.server(&["localhost"]).write(path, "server");
                let (chain, key) = (chain.display(), key.display());
                format!("--addr 127.0.0.1:0 --tls-cert {chain} --tls-key {key}")
            }
        };
        let mut server = serve(format!(
            "{listens} --ping 0 {flags} --frame=gwsocket puppet {puppet}"
        ))
        .await;
        if transport == Transport::Tls {
            server = server.trusted(authority.trust());
        }
        Stage {
            address: server.address(),
            server,
            _place: place,
        }
    }

    /// As the cases of a chapter want it.
    pub(crate) async fn for_cases(transport: Transport, packed: bool) -> Stage {
        let flags = if packed { "--compress" } else { "" };
        Stage::new(transport, flags, "packets-to-all").await
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// A stream on which HTTP begins.
    pub(crate) async fn connect(&self) -> Result<Box<dyn ByteStream>, String> {
        let plain = connect(&self.address).await?;
        let stream = match self.server.trust(&self.address) {
            Some(trust) => plain.secured(trust, "localhost").await,
            None => Ok(plain),
        };
        Ok(Box::new(stream.map_err(|error| error.to_string())?))
    }

    async fn line(&self, room: &str, packed: bool) -> Result<Line, String> {
        Line::open(self.connect().await?, room, packed).await
    }

    /// Plays a case in a room of its own. `Err` says what was not as it must be.
    pub(crate) async fn judge(&self, case: &Case, packed: bool) -> Result<(), String> {
        let mut witness = self.line(&case.name, false).await?;
        let mut subject = self.line(&case.name, packed).await?;
        let heard = play(case, &mut subject, Patience::Waits).await?;
        let expected = case.expected();
        if heard != expected {
            let same = heard
                .iter()
                .zip(&expected)
                .take_while(|(a, b)| a == b)
                .count();
            return Err(format!(
                "after {same} things as expected came {:?}, not {:?}",
                heard.get(same..).unwrap_or_default(),
                expected.get(same..).unwrap_or_default()
            ));
        }
        if case.ending != Ending::Open {
            witness.send(&frame(FIN | TEXT, FENCE), usize::MAX).await?;
        }
        let fence = (Kind::Text, FENCE.to_vec());
        for (kind, payload) in case.child.iter().chain([&fence]) {
            let expected = Heard::Message(*kind, payload.clone());
            let heard = witness.next().await?;
            if heard != expected {
                return Err(format!("the child heard {heard:?}, not {expected:?}"));
            }
        }
        Ok(())
    }
}
