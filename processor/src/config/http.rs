//! The flags of those who answer: who may read, and what the address that they listen on needs.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use axum::http::HeaderValue;
use clap::Args;

use super::duration;
use crate::query::{Guards, Token};

/// The longest token that is read: longer than anybody's, and short enough to compare each time.
const MAX_TOKEN_BYTES: usize = 4096;

/// Who may read, how often and how long.
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
    /// Reads at once; one more is refused.
    #[arg(long, env = "MAX_READS", default_value_t = 256,
        value_parser = clap::value_parser!(u16).range(1..))]
    pub max_reads: u16,
    /// The time in which a read is answered, or refused.
    #[arg(long, env = "READ_TIMEOUT", default_value = "10s", value_parser = duration)]
    pub read_timeout: Duration,
}

impl Http {
    /// What readers may at `listen`. An address that others can reach needs TLS and a token.
    pub fn guards(&self, listen: SocketAddr) -> Result<Guards> {
        let token = self.auth_token_file.as_deref().map(read_token).transpose()?;
        let secured = token.is_some() && self.tls_cert.is_some();
        ensure!(
            secured || self.insecure_listen || is_loopback(listen.ip()),
            "--listen {listen} can be reached from other machines: give --tls-cert, --tls-key and \
             --auth-token-file, or say --insecure-listen"
        );
        Ok(Guards {
            token,
            origins: self.cors_origins.clone(),
            rate: (self.rate > 0).then_some((self.rate, self.rate_burst)),
            max_reads: usize::from(self.max_reads),
            timeout: self.read_timeout,
        })
    }
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// The token of a file.
pub fn read_token(path: &Path) -> Result<Token> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the token of {}", path.display()))?;
    ensure!(text.len() <= MAX_TOKEN_BYTES, "{} is too long for a token", path.display());
    Token::new(&text).with_context(|| format!("{} is empty: it holds no token", path.display()))
}

/// A browser says where a page is from: scheme and host, and nothing after them.
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

    #[test]
    fn what_others_can_reach_is_refused_without_tls_and_token() -> Result<()> {
        let http = |arguments: &[&str]| -> Result<Http> {
            let cli = Cli::try_parse_from([&["processor", "serve"], arguments].concat())?;
            match cli.command {
                Command::Serve(serve) => Ok(serve.http.clone()),
                _ => bail!("another command"),
            }
        };
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
        assert_eq!(http(&both)?.guards(inside)?.token, Token::new("secret"));
        assert!(!format!("{:?}", http(&both)?.guards(inside)?).contains("secret"));
        Ok(())
    }
}
