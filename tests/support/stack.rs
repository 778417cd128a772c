//! Where the real stack is: the addresses of `infra/with-addresses.sh`, with the same defaults.

use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// A port on this machine that is open answers at once.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// The addresses.
#[derive(Clone, Debug)]
pub struct Stack {
    /// Kafka: each broker's address.
    pub bootstrap_servers: String,
    /// Where the first broker listens for a proxy; the others follow in steps of two, and each
    /// sends its clients to the port above.
    pub proxied_port: u16,
    /// The registry's Confluent API.
    pub registry: String,
    /// Kafka Connect.
    pub connect: String,
    /// `PostgreSQL`'s host.
    pub postgres_host: String,
    /// `PostgreSQL`'s port.
    pub postgres_port: String,
    /// The database.
    pub postgres_db: String,
    /// Its user.
    pub postgres_user: String,
}

fn variable(name: &str, default: &str) -> String {
    std::env::var(name).ok().filter(|value| !value.is_empty()).unwrap_or_else(|| default.into())
}

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// One of our programs, as `make build` leaves it.
pub fn binary(name: &str) -> Result<PathBuf> {
    let folder = std::env::var_os("BIN_DIR").map_or(root().join("target/release"), PathBuf::from);
    let path = folder.join(name);
    ensure!(path.exists(), "{} does not exist: make build", path.display());
    Ok(path)
}

/// Kafka alone, which must be up: where it is.
pub fn kafka() -> Result<String> {
    let servers = variable("BOOTSTRAP_SERVERS", "127.0.0.1:9092");
    answers("Kafka", servers.split(',').next().unwrap_or_default())?;
    Ok(servers)
}

impl Stack {
    /// The stack, which must be up: Kafka and the registry, which everything needs.
    pub fn up() -> Result<Self> {
        let stack = Self {
            bootstrap_servers: variable("BOOTSTRAP_SERVERS", "127.0.0.1:9092"),
            proxied_port: variable("KAFKA_PROXIED_PORT", "9292").parse()?,
            registry: variable("SCHEMA_REGISTRY_URL", "http://127.0.0.1:8081/apis/ccompat/v7"),
            connect: variable("CONNECT_URL", "http://127.0.0.1:8083"),
            postgres_host: variable("POSTGRES_HOST", "127.0.0.1"),
            postgres_port: variable("POSTGRES_PORT", "5433"),
            postgres_db: variable("POSTGRES_DB", "market"),
            postgres_user: variable("POSTGRES_USER", "postgres"),
        };
        answers("Kafka", stack.bootstrap_servers.split(',').next().unwrap_or_default())?;
        answers("the schema registry", host_and_port(&stack.registry))?;
        Ok(stack)
    }

    /// Kafka Connect answers.
    pub fn has_connect(&self) -> Result<()> {
        answers("Kafka Connect", host_and_port(&self.connect))
    }

    /// `PostgreSQL` answers.
    pub fn has_postgres(&self) -> Result<()> {
        answers("PostgreSQL", &format!("{}:{}", self.postgres_host, self.postgres_port))
    }

    /// How many brokers there are.
    pub fn brokers(&self) -> usize {
        self.bootstrap_servers.split(',').count()
    }

    /// A script of `infra/`, with the addresses and `variables`; its output when it succeeds.
    pub fn script(
        &self,
        script: &str,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Result<String> {
        let output = Command::new(root().join("infra").join(script))
            .args(arguments)
            .env("BOOTSTRAP_SERVERS", &self.bootstrap_servers)
            .env("CONNECT_URL", &self.connect)
            .env("POSTGRES_HOST", &self.postgres_host)
            .env("POSTGRES_PORT", &self.postgres_port)
            .env("POSTGRES_DB", &self.postgres_db)
            .env("POSTGRES_USER", &self.postgres_user)
            .envs(variables.iter().copied())
            .output()
            .with_context(|| format!("infra/{script}"))?;
        if !output.status.success() {
            bail!(
                "infra/{script} {arguments:?}: {}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

fn host_and_port(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

fn answers(name: &str, address: &str) -> Result<()> {
    let connect = || -> Result<_> {
        let address = address.to_socket_addrs()?.next().context("no such host")?;
        Ok(TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)?)
    };
    connect().map(|_| ()).with_context(|| {
        format!("the stack is not up: {name} does not answer at {address}: make up")
    })
}
