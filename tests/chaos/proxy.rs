//! The network between one member and the brokers, which can be broken: a proxy in front of each
//! broker's `PROXIED` listener, which sends its clients here.

use anyhow::{Context as _, Result};
use tests::support::Stack;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// What is carried at once.
const BUFFER: usize = 64 << 10;

/// What the network does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    /// Everything passes.
    Passes,
    /// Connections stay and carry nothing; what was sent arrives when everything passes again.
    Holds,
    /// Connections are closed, and each new one as well.
    Refuses,
}

/// One proxy for each broker. Dropped, all connections are gone.
pub(crate) struct Proxy {
    network: watch::Sender<Network>,
    bootstrap: String,
    /// Runs the proxies; its end is theirs.
    _runtime: Runtime,
}

impl Proxy {
    /// In front of every broker.
    pub(crate) fn start(stack: &Stack) -> Result<Self> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_io().build()?;
        let (network, state) = watch::channel(Network::Passes);
        for broker in 0..u16::try_from(stack.brokers())? {
            let to = stack.proxied_port + 2 * broker;
            let bind = TcpListener::bind(("127.0.0.1", to + 1));
            let listener = runtime.block_on(bind).with_context(|| {
                format!("port {} is taken: KAFKA_PROXIED_PORT chooses others", to + 1)
            })?;
            runtime.spawn(accept(listener, to, state.clone()));
        }
        let bootstrap = format!("127.0.0.1:{}", stack.proxied_port + 1);
        Ok(Self { network, bootstrap, _runtime: runtime })
    }

    /// The setting that makes a member use it.
    pub(crate) fn setting(&self) -> String {
        format!("bootstrap.servers={}", self.bootstrap)
    }

    /// From now on the network does this.
    pub(crate) fn set(&self, network: Network) {
        self.network.send_replace(network);
    }
}

async fn accept(listener: TcpListener, to: u16, network: watch::Receiver<Network>) {
    while let Ok((client, _)) = listener.accept().await {
        if *network.borrow() == Network::Refuses {
            continue;
        }
        // A broker that is down refuses, and so does its proxy.
        let Ok(broker) = TcpStream::connect(("127.0.0.1", to)).await else {
            continue;
        };
        let ((client_says, to_client), (broker_says, to_broker)) =
            (client.into_split(), broker.into_split());
        tokio::spawn(carry(client_says, to_broker, network.clone()));
        tokio::spawn(carry(broker_says, to_client, network.clone()));
    }
}

/// One direction of a connection, until either side or the network ends it.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut network: watch::Receiver<Network>,
) {
    let mut buffer = vec![0; BUFFER];
    loop {
        let state = *network.borrow_and_update();
        let read = match state {
            Network::Refuses => return,
            Network::Holds => None,
            Network::Passes => tokio::select! {
                read = from.read(&mut buffer) => Some(read.unwrap_or(0)),
                _ = network.changed() => continue,
            },
        };
        let carried = match read {
            None => network.changed().await.is_ok(),
            Some(0) => false,
            Some(count) => to.write_all(&buffer[..count]).await.is_ok(),
        };
        if !carried {
            return;
        }
    }
}
