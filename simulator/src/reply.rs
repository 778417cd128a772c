//! The answer of a venue to one message of a client.

use crate::book::truth::Fault;

/// Texts to send, and whether the venue closes the connection.
#[derive(Debug, Default)]
pub struct Reply {
    /// Sent in this order.
    pub texts: Vec<String>,
    /// The reason for closing the connection, if the venue closes it.
    pub cut: Option<&'static str>,
    /// The faults of books in it, with the index of the product.
    pub faults: Vec<(usize, Fault)>,
    /// Lines of the truth: the tickers in it.
    pub truth: Vec<String>,
}

impl Reply {
    /// Closes the connection without a text.
    pub fn cut(why: &'static str) -> Self {
        Self { cut: Some(why), ..Self::default() }
    }
}

impl From<Vec<String>> for Reply {
    fn from(texts: Vec<String>) -> Self {
        Self { texts, ..Self::default() }
    }
}

impl From<String> for Reply {
    fn from(text: String) -> Self {
        vec![text].into()
    }
}
