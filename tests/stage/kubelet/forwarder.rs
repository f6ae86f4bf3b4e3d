//! The way of one pod to the API: a TCP forwarder on the pod's own address that can be cut and
//! healed. Cut silently, connections stay open and nothing passes, and what was on its way arrives
//! when the cut heals, as on a network that loses packets; cut loudly, they are reset, also new ones.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How the way to the API is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Nothing passes, and nobody is told.
    Silent,
    /// Connections are reset.
    Reset,
}

pub struct Forwarder {
    pub address: SocketAddr,
    state: watch::Sender<Option<Cut>>,
    /// Ended by its drop.
    _tasks: JoinSet<()>,
}

impl Forwarder {
    pub async fn start(own: Ipv4Addr, api: SocketAddr) -> io::Result<Forwarder> {
        let listener = TcpListener::bind((own, 0)).await?;
        let address = listener.local_addr()?;
        let (state, seen) = watch::channel(None);
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, api, seen));
        Ok(Forwarder {
            address,
            state,
            _tasks: tasks,
        })
    }

    pub fn cut(&self, cut: Cut) {
        self.state.send_replace(Some(cut));
    }

    pub fn heal(&self) {
        self.state.send_replace(None);
    }
}

async fn accept(listener: TcpListener, api: SocketAddr, state: watch::Receiver<Option<Cut>>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((client, _)) = accepted {
                connections.spawn(carry(client, api, state.clone()));
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

/// One connection, until either side ends it or a cut does.
async fn carry(mut client: TcpStream, api: SocketAddr, state: watch::Receiver<Option<Cut>>) {
    let mut cut = state.clone();
    let both_ways = async {
        open(&mut state.clone()).await;
        let mut server = TcpStream::connect(api).await?;
        server.set_nodelay(true)?;
        client.set_nodelay(true)?;
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        tokio::try_join!(
            copy(from_client, to_server, state.clone()),
            copy(from_server, to_client, state.clone()),
        )?;
        io::Result::Ok(())
    };
    let reset = tokio::select! {
        carried = both_ways => carried.is_err(),
        loud = cut.wait_for(|cut| *cut == Some(Cut::Reset)) => loud.is_ok(),
    };
    if reset {
        let _ = client.set_zero_linger();
    }
}

/// Waits until nothing is cut.
async fn open(state: &mut watch::Receiver<Option<Cut>>) {
    if state.wait_for(Option::is_none).await.is_err() {
        std::future::pending::<()>().await; // the pod is gone, and its connections with it
    }
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut state: watch::Receiver<Option<Cut>>,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let read = from.read(&mut buffer).await?;
        open(&mut state).await;
        match buffer.get(..read) {
            Some(bytes) if !bytes.is_empty() => to.write_all(bytes).await?,
            _ => return to.shutdown().await,
        }
    }
}
