//! The follower's words to the owner of the connection.

schemas::named! {
    /// The reason for which a frame has no effect.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum NoEffect {
        /// A log of a followed pool that is no swap.
        OtherEvent = "other_event",
        /// Of a block before the first one that is wanted.
        BeforeStart = "before_start",
        /// The newest head again.
        RepeatedHead = "repeated_head",
        /// Of a subscription that was not made on this connection.
        OtherSubscription = "other_subscription",
        /// The answer to a request that was not sent on this connection.
        NotAsked = "not_asked",
        /// A message that is neither an answer nor of a subscription.
        OtherMessage = "other_message",
        /// The connection is of no use: another chain, or no pool.
        Refused = "refused",
    }
}

/// An occurrence that the owner of the connection counts, logs or acts on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The node is of another chain. The owner stops.
    WrongChain {
        /// The chain that was asked for.
        expected: i64,
        /// The chain of the node.
        found: i64,
    },
    /// The facts of a pool cannot be read. The others are followed.
    PoolRefused {
        /// Its address.
        pool: String,
        /// One of [`Notice::REFUSALS`].
        reason: &'static str,
    },
    /// No pool can be followed. The owner stops.
    NoPools,
    /// The owner closes the connection and makes another one, for one of [`Notice::RECONNECTS`].
    Reconnect(&'static str),
    /// The node answered a request with an error.
    Failed {
        /// The method of the request.
        method: &'static str,
        /// The code of JSON-RPC; 0 where the node states none.
        code: i64,
        /// The node's words.
        message: String,
    },
    /// The parent of a head was never announced: missed heads are asked for.
    Gap,
    /// A frame or a log has no effect.
    Ignored(NoEffect),
}

impl Notice {
    /// A subscription was refused.
    pub(super) const NOT_SUBSCRIBED: &'static str = "not_subscribed";
    /// The node ended a request that nothing works without.
    pub(super) const NO_ANSWER: &'static str = "no_answer";
    /// The node announces heads and does not answer.
    pub(super) const TOO_MANY_WAIT: &'static str = "too_many_wait";

    /// The reasons of [`Notice::Reconnect`].
    pub const RECONNECTS: [&'static str; 3] =
        [Self::NOT_SUBSCRIBED, Self::NO_ANSWER, Self::TOO_MANY_WAIT];

    /// `token0()` or `token1()` gives no address.
    pub(super) const NO_TOKENS: &'static str = "no_tokens";
    /// Its address is none.
    pub(super) const NO_ADDRESS: &'static str = "no_address";

    /// The reasons of [`Notice::PoolRefused`].
    pub const REFUSALS: [&'static str; 2] = [Self::NO_TOKENS, Self::NO_ADDRESS];
}
