//! The messages that concern the connection, for the owner of the socket.

use std::time::Duration;

use schemas::PairKey;

use crate::instrument::ListingChange;
use crate::message::{Message, Subscription};

/// A message that concerns the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// The venue acknowledged these subscriptions.
    Subscribed(Vec<Subscription>),
    /// The venue refused the request, with its reason.
    Refused(String),
    /// The venue refused one of several subscriptions.
    Rejected {
        /// The venue's reason.
        reason: String,
        /// The refused pair, if the venue names it.
        pair: Option<PairKey>,
    },
    /// The venue is rate limiting or closed for maintenance.
    RetryAfter {
        /// The request to send again, if the venue names it.
        id: Option<u64>,
        /// The venue's reason.
        reason: String,
        /// The time to wait.
        wait: Duration,
    },
    /// The venue expects this text at once.
    Reply(&'static str),
    /// The venue is about to close the connection.
    Closing,
    /// The listing of an instrument changed.
    Listing(ListingChange),
}

impl Control {
    /// The control of a message; `None` for a message that concerns only the market.
    pub fn of(message: Message) -> Option<Self> {
        Some(match message {
            Message::Subscribed(subscriptions) => Self::Subscribed(subscriptions),
            Message::Refused(reason) => Self::Refused(reason),
            Message::Rejected { reason, pair } => Self::Rejected { reason, pair },
            Message::RetryAfter { id, reason, wait } => Self::RetryAfter { id, reason, wait },
            Message::Reply(text) => Self::Reply(text),
            Message::Closing => Self::Closing,
            Message::Listing(change) => Self::Listing(change),
            Message::Event(..)
            | Message::Heartbeat { .. }
            | Message::Clock(_)
            | Message::Alive
            | Message::Ignored(_) => return None,
        })
    }
}
