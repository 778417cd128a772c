//! The network between one member and the brokers, which can be broken: a proxy in front of each
//! broker's `PROXIED` listener, which sends its clients here.
//!
//! The proxy knows where a request begins and of which kind it is, so it can also stop a member at
//! a fixed point: everything passes but the requests that commit offsets.
//!
//! ```text
//! request   length: 4 bytes | kind: 2 bytes | the rest of length - 2 bytes
//! ```

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use super::Stack;

/// Bytes of one read.
const BUFFER: usize = 64 << 10;
/// Length and kind of a request.
const HEAD: usize = 6;
/// The kinds of requests that commit consumed offsets: `OffsetCommit` without a transaction,
/// `AddOffsetsToTxn` and `TxnOffsetCommit` in one. The numbers are Kafka's.
const COMMITS: [i16; 3] = [8, 25, 28];

/// What the network does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Everything passes.
    Passes,
    /// Connections stay and carry nothing; what was sent arrives when everything passes again.
    Holds,
    /// Connections stay, and requests that commit offsets wait here, as does whatever follows them on
    /// their connection. Everything else passes.
    HoldsCommits,
    /// Connections are closed, and each new one as well.
    Refuses,
}

/// One proxy for each broker. Dropped, all connections are gone with what they held.
pub struct Proxy {
    network: watch::Sender<Network>,
    /// Commits of offsets that were held.
    held: watch::Receiver<usize>,
    bootstrap: String,
    /// Runs the proxies; its end is theirs.
    _runtime: Runtime,
}

impl Proxy {
    /// In front of every broker.
    pub fn start(stack: &Stack) -> Result<Self> {
        let (runtime, (network, state), (count, held)) = parts()?;
        for broker in 0..u16::try_from(stack.brokers())? {
            let to = stack.proxied_port + 2 * broker;
            let bind = TcpListener::bind(("127.0.0.1", to + 1));
            let listener = runtime.block_on(bind).with_context(|| {
                format!("port {} is taken: KAFKA_PROXIED_PORT chooses others", to + 1)
            })?;
            let to = format!("127.0.0.1:{to}");
            runtime.spawn(accept(listener, to, state.clone(), Some(count.clone())));
        }
        let bootstrap = format!("127.0.0.1:{}", stack.proxied_port + 1);
        Ok(Self { network, held, bootstrap, _runtime: runtime })
    }

    /// In front of anything else, on a port of its own. No commits are held here.
    pub fn before(to: String) -> Result<(Self, u16)> {
        let (runtime, (network, state), (_, held)) = parts()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        runtime.spawn(accept(listener, to, state, None));
        let bootstrap = address.to_string();
        Ok((Self { network, held, bootstrap, _runtime: runtime }, address.port()))
    }

    /// The setting that makes a member use it.
    pub fn setting(&self) -> String {
        format!("bootstrap.servers={}", self.bootstrap)
    }

    /// From now on the network does this.
    pub fn set(&self, network: Network) {
        self.network.send_replace(network);
    }

    /// How many commits of offsets were held so far.
    pub fn held(&self) -> usize {
        *self.held.borrow()
    }
}

/// A sender and its first receiver.
type Channel<T> = (watch::Sender<T>, watch::Receiver<T>);

fn parts() -> Result<(Runtime, Channel<Network>, Channel<usize>)> {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_io().build()?;
    Ok((runtime, watch::channel(Network::Passes), watch::channel(0)))
}

/// Commits of offsets are held and counted where `held` is.
async fn accept(
    listener: TcpListener,
    to: String,
    network: watch::Receiver<Network>,
    held: Option<watch::Sender<usize>>,
) {
    while let Ok((client, _)) = listener.accept().await {
        if *network.borrow() == Network::Refuses {
            continue;
        }
        // A broker that is down refuses, and so does its proxy.
        let Ok(broker) = TcpStream::connect(&to).await else {
            continue;
        };
        let ((client_says, to_client), (broker_says, to_broker)) =
            (client.into_split(), broker.into_split());
        let requests = held.clone().map(|held| (Requests::default(), held));
        tokio::spawn(carry(client_says, to_broker, network.clone(), requests));
        tokio::spawn(carry(broker_says, to_client, network.clone(), None));
    }
}

/// One direction of a connection, until either side or the network ends it. Of the direction that
/// carries requests it knows where each begins.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut network: watch::Receiver<Network>,
    mut requests: Option<(Requests, watch::Sender<usize>)>,
) {
    let mut buffer = vec![0; BUFFER];
    loop {
        let state = *network.borrow_and_update();
        let stands = match state {
            Network::Refuses => return,
            Network::Holds => true,
            Network::Passes | Network::HoldsCommits => match &mut requests {
                None => false,
                // What waits here from before goes first.
                Some((requests, held)) => {
                    let (pass, is_held) = requests.pass(state == Network::HoldsCommits);
                    if to.write_all(&pass).await.is_err() {
                        return;
                    }
                    held.send_if_modified(|count| {
                        *count += usize::from(is_held);
                        is_held
                    });
                    is_held
                }
            },
        };
        if stands {
            if network.changed().await.is_err() {
                return;
            }
            continue;
        }
        let read = tokio::select! {
            read = from.read(&mut buffer) => read.unwrap_or(0),
            _ = network.changed() => continue,
        };
        let carried = match &mut requests {
            _ if read == 0 => false,
            None => to.write_all(&buffer[..read]).await.is_ok(),
            Some((requests, _)) => {
                requests.waiting.extend_from_slice(&buffer[..read]);
                true
            }
        };
        if !carried {
            return;
        }
    }
}

/// What a client says, cut into requests.
#[derive(Default)]
struct Requests {
    /// What came and has not passed.
    waiting: Vec<u8>,
    /// Bytes that are to come of the request that is passing.
    rest: usize,
}

impl Requests {
    /// Takes what may pass: everything, or everything before the first commit of offsets. Also
    /// whether there is one.
    fn pass(&mut self, holds_commits: bool) -> (Vec<u8>, bool) {
        let mut end = 0;
        let is_held = loop {
            let step = self.rest.min(self.waiting.len() - end);
            end += step;
            self.rest -= step;
            let Some(head) = self.waiting[end..].first_chunk::<HEAD>() else {
                break false;
            };
            let [a, b, c, d, kind @ ..] = *head;
            if holds_commits && COMMITS.contains(&i16::from_be_bytes(kind)) {
                break true;
            }
            self.rest = 4 + u32::from_be_bytes([a, b, c, d]) as usize;
        };
        (self.waiting.drain(..end).collect(), is_held)
    }
}

#[cfg(test)]
mod tests {
    use anyhow::ensure;

    use super::*;

    fn request(kind: i16, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(2 + body.len()).unwrap_or(0);
        [&length.to_be_bytes()[..], &kind.to_be_bytes(), body].concat()
    }

    #[test]
    fn a_commit_is_held_wherever_the_bytes_are_cut() -> Result<()> {
        let before = [request(0, b"outputs \0\0\0\x02\0\x08"), request(3, b"")].concat();
        for commit in [8, 25, 28] {
            let all = [before.clone(), request(commit, b"offsets"), request(12, b"beat")].concat();
            for cut in 0..all.len() {
                let (mut requests, mut passed) = (Requests::default(), Vec::new());
                let mut is_held = false;
                for part in [&all[..cut], &all[cut..]] {
                    requests.waiting.extend_from_slice(part);
                    let (pass, held) = requests.pass(true);
                    passed.extend(pass);
                    is_held = held;
                }
                ensure!(passed == before && is_held, "cut at {cut}: {passed:?}");
                let (rest, held) = requests.pass(false);
                ensure!([passed, rest].concat() == all && !held, "cut at {cut}");
            }
        }
        Ok(())
    }
}
