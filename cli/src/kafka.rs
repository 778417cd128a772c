//! The flags that say where Kafka and the schema registry are.

use std::path::PathBuf;

use clap::Args;
use schemas::registry::{Access, Login, Registry, RegistryError};

use crate::secret::{Address, Setting};

/// The longest prefix: Kafka takes topic names of 249 characters.
const MAX_PREFIX: usize = 100;

/// Where Kafka is.
#[derive(Args, Clone, Debug)]
pub struct Kafka {
    /// Kafka's addresses, host:port, separated by commas.
    #[arg(long, env = "KAFKA_BOOTSTRAP_SERVERS", default_value = "127.0.0.1:9092")]
    pub bootstrap_servers: String,
    /// The prefix of every topic's name.
    #[arg(long, env = "TOPIC_PREFIX", default_value = "", value_parser = topic_prefix)]
    pub topic_prefix: String,
    /// A setting of the Kafka client; repeatable. Secrets are never printed.
    #[arg(
        long = "kafka",
        env = "KAFKA_SETTINGS",
        value_name = "KEY=VALUE",
        hide_env_values = true,
        value_delimiter = ','
    )]
    pub settings: Vec<Setting>,
}

/// Where the schema registry is, and how a program authenticates to it.
#[derive(Args, Clone, Debug)]
pub struct SchemaRegistry {
    /// The schema registry's Confluent-compatible API.
    #[arg(
        long,
        env = "SCHEMA_REGISTRY_URL",
        hide_env_values = true,
        default_value = "http://127.0.0.1:8081/apis/ccompat/v7"
    )]
    pub schema_registry_url: Address,
    /// A file of PEM certificates that may sign the schema registry's, beside the public authorities.
    #[arg(long, env = "SCHEMA_REGISTRY_CA", value_name = "FILE")]
    pub schema_registry_ca: Option<PathBuf>,
    /// The user of the schema registry, as USER:PASSWORD. It is never printed.
    #[arg(
        long,
        env = "SCHEMA_REGISTRY_USER",
        hide_env_values = true,
        value_name = "USER:PASSWORD"
    )]
    pub schema_registry_user: Option<Login>,
}

impl SchemaRegistry {
    /// The client. It connects with its first request.
    pub fn client(&self) -> Result<Registry, RegistryError> {
        let access = Access {
            ca: self.schema_registry_ca.clone(),
            login: self.schema_registry_user.clone(),
        };
        Registry::with(&self.schema_registry_url, &access)
    }
}

/// Reads a prefix of topic names.
pub fn topic_prefix(text: &str) -> Result<String, String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if text.len() <= MAX_PREFIX && text.chars().all(legal) {
        return Ok(text.into());
    }
    Err(format!("a prefix has at most {MAX_PREFIX} letters, digits, '.', '_' and '-'"))
}
