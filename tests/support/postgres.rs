//! `PostgreSQL` through `psql`, in a schema of the test's own.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::stack::Stack;

/// A schema with the product's tables. Dropped, it is gone.
pub struct Schema {
    stack: Stack,
    name: String,
}

impl Schema {
    /// Creates it and, with `infra/tables.sh`, its tables.
    pub fn create(stack: &Stack, name: &str) -> Result<Self> {
        stack.has_postgres()?;
        let schema = Self { stack: stack.clone(), name: name.into() };
        stack.script("tables.sh", &[], &[("PG_SCHEMA", name)])?;
        Ok(schema)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The rows of a query over its tables, columns separated by `|`, nulls empty.
    pub fn query(&self, sql: &str) -> Result<Vec<String>> {
        let text =
            psql(&self.stack, &["-c", &format!("SET search_path = \"{}\"; {sql}", self.name)])?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// The same of the queries in a file.
    pub fn file(&self, path: &str) -> Result<Vec<String>> {
        let here = format!("SET search_path = \"{}\"", self.name);
        let text = psql(&self.stack, &["-c", &here, "-f", path])?;
        Ok(text.lines().map(str::to_owned).collect())
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        let drop = "SET client_min_messages = warning; DROP SCHEMA IF EXISTS";
        let _ = psql(&self.stack, &["-c", &format!("{drop} \"{}\" CASCADE", self.name)]);
    }
}

fn psql(stack: &Stack, what: &[&str]) -> Result<String> {
    let output = Command::new("psql")
        .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", &stack.postgres_host])
        .args(["-p", &stack.postgres_port, "-U", &stack.postgres_user, "-d", &stack.postgres_db])
        .args(what)
        .env("PGCONNECT_TIMEOUT", "3")
        .output()
        .context("psql is not installed: make install")?;
    ensure!(output.status.success(), "{what:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
