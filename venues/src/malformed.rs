//! The reasons for which text is not a message of its venue.

/// The result of reading text.
pub(crate) type Result<T, E = Malformed> = std::result::Result<T, E>;

/// The reason for which text is not a message of its venue.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not JSON, or not the shape that the field names promise.
    #[error("not a JSON message: {0}")]
    NotJson(String),
    /// A field that the type always has is not there.
    #[error("field {0} is missing")]
    MissingField(&'static str),
    /// A number, time, side or name that is none.
    #[error("field {0} cannot be read")]
    BadField(&'static str),
    /// A product that does not name a base and a quote.
    #[error("product {0} does not name a base and a quote")]
    BadProduct(String),
    /// A derivative whose name does not state its expiry, strike or right.
    #[error("instrument {0} does not state an expiry, or a strike and a right")]
    BadInstrument(String),
    /// A base, quote or exchange that breaks the rule of names.
    #[error("{0}: see the rule of names in schemas/src/pair.rs")]
    BadName(#[from] schemas::pair::PairError),
    /// A frame of a product that the connection does not follow, or that its channel does not name.
    #[error("the frame is of {0}, which its channel or its connection does not follow")]
    OtherProduct(String),
    /// Levels of a snapshot that are not strictly ordered from the best on, or a price that stands
    /// twice in a frame of a venue that sends each once.
    #[error("the levels of {0} are out of order or repeated")]
    BadOrder(&'static str),
    /// More levels than a frame may have.
    #[error("{field} has more than {max} levels")]
    TooManyLevels {
        /// The field.
        field: &'static str,
        /// Levels that it may have.
        max: usize,
    },
    /// A log of a swap whose topics or data are of another shape.
    #[error("a swap of {topics} topics and {bytes} bytes of data is of no known shape")]
    BadLog {
        /// Topics of the log.
        topics: usize,
        /// Bytes of its data.
        bytes: usize,
    },
    /// A log of a swap of another protocol than its pool has.
    #[error("the swap is of {0}, and its pool is not")]
    OtherProtocol(&'static str),
    /// A swap of a pool that is not followed.
    #[error("pool {0} is not followed")]
    UnknownPool(String),
    /// A head or a log of a node whose chain is not known.
    #[error("the chain of the node is not known: no answer to eth_chainId has come")]
    UnknownChain,
    /// A log whose block the node does not tell.
    #[error("the time of block {0} is not known")]
    UnknownBlock(String),
    /// A request that a node answers with an error.
    #[error("the node answered with error {code}: {message}")]
    Rpc {
        /// The code of JSON-RPC.
        code: i64,
        /// The node's words.
        message: String,
    },
}

impl Malformed {
    /// Every label.
    pub const LABELS: [&'static str; 14] = [
        "not_json",
        "missing_field",
        "bad_field",
        "bad_product",
        "bad_name",
        "other_product",
        "bad_order",
        "too_many_levels",
        "bad_instrument",
        "bad_log",
        "unknown_pool",
        "unknown_chain",
        "unknown_block",
        "rpc",
    ];

    /// The label in metrics and in the dead letter's reason.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::NotJson(_) => Self::LABELS[0],
            Self::MissingField(_) => Self::LABELS[1],
            Self::BadField(_) => Self::LABELS[2],
            Self::BadProduct(_) => Self::LABELS[3],
            Self::BadName(_) => Self::LABELS[4],
            Self::OtherProduct(_) => Self::LABELS[5],
            Self::BadOrder(_) => Self::LABELS[6],
            Self::TooManyLevels { .. } => Self::LABELS[7],
            Self::BadInstrument(_) => Self::LABELS[8],
            Self::BadLog { .. } | Self::OtherProtocol(_) => Self::LABELS[9],
            Self::UnknownPool(_) => Self::LABELS[10],
            Self::UnknownChain => Self::LABELS[11],
            Self::UnknownBlock(_) => Self::LABELS[12],
            Self::Rpc { .. } => Self::LABELS[13],
        }
    }
}

/// Text that is no JSON of the expected shape.
pub(crate) fn not_json(error: &serde_json::Error) -> Malformed {
    Malformed::NotJson(error.to_string())
}
