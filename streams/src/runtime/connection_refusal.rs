//! A refusal of a client by the brokers that only a person can correct.
//!
//! librdkafka tries again for as long as it lives, and reports no more than that nobody answered.

use std::sync::{Mutex, PoisonError};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// OpenSSL's message about a certificate that proves nothing.
const UNVERIFIED: &str = "certificate verify failed";
/// How to correct it.
const CERTIFICATE: &str =
    "renew the broker's certificate, or name its authority with --kafka ssl.ca.location";

/// The last refusal of a client. A client that uses it as its context notes them by itself.
#[derive(Debug, Default)]
pub struct ConnectionRefusal(Mutex<Option<String>>);

impl ConnectionRefusal {
    /// Notes a failed authentication or certificate, with what to do. librdkafka reports a certificate
    /// by the code or, when the handshake fails at its first step, by its text as a lost connection.
    pub fn connection(&self, code: Option<RDKafkaErrorCode>, reason: &str) {
        let way_out = match code {
            Some(RDKafkaErrorCode::Authentication) => {
                "correct the user and password of --kafka sasl.*"
            }
            Some(RDKafkaErrorCode::SSL) => CERTIFICATE,
            _ if reason.contains(UNVERIFIED) => CERTIFICATE,
            _ => return,
        };
        self.set(format!("{reason}; {way_out}"));
    }

    /// Notes a refusal.
    pub fn set(&self, refusal: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(refusal);
    }

    /// The last refusal.
    pub fn last(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The last refusal, which is forgotten.
    pub fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl ClientContext for ConnectionRefusal {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, message, "librdkafka");
        self.connection(None, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.connection(error.rdkafka_error_code(), reason);
    }
}

impl ConsumerContext for ConnectionRefusal {}
