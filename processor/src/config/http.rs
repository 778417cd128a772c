//! The flags of the HTTP server: access, limits, and the rules of the listen address.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use axum::http::HeaderValue;
use clap::Args;

use super::{bytes, duration};
use crate::api::{AccessPolicy, AccessToken, Budget, ConnectionLimits};

/// The longest token that is accepted, short enough to compare for each request.
const MAX_TOKEN_BYTES: usize = 4096;

/// The default limit of connections: the streaming clients, and as many again.
const MAX_CONNECTIONS: u32 = 20_000;
/// The default share of one address: one part in so many of all connections.
const SHARE_OF_AN_ADDRESS: u32 = 4;
/// The time of a TLS handshake over a bad line.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a shutdown waits for answers: most take milliseconds, and a supervisor waits longer.
const GRACE: Duration = Duration::from_secs(5);
/// The smallest memory for readers: one of the largest answers must fit.
const MIN_MEMORY: usize = 16 << 20;

/// Access, request rates and timeouts of readers.
#[derive(Args, Clone, Debug)]
pub struct Http {
    /// A file with the token that readers must send, as in authorization: Bearer TOKEN.
    #[arg(long, env = "AUTH_TOKEN_FILE")]
    pub auth_token_file: Option<PathBuf>,
    /// The certificate chain of TLS, PEM.
    #[arg(long, env = "TLS_CERT", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The key of the certificate, PEM.
    #[arg(long, env = "TLS_KEY", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Listen where other machines can reach it, without TLS or without a token.
    #[arg(long, env = "INSECURE_LISTEN")]
    pub insecure_listen: bool,
    /// Pages of this origin may read in a browser; may be given again.
    #[arg(long = "cors-origin", env = "CORS_ORIGINS", value_name = "ORIGIN",
        value_parser = origin, value_delimiter = ',')]
    pub cors_origins: Vec<HeaderValue>,
    /// Requests of one address a second; 0 is no limit.
    #[arg(long, env = "RATE", default_value_t = 2_000,
        value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    pub rate: u32,
    /// Requests of one address at once after a pause.
    #[arg(long, env = "RATE_BURST", default_value_t = 4_000,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate_burst: u32,
    /// Concurrent reads; one more is refused with 503.
    #[arg(long, env = "MAX_READS", default_value_t = 256,
        value_parser = clap::value_parser!(u16).range(1..))]
    pub max_reads: u16,
    /// The time in which a read is answered or refused.
    #[arg(long, env = "READ_TIMEOUT", default_value = "10s", value_parser = duration)]
    pub read_timeout: Duration,
    /// Connections at once; one more is refused with 503. Default: 20000, or half of the files that
    /// this process may open (ulimit -n) if that is less.
    #[arg(long, env = "MAX_CONNECTIONS", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_connections: Option<u32>,
    /// Connections of one address at once; one more is refused with 503. Default: a quarter of
    /// --max-connections. Behind a proxy all clients have one address.
    #[arg(long, env = "MAX_CONNECTIONS_PER_ADDRESS",
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_connections_per_address: Option<u32>,
    /// The time in which a connection sends the whole head of its next request before it is closed.
    #[arg(long, env = "IDLE_TIMEOUT", default_value = "30s", value_parser = duration)]
    pub idle_timeout: Duration,
    /// The time in which a client accepts some bytes of its answer before its connection is closed.
    #[arg(long, env = "WRITE_TIMEOUT", default_value = "30s", value_parser = duration)]
    pub write_timeout: Duration,
    /// Memory of answers, request bodies and stream messages that readers have not taken yet.
    /// Beyond it the slowest client is dropped, or a request refused with 503. At least 16MiB.
    #[arg(long, env = "READER_MEMORY", default_value = "256MiB", value_parser = memory)]
    pub reader_memory: usize,
}

impl Http {
    /// The access policy at `listen`. An address that other machines can reach needs TLS and a
    /// token.
    pub fn guards(&self, listen: SocketAddr) -> Result<AccessPolicy> {
        let token = self.auth_token_file.as_deref().map(read_token).transpose()?;
        let secured = token.is_some() && self.tls_cert.is_some();
        ensure!(
            secured || self.insecure_listen || is_loopback(listen.ip()),
            "--listen {listen} can be reached from other machines: set --tls-cert, --tls-key and \
             --auth-token-file, or --insecure-listen"
        );
        Ok(AccessPolicy {
            token,
            origins: self.cors_origins.clone(),
            rate: (self.rate > 0).then_some((self.rate, self.rate_burst)),
            max_reads: usize::from(self.max_reads),
            timeout: self.read_timeout,
        })
    }

    /// The limits of connections.
    pub fn limits(&self) -> Result<ConnectionLimits> {
        self.limits_within(open_files())
    }

    /// The other half of the files is left to the stores and to Kafka.
    fn limits_within(&self, files: Option<u64>) -> Result<ConnectionLimits> {
        let fits = files.map_or(u32::MAX, |files| u32::try_from(files / 2).unwrap_or(u32::MAX));
        let max = self.max_connections.unwrap_or(MAX_CONNECTIONS.min(fits).max(1));
        ensure!(
            max <= fits,
            "--max-connections {max} does not fit: this process may open {} files, and half of them \
             are left to its stores and to Kafka; raise `ulimit -n` to {}, or set {fits} at most",
            files.unwrap_or(0),
            u64::from(max) * 2
        );
        let share = max.div_ceil(SHARE_OF_AN_ADDRESS);
        let per_address = self.max_connections_per_address.unwrap_or(share);
        ensure!(
            per_address <= max,
            "--max-connections-per-address {per_address} is more than there may be of all addresses: \
             set {max} at most, or raise --max-connections"
        );
        let (idle, write) = (self.idle_timeout, self.write_timeout);
        Ok(ConnectionLimits { max, per_address, idle, write, handshake: HANDSHAKE, grace: GRACE })
    }

    /// The bound on the memory that readers hold.
    pub fn budget(&self) -> Budget {
        Budget::new(self.reader_memory)
    }
}

fn memory(text: &str) -> Result<usize> {
    let bytes = bytes(text).map_err(anyhow::Error::msg)?;
    ensure!(bytes >= MIN_MEMORY, "at least {}MiB: one large answer must fit", MIN_MEMORY >> 20);
    Ok(bytes)
}

/// The limit of open files of this process, where Linux states it.
fn open_files() -> Option<u64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    read_open_files(&limits)
}

fn read_open_files(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Reads a token from a file.
pub fn read_token(path: &Path) -> Result<AccessToken> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the token of {}", path.display()))?;
    ensure!(text.len() <= MAX_TOKEN_BYTES, "{} is too long for a token", path.display());
    AccessToken::new(&text)
        .with_context(|| format!("{} is empty: it holds no token", path.display()))
}

/// Parses an origin: scheme and host, and nothing after them.
fn origin(text: &str) -> Result<HeaderValue> {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    match host {
        Some(host) if !host.is_empty() && !host.contains(['/', '*', ' ']) => {
            Ok(HeaderValue::from_str(text)?)
        }
        _ => bail!("an origin is http://HOST or https://HOST, with :PORT if it has one"),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::{Cli, Command};
    use super::*;

    fn http(arguments: &[&str]) -> Result<Http> {
        let cli = Cli::try_parse_from([&["processor", "serve"], arguments].concat())?;
        match cli.command {
            Command::Serve(serve) => Ok(serve.http.clone()),
            _ => bail!("another command"),
        }
    }

    #[test]
    fn connections_fit_into_the_files_that_may_be_open() -> Result<()> {
        let limits = |arguments: &[&str], files| http(arguments)?.limits_within(files);
        let both = |limits: ConnectionLimits| (limits.max, limits.per_address);
        assert_eq!(both(limits(&[], None)?), (20_000, 5_000));
        assert_eq!(both(limits(&[], Some(1_024))?), (512, 128));
        assert_eq!(both(limits(&["--max-connections", "512"], Some(1_024))?), (512, 128));
        let error = limits(&["--max-connections", "513"], Some(1_024)).unwrap_err().to_string();
        assert!(error.contains("ulimit -n") && error.contains("1026"), "{error}");
        let more = ["--max-connections", "8", "--max-connections-per-address", "9"];
        assert!(limits(&more, None).is_err());
        assert!(http(&["--reader-memory", "8MiB"]).is_err());
        let text = "Limit  Soft\nMax open files            1024      524288      files\n";
        assert_eq!(read_open_files(text), Some(1_024));
        assert_eq!(read_open_files("Max open files   unlimited"), None);
        Ok(())
    }

    #[test]
    fn what_others_can_reach_is_refused_without_tls_and_token() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("token");
        std::fs::write(&file, " secret\n")?;
        let token = ["--auth-token-file", file.to_str().unwrap_or_default()];
        let tls = ["--tls-cert", "cert.pem", "--tls-key", "key.pem"];
        let both = [&token[..], &tls].concat();
        let outside: SocketAddr = "0.0.0.0:8080".parse()?;
        let inside: SocketAddr = "[::1]:8080".parse()?;
        for (arguments, allowed) in [
            (&[][..], false),
            (&token, false),
            (&tls, false),
            (&both, true),
            (&["--insecure-listen"], true),
        ] {
            let http = http(arguments)?;
            assert_eq!(http.guards(outside).is_ok(), allowed, "{arguments:?}");
            assert!(http.guards(inside).is_ok(), "{arguments:?}");
        }
        assert!(http(&["--tls-cert", "cert.pem"]).is_err());
        assert!(http(&["--cors-origin", "*"]).is_err());
        assert_eq!(http(&both)?.guards(inside)?.token, AccessToken::new("secret"));
        assert!(!format!("{:?}", http(&both)?.guards(inside)?).contains("secret"));
        Ok(())
    }
}
