//! The flags of the schema registry.

use std::path::PathBuf;

use clap::Args;
use schemas::registry::{Access, Login, Registry, RegistryError};
use schemas::setting::Address;

/// Where the schema registry is, and how it is asked.
#[derive(Args, Clone, Debug)]
#[expect(clippy::struct_field_names, reason = "the names of the flags")]
pub struct SchemaRegistry {
    /// The schema registry's Confluent-compatible API.
    #[arg(
        long,
        env = "SCHEMA_REGISTRY_URL",
        hide_env_values = true,
        default_value = "http://127.0.0.1:8081/apis/ccompat/v7"
    )]
    schema_registry_url: Address,
    /// A file of PEM certificates that may sign the schema registry's, beside the public authorities.
    #[arg(long, env = "SCHEMA_REGISTRY_CA", value_name = "FILE")]
    schema_registry_ca: Option<PathBuf>,
    /// The user of the schema registry, as USER:PASSWORD. It is never printed.
    #[arg(
        long,
        env = "SCHEMA_REGISTRY_USER",
        hide_env_values = true,
        value_name = "USER:PASSWORD"
    )]
    schema_registry_user: Option<Login>,
}

impl SchemaRegistry {
    /// The client; it connects to nothing yet.
    pub fn client(&self) -> Result<Registry, RegistryError> {
        let access = Access {
            ca: self.schema_registry_ca.clone(),
            login: self.schema_registry_user.clone(),
        };
        Registry::with(&self.schema_registry_url, &access)
    }
}
