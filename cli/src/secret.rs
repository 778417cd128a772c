//! Flags that may hold a secret: raw settings of the Kafka client, and addresses with a password.
//!
//! Invariant: neither `Debug` nor a parse error repeats a secret. Both programs log their flags at
//! start, and clap prints the text that a parser refuses. So parsing accepts any text, and the rules
//! of the configuration refuse what is malformed without repeating it.

use std::convert::Infallible;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use schemas::registry::masked;

/// Parts of the names of secret settings: `sasl.password`, `ssl.key.pem`, `sasl.jaas.config`,
/// `sasl.oauthbearer.client.secret` and their like.
const SECRET: [&str; 6] = ["password", "secret", "key", "token", "jaas", "oauthbearer.config"];
/// Stands for a secret.
const MASK: &str = "***";

/// A raw setting of the Kafka client, `key=value`.
///
/// ```
/// use cli::secret::Setting;
///
/// let setting: Setting = "sasl.password=hunter2".parse().unwrap();
/// assert_eq!(format!("{setting:?}"), "sasl.password=***");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its name; empty when the text was no setting.
    pub key: String,
    /// Its value.
    pub value: String,
}

impl Setting {
    /// Names and values, as a client takes them.
    pub fn pairs(settings: &[Self]) -> Vec<(String, String)> {
        settings.iter().map(|setting| (setting.key.clone(), setting.value.clone())).collect()
    }
}

impl FromStr for Setting {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let (key, value) = text.split_once('=').unwrap_or(("", text));
        Ok(Self { key: key.trim().into(), value: value.into() })
    }
}

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.key.to_ascii_lowercase();
        let secret = key.is_empty() || SECRET.iter().any(|part| key.contains(part));
        write!(f, "{}={}", self.key, if secret { MASK } else { &self.value })
    }
}

/// The URL of a service, whose user and password are not shown.
///
/// ```
/// use cli::secret::Address;
///
/// let address: Address = "http://user:hunter2@registry:8081/x".parse().unwrap();
/// assert_eq!(format!("{address:?}"), "http://***@registry:8081/x");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Address(String);

impl Deref for Address {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl FromStr for Address {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&masked(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_settings_are_masked_whatever_their_case() {
        for (text, shown) in [
            ("sasl.password=a=b", "sasl.password=***"),
            ("SSL.Key.Password=a", "SSL.Key.Password=***"),
            ("sasl.jaas.config=a", "sasl.jaas.config=***"),
            ("linger.ms=7", "linger.ms=7"),
            ("the second half of a password", "=***"),
        ] {
            let Ok(setting) = text.parse::<Setting>();
            assert_eq!(format!("{setting:?}"), shown);
        }
    }

    #[test]
    fn an_address_is_shown_without_its_password() {
        for (text, shown) in [
            ("http://u:p@ss@h:1/x@y", "http://***@h:1/x@y"),
            ("http://h:1/x@y", "http://h:1/x@y"),
            ("u:p@h", "***@h"),
        ] {
            let Ok(address) = text.parse::<Address>();
            assert_eq!(format!("{address:?}"), shown);
        }
    }
}
